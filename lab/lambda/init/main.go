// Command init is the first process of a function's container, where LocalStack copies it as /var/rapid/init: it runs the
// function's runtime, offers it AWS's Runtime API, and takes invocations from LocalStack. It stands in for LocalStack's own
// (localstack/lambda-runtime-init), which no package registry has. No extensions, X-Ray, hot reloading or streaming.
//
// LocalStack's side: localstack/services/lambda_/invocation/executor_endpoint.py.
// The runtime's side: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
package main

import (
	"log"
	"os"
	"strconv"
	"time"
)

func main() {
	log.SetFlags(0)
	localstack := &localStack{
		endpoint: os.Getenv("LOCALSTACK_RUNTIME_ENDPOINT"),
		id:       os.Getenv("LOCALSTACK_RUNTIME_ID"),
	}
	seconds, err := strconv.Atoi(os.Getenv("AWS_LAMBDA_FUNCTION_TIMEOUT"))
	if err != nil {
		log.Fatalf("AWS_LAMBDA_FUNCTION_TIMEOUT: %v", err)
	}
	if err := prepareFiles(os.Getenv("LOCALSTACK_CHMOD_PATHS")); err != nil {
		log.Printf("files of the function: %v", err)
	}
	output := newOutput()
	runtime := newRuntime(output.pipe)
	go serveRuntimeAPI(runtime)
	if failure := runtime.start(); failure != nil {
		localstack.failed(failure)
		os.Exit(1)
	}
	timeout := time.Duration(seconds) * time.Second
	invoker := &invoker{localstack: localstack, runtime: runtime, output: output, timeout: timeout}
	go func() { log.Fatal(invoker.listen()) }()
	localstack.ready()
	select {}
}
