package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"sync"
	"time"
)

// Takes invocations from LocalStack, on the port where it expects them.
type invoker struct {
	localstack *localStack
	runtime    *runtime
	output     *output
	timeout    time.Duration
	// LocalStack sends one invocation at a time.
	mutex sync.Mutex
}

func (v *invoker) listen() error {
	server := http.NewServeMux()
	server.HandleFunc("POST /invoke", func(answer http.ResponseWriter, request *http.Request) {
		var invocation invocation
		if err := json.NewDecoder(request.Body).Decode(&invocation); err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		// LocalStack waits for the result to be posted, not for this answer.
		go v.invoke(invocation)
	})
	return http.ListenAndServe(":9563", server)
}

func (v *invoker) invoke(invocation invocation) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	started := time.Now()
	invocation.deadline = started.Add(v.timeout)
	fmt.Fprintf(v.output, "START RequestId: %s Version: %s\n", invocation.ID, os.Getenv("AWS_LAMBDA_FUNCTION_VERSION"))
	result := v.run(invocation)
	v.output.settle()
	took := time.Since(started).Seconds() * 1000
	fmt.Fprintf(v.output, "END RequestId: %s\n", invocation.ID)
	fmt.Fprintf(v.output, "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %.0f ms\tMemory Size: %s MB\n",
		invocation.ID, took, math.Ceil(took), os.Getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	v.localstack.done(invocation.ID, result, v.output.take())
}

func (v *invoker) run(invocation invocation) result {
	failed := func(failure *failure) result { return result{invocation.ID, failure.payload(), true} }
	// A process that ended in the last invocation, or after it.
	if !v.runtime.running() {
		if failure := v.runtime.start(); failure != nil {
			return failed(failure)
		}
	}
	late := time.NewTimer(time.Until(invocation.deadline))
	defer late.Stop()
	timedOut := func() result {
		v.runtime.kill()
		now := time.Now().UTC().Format(time.RFC3339)
		message := fmt.Sprintf("%s %s Task timed out after %.2f seconds", now, invocation.ID, v.timeout.Seconds())
		return failed(&failure{Message: message})
	}
	select {
	case v.runtime.invocations <- invocation:
	case <-late.C:
		return timedOut()
	}
	for {
		select {
		case result := <-v.runtime.results:
			// What a function said twice, or too late, is about an invocation that is over.
			if result.id == invocation.ID {
				return result
			}
		case <-v.runtime.ended:
			ended := exited(v.runtime.err)
			ended.Message = "RequestId: " + invocation.ID + " Error: " + ended.Message
			return failed(ended)
		case <-late.C:
			return timedOut()
		}
	}
}
