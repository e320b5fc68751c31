package main

import (
	"bytes"
	"log"
	"os"
	"sync"
	"time"
)

// Written into the pipe behind what a function printed, to know when all of it was read. Text has no such byte.
var mark = []byte{0}

// What the function and this program say: for the container's log, and for LocalStack with each invocation's result.
type output struct {
	// The function's standard output and error.
	pipe  *os.File
	marks chan struct{}

	mutex sync.Mutex
	text  []byte
}

func newOutput() *output {
	reader, writer, err := os.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	o := &output{pipe: writer, marks: make(chan struct{}, 1)}
	go o.read(reader)
	return o
}

func (o *output) read(reader *os.File) {
	chunk := make([]byte, 32*1024)
	for {
		size, err := reader.Read(chunk)
		if err != nil {
			log.Fatal(err)
		}
		text := bytes.ReplaceAll(chunk[:size], mark, nil)
		_, _ = o.Write(text)
		if len(text) < size {
			select {
			case o.marks <- struct{}{}:
			default:
			}
		}
	}
}

func (o *output) Write(text []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.text = append(o.text, text...)
	return os.Stdout.Write(text)
}

// Waits until what was printed so far has been read.
func (o *output) settle() {
	drain(o.marks)
	_, _ = o.pipe.Write(mark)
	select {
	case <-o.marks:
	case <-time.After(time.Second):
	}
}

// What was said since the last call.
func (o *output) take() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	text := string(o.text)
	o.text = nil
	return text
}
