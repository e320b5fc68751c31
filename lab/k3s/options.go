package main

import (
	"iter"
	"slices"
	"strings"
)

// options takes a command line apart: `-n 5`, `-n5`, `--lines 5`, `--lines=5` and `-q` are all understood.
type options struct {
	args []string
	// Names of those that take a value.
	valued []string
}

// each yields options with their values, and other words with an empty name. A value that is missing is yielded as an
// option that nobody knows.
func (o options) each() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest := o.args; len(rest) > 0; {
			name, value, used := o.next(rest)
			if !yield(name, value) {
				return
			}
			rest = rest[used:]
		}
	}
}

func (o options) next(args []string) (name, value string, used int) {
	word := args[0]
	if !strings.HasPrefix(word, "-") {
		return "", word, 1
	}
	if slices.Contains(o.valued, word) {
		if len(args) == 1 {
			return word + " without a value", "", 1
		}
		return word, args[1], 2
	}
	if before, after, joined := strings.Cut(word, "="); joined && slices.Contains(o.valued, before) {
		return before, after, 1
	}
	if len(word) > 2 && slices.Contains(o.valued, word[:2]) {
		return word[:2], word[2:], 1
	}
	return word, "", 1
}
