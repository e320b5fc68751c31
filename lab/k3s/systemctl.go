package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const controlSocket = "/run/systemd/private"

// request is what systemctl asks of the manager.
type request struct {
	Verb string
	Unit string
	// Do not wait for the job.
	NoBlock bool
}

// answer is a unit as it is, and how the job on it ended.
type answer struct {
	Loaded     bool
	State      state
	Process    int
	Restarts   int
	File       string
	Result     jobResult
	Forbidden  bool
	NoSuchUnit bool
}

// systemctl knows cat, is-active, start, stop, restart and show, each with one unit.
func systemctl(args []string) error {
	flags := options{args: args, valued: []string{"-p", "--property"}}
	var words, properties []string
	var quiet, noBlock, value bool
	for name, word := range flags.each() {
		switch name {
		case "":
			words = append(words, word)
		case "-p", "--property":
			properties = append(properties, strings.Split(word, ",")...)
		case "-q", "--quiet":
			quiet = true
		case "--no-block":
			noBlock = true
		case "--value":
			value = true
		case "--no-pager":
		default:
			return unknown("systemctl", args)
		}
	}
	if len(words) != 2 {
		return unknown("systemctl", args)
	}
	verb, name := words[0], strings.TrimSuffix(words[1], ".service")
	if (verb == "show") != (len(properties) > 0) {
		return unknown("systemctl", args)
	}
	switch verb {
	case "cat":
		return systemctlCat(name)
	case "is-active":
		return systemctlIsActive(name, quiet)
	case "show":
		return systemctlShow(name, properties, value)
	case "start", "stop", "restart":
		return systemctlJob(verb, name, noBlock)
	}
	return unknown("systemctl", args)
}

func ask(question request) (answer, error) {
	var reply answer
	connection, err := net.Dial("unix", controlSocket)
	if err != nil {
		return reply, failure{1, "Failed to connect to bus: " + err.Error()}
	}
	defer connection.Close()
	if err := json.NewEncoder(connection).Encode(question); err != nil {
		return reply, err
	}
	return reply, json.NewDecoder(connection).Decode(&reply)
}

func systemctlCat(name string) error {
	reply, err := ask(request{Verb: "show", Unit: name})
	if err != nil {
		return err
	}
	if !reply.Loaded {
		return failure{1, fmt.Sprintf("No files found for %s.service.", name)}
	}
	fmt.Print(reply.File)
	return nil
}

func systemctlIsActive(name string, quiet bool) error {
	reply, err := ask(request{Verb: "show", Unit: name})
	if err != nil {
		return err
	}
	if !quiet {
		fmt.Println(reply.State)
	}
	if reply.State != active {
		os.Exit(3)
	}
	return nil
}

func systemctlShow(name string, properties []string, value bool) error {
	reply, err := ask(request{Verb: "show", Unit: name})
	if err != nil {
		return err
	}
	loaded := map[bool]string{true: "loaded", false: "not-found"}[reply.Loaded]
	known := map[string]string{
		"MainPID":     strconv.Itoa(reply.Process),
		"ActiveState": string(reply.State),
		"NRestarts":   strconv.Itoa(reply.Restarts),
		"LoadState":   loaded,
	}
	for _, property := range properties {
		text, ok := known[property]
		if !ok {
			return unknown("systemctl", []string{"show", property})
		}
		if !value {
			text = property + "=" + text
		}
		fmt.Println(text)
	}
	return nil
}

func systemctlJob(verb, name string, noBlock bool) error {
	reply, err := ask(request{Verb: verb, Unit: name, NoBlock: noBlock})
	if errors.Is(err, io.EOF) {
		return failure{1, "Warning! D-Bus connection terminated."}
	}
	if err != nil {
		return err
	}
	switch {
	case reply.Forbidden:
		return failure{1, fmt.Sprintf("Failed to %s %s.service: Interactive authentication required.", verb, name)}
	case reply.NoSuchUnit:
		return failure{5, fmt.Sprintf("Failed to %s %s.service: Unit %s.service not found.", verb, name, name)}
	case reply.Result == canceled:
		return failure{1, fmt.Sprintf("Job for %s.service canceled.", name)}
	case reply.Result == failed:
		return failure{1, fmt.Sprintf("Job for %s.service failed because the control process exited with error code.", name)}
	}
	return nil
}

// listen takes requests of systemctl, each on a connection of its own.
func (m *manager) listen() error {
	if err := os.MkdirAll("/run/systemd", 0o755); err != nil {
		return err
	}
	listener, err := net.Listen("unix", controlSocket)
	if err != nil {
		return err
	}
	if err := os.Chmod(controlSocket, 0o666); err != nil {
		return err
	}
	m.requests = listener
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go m.serve(connection)
		}
	}()
	return nil
}

func (m *manager) serve(connection net.Conn) {
	defer connection.Close()
	var question request
	if json.NewDecoder(connection).Decode(&question) != nil {
		return
	}
	json.NewEncoder(connection).Encode(m.reply(question, isRoot(connection)))
}

func (m *manager) reply(question request, root bool) answer {
	if question.Verb == "show" {
		return m.describe(question.Unit)
	}
	if !root {
		return answer{Forbidden: true}
	}
	started := make(chan *job)
	m.do(func() {
		u, known := m.units[question.Unit]
		if !known {
			started <- nil
			return
		}
		started <- m.enqueue(u, jobKind(question.Verb))
	})
	current := <-started
	if current == nil {
		return answer{NoSuchUnit: true}
	}
	if question.NoBlock {
		return answer{}
	}
	<-current.result
	return answer{Result: current.ended}
}

func (m *manager) describe(name string) answer {
	found := make(chan answer)
	m.do(func() {
		u, known := m.units[name]
		if !known {
			found <- answer{State: inactive}
			return
		}
		found <- answer{Loaded: true, State: u.state, Process: u.process, Restarts: u.restarts, File: u.text()}
	})
	return <-found
}

// text is the unit's file, as far as it decides anything here.
func (u *unit) text() string {
	kind := map[bool]string{true: "notify", false: "simple"}[u.Notify]
	lines := []string{
		"# /etc/systemd/system/" + u.file(), "[Unit]", "Description=" + u.Description, "", "[Service]", "Type=" + kind,
		"KillMode=process", "TimeoutStartSec=0", "Restart=always", "RestartSec=5s", "ExecStart=" + strings.Join(u.Command, " "),
	}
	return strings.Join(slices.Concat(lines, []string{""}), "\n")
}

func isRoot(connection net.Conn) bool {
	raw, err := connection.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	root := false
	raw.Control(func(descriptor uintptr) {
		peer, err := syscall.GetsockoptUcred(int(descriptor), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		root = err == nil && peer.Uid == 0
	})
	return root
}
