package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strconv"
)

// The part of AWS's Runtime API that runtimes need.
func serveRuntimeAPI(r *runtime) {
	api := http.NewServeMux()
	const prefix = "/2018-06-01/runtime"
	api.HandleFunc("GET "+prefix+"/invocation/next", r.next)
	api.HandleFunc("POST "+prefix+"/invocation/{id}/response", r.take(r.results, false))
	api.HandleFunc("POST "+prefix+"/invocation/{id}/error", r.take(r.results, true))
	api.HandleFunc("POST "+prefix+"/init/error", r.take(r.initErrors, true))
	log.Fatal(http.ListenAndServe(runtimeAPI, api))
}

func (r *runtime) next(answer http.ResponseWriter, request *http.Request) {
	select {
	case r.asks <- struct{}{}:
	default:
	}
	select {
	// A runtime that was killed while it waited: its successor gets the invocation.
	case <-request.Context().Done():
	case invocation := <-r.invocations:
		headers := answer.Header()
		headers.Set("Content-Type", "application/json")
		headers.Set("Lambda-Runtime-Aws-Request-Id", invocation.ID)
		headers.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(invocation.deadline.UnixMilli(), 10))
		headers.Set("Lambda-Runtime-Invoked-Function-Arn", invocation.ARN)
		headers.Set("Lambda-Runtime-Trace-Id", invocation.Trace)
		_, _ = io.WriteString(answer, invocation.Payload)
	}
}

// Takes what the runtime tells. An answer that nobody waits for any more is dropped.
func (r *runtime) take(results chan result, failed bool) http.HandlerFunc {
	return func(answer http.ResponseWriter, request *http.Request) {
		payload, err := io.ReadAll(request.Body)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case results <- result{request.PathValue("id"), payload, failed}:
		default:
		}
		answer.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(answer, `{"status":"OK"}`)
	}
}

// The error that a runtime reported before it was ready: a module that is not there, a handler that does not exist.
func toldBy(told result) *failure {
	var parsed failure
	if err := json.Unmarshal(told.payload, &parsed); err != nil {
		return &failure{"Runtime.Unknown", string(told.payload)}
	}
	return &parsed
}
