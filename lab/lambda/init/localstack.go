package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
)

// Where LocalStack hears of this container.
type localStack struct {
	endpoint string
	id       string
}

func (l *localStack) ready() { l.post("/status/"+l.id+"/ready", nil) }

func (l *localStack) failed(failure *failure) { l.post("/status/"+l.id+"/error", failure.payload()) }

// The logs go first: LocalStack answers the caller when it has the result.
func (l *localStack) done(id string, result result, logs string) {
	text, _ := json.Marshal(map[string]string{"logs": logs})
	l.post("/invocations/"+id+"/logs", text)
	outcome := "response"
	if result.failed {
		outcome = "error"
	}
	l.post("/invocations/"+id+"/"+outcome, result.payload)
}

// Nobody is there to be told of an error but whoever reads the container's log.
func (l *localStack) post(path string, body []byte) {
	answer, err := http.Post(l.endpoint+path, "application/json", bytes.NewReader(body))
	if err != nil {
		log.Printf("LocalStack does not answer: %v", err)
		return
	}
	answer.Body.Close()
}

// What went wrong outside the function's own code, in the form that callers of Lambda know.
type failure struct {
	Type    string `json:"errorType,omitempty"`
	Message string `json:"errorMessage"`
}

func (f *failure) payload() []byte {
	text, _ := json.Marshal(f)
	return text
}

func exited(err error) *failure {
	if err == nil {
		return &failure{"Runtime.ExitError", "Runtime exited without providing a reason"}
	}
	return &failure{"Runtime.ExitError", fmt.Sprintf("Runtime exited with error: %v", err)}
}
