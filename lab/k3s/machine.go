package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
)

// machine describes a test node: a root of its own made of this machine's programs and the lab's packages, the files that
// differ, and the units that its systemd runs.
type machine struct {
	Name string `json:"name"`
	// An empty folder to mount the root on. Nothing of it is seen outside the node's own namespaces.
	Root string `json:"root"`
	// Folder of the unpacked Debian packages, laid over this machine's.
	Packages string `json:"packages"`
	// Size of the whole root, all of it in memory.
	Size string `json:"size"`
	// Files and folders of this machine that the node sees, read-only.
	Binds []bind `json:"binds"`
	// Small disks of their own.
	Disks   []disk   `json:"disks"`
	Folders []folder `json:"folders"`
	Files   []file   `json:"files"`
	Links   []link   `json:"links"`
	Owners  []owner  `json:"owners"`
	Units   []unit   `json:"units"`
}

type bind struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type disk struct {
	Path string `json:"path"`
	Size string `json:"size"`
}

type folder struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
	User int    `json:"user"`
}

type file struct {
	Path string `json:"path"`
	Text string `json:"text"`
	Mode uint32 `json:"mode"`
	User int    `json:"user"`
}

type link struct {
	Path string `json:"path"`
	To   string `json:"to"`
}

// owner gives a file of a package to root, with a mode that it does not have in the cache.
type owner struct {
	Path string `json:"path"`
	// As chmod takes it, set-id bits included.
	Mode uint32 `json:"mode"`
}

// startMachine starts a node, described on the input, in namespaces of its own, and prints the process that is its init.
// That process's end is the node's: with it go all its processes, mounts and network interfaces. It ends by itself when
// nobody holds the other end of descriptor 3 any more: a test run that is killed leaves nothing that runs.
func startMachine(input io.Reader, output io.Writer) error {
	description, err := io.ReadAll(input)
	if err != nil {
		return err
	}
	started, startedInside, err := os.Pipe()
	if err != nil {
		return err
	}
	command := exec.Command("/proc/self/exe")
	command.Args = []string{"/sbin/init"}
	command.Stderr = os.Stderr
	command.ExtraFiles = []*os.File{os.NewFile(3, "life"), startedInside}
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	stdin, err := command.StdinPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("a process in namespaces of its own cannot be started: %w", err)
	}
	startedInside.Close()
	if _, err := stdin.Write(description); err != nil {
		return err
	}
	stdin.Close()
	if answer, _ := io.ReadAll(started); string(answer) != "started" {
		command.Wait()
		return fmt.Errorf("the node did not start")
	}
	_, err = fmt.Fprintln(output, command.Process.Pid)
	return err
}

// runMachine is process 1 of a node. SIGUSR1 boots it: whatever runs is ended as by a power cut, then the units start.
func runMachine() error {
	var m machine
	if err := json.NewDecoder(os.Stdin).Decode(&m); err != nil {
		return err
	}
	if err := m.mount(); err != nil {
		return err
	}
	if err := m.furnish(); err != nil {
		return err
	}
	boots := make(chan os.Signal, 1)
	signal.Notify(boots, syscall.SIGUSR1)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		io.Copy(io.Discard, os.NewFile(3, "life"))
		os.Exit(0)
	}()
	report := os.NewFile(4, "started")
	report.WriteString("started")
	report.Close()
	return m.bootForEver(boots, ended)
}

func (m machine) bootForEver(boots, ended <-chan os.Signal) error {
	var systemd *manager
	for count := 0; ; {
		select {
		case <-ended:
			reap(systemd)
		case <-boots:
			if systemd != nil {
				systemd.stop()
			}
			count++
			var err error
			if systemd, err = m.boot(count); err != nil {
				return err
			}
		}
	}
}

func (m machine) boot(count int) (*manager, error) {
	endEverything()
	if err := emptyFolders("/run", "/tmp"); err != nil {
		return nil, err
	}
	if count == 1 {
		if err := serveDNS(); err != nil {
			return nil, err
		}
	}
	systemd := newManager(m.Units)
	if err := systemd.start(); err != nil {
		return nil, err
	}
	return systemd, os.WriteFile("/run/boots", []byte(strconv.Itoa(count)), 0o644)
}

// endEverything kills all processes of the node but this one.
func endEverything() {
	syscall.Kill(-1, syscall.SIGKILL)
	for {
		_, err := syscall.Wait4(-1, nil, 0, nil)
		if err == syscall.ECHILD {
			return
		}
	}
}

// reap takes note of every process that has ended: as process 1 this one inherits the orphans.
func reap(systemd *manager) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if systemd != nil {
			systemd.do(func() { systemd.processEnded(pid, status) })
		}
	}
}
