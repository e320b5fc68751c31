package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// One file a unit, outliving reboots: microseconds since 1970, a space, the line.
const journalDir = "/var/log/journal/"

func writeJournal(unit, line string) {
	file, err := os.OpenFile(journalDir+unit, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer file.Close()
	fmt.Fprintf(file, "%d %s\n", time.Now().UnixMicro(), line)
}

// journalPipe returns what a unit's processes write to.
func journalPipe(unit string) (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer reader.Close()
		for lines := bufio.NewReader(reader); ; {
			line, err := lines.ReadString('\n')
			if line != "" {
				writeJournal(unit, strings.TrimSuffix(line, "\n"))
			}
			if err != nil {
				return
			}
		}
	}()
	return writer, nil
}

func saysReady(message string) bool {
	return slices.Contains(strings.Split(message, "\n"), "READY=1")
}

// journalctl knows `-u UNIT -o cat [--no-pager] [-q] [--since @SECONDS] [-n LINES]`.
func journalctl(args []string) error {
	query := journalQuery{lines: -1}
	if err := query.parse(args); err != nil {
		return err
	}
	entries, err := query.read()
	if errors.Is(err, os.ErrPermission) {
		fmt.Fprintln(os.Stderr, "Hint: You are currently not seeing messages from other users and the system.")
		err = nil
	}
	if err != nil {
		return err
	}
	if len(entries) == 0 && !query.quiet {
		fmt.Println("-- No entries --")
	}
	for _, line := range entries {
		fmt.Println(line)
	}
	return nil
}

type journalQuery struct {
	unit  string
	since int64
	lines int
	quiet bool
}

func (q *journalQuery) parse(args []string) error {
	flags := options{args: args, valued: []string{"-u", "--unit", "-o", "--output", "--since", "-n", "--lines"}}
	output := ""
	for name, value := range flags.each() {
		var err error
		switch name {
		case "-u", "--unit":
			q.unit = strings.TrimSuffix(value, ".service")
		case "-o", "--output":
			output = value
		case "--since":
			q.since, err = parseSince(value)
		case "-n", "--lines":
			q.lines, err = strconv.Atoi(value)
		case "-q", "--quiet":
			q.quiet = true
		case "--no-pager":
		default:
			return unknown("journalctl", args)
		}
		if err != nil {
			return unknown("journalctl", args)
		}
	}
	if q.unit == "" || output != "cat" {
		return unknown("journalctl", args)
	}
	return nil
}

func parseSince(value string) (int64, error) {
	text, isEpoch := strings.CutPrefix(value, "@")
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !isEpoch {
		return 0, errors.New("not seconds since 1970")
	}
	return int64(seconds * 1e6), nil
}

func (q journalQuery) read() ([]string, error) {
	if _, err := os.ReadDir(journalDir); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(journalDir + q.unit)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		stamp, message, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if at, err := strconv.ParseInt(stamp, 10, 64); err == nil && at >= q.since {
			found = append(found, message)
		}
	}
	if q.lines >= 0 && len(found) > q.lines {
		found = found[len(found)-q.lines:]
	}
	return found, nil
}
