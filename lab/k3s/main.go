// Command k3s stands in for K3s and RKE2 on test nodes, and for the systemd that runs them. It does what their source
// does with registries.yaml, on K3s's own parser and a real containerd; there is no cluster behind it. What it was called
// by decides what it is, as with the real k3s and its links.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// failure ends the program with a code and a text of its own, as the program it stands in for would.
type failure struct {
	code int
	text string
}

func (f failure) Error() string { return f.text }

func main() {
	err := run(filepath.Base(os.Args[0]), os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	var known failure
	if errors.As(err, &known) {
		os.Exit(known.code)
	}
	os.Exit(1)
}

func run(name string, args []string) error {
	switch name {
	case "init":
		return runMachine()
	case "systemctl":
		return systemctl(args)
	case "journalctl":
		return journalctl(args)
	case "kubectl":
		return kubectl(distribution{"rke2"}, args)
	case "rke2":
		return command(distribution{"rke2"}, args)
	}
	return command(distribution{"k3s"}, args)
}

func command(d distribution, args []string) error {
	if len(args) == 0 {
		return unknown(d.program, args)
	}
	switch args[0] {
	case "server", "agent":
		if len(args) == 1 {
			return runService(d, args[0])
		}
	case "crictl":
		return crictl(d, args[1:])
	case "kubectl":
		return kubectl(d, args[1:])
	case "read-registries":
		return readRegistries(args[1:], os.Stdin, os.Stdout)
	case "start-machine":
		return startMachine(os.Stdin, os.Stdout)
	}
	return unknown(d.program, args)
}

// unknown is loud, so that nobody comes to rely on something that only the stand-in has.
func unknown(program string, args []string) error {
	return failure{90, fmt.Sprintf("the stand-in for %s does not know %q: see lab/k3s", program, args)}
}
