package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/rancher/wharfie/pkg/registries"
	"github.com/sirupsen/logrus"
)

// loadRegistries reads registries.yaml with K3s's own parser. A file that is not there is an empty one.
func loadRegistries(path string) (registry *registries.Registry, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v", fault)
		}
	}()
	loaded, err := registries.GetPrivateRegistries(path)
	if err != nil {
		return nil, err
	}
	return loaded.Registry, nil
}

// readRegistries prints what K3s reads in each file, one line of JSON each. Without names it takes them from the input,
// one a line: a command line has no room for thousands.
func readRegistries(paths []string, input io.Reader, output io.Writer) error {
	logrus.SetOutput(io.Discard)
	buffered := bufio.NewWriter(output)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	for path := range names(paths, input) {
		registry, err := loadRegistries(path)
		var line any = registry
		if err != nil {
			line = map[string]string{"error": err.Error()}
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

func names(given []string, input io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, name := range given {
			if !yield(name) {
				return
			}
		}
		if len(given) > 0 {
			return
		}
		for lines := bufio.NewScanner(input); lines.Scan(); {
			if !yield(lines.Text()) {
				return
			}
		}
	}
}
