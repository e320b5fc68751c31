package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Address of the Runtime API, which the runtime learns by AWS_LAMBDA_RUNTIME_API.
const runtimeAPI = "127.0.0.1:9001"

// What LocalStack sends, under its names.
type invocation struct {
	ID       string `json:"invoke-id"`
	ARN      string `json:"invoked-function-arn"`
	Payload  string `json:"payload"`
	Trace    string `json:"trace-id"`
	deadline time.Time
}

// What became of an invocation: the function's answer, or the error in Lambda's form.
type result struct {
	// Empty where it is about the runtime's start.
	id      string
	payload []byte
	failed  bool
}

// The function's process. One invocation is under way at a time, as on AWS.
type runtime struct {
	// Where the process's output goes.
	output *os.File
	// Taken by the runtime when it asks for the next invocation.
	invocations chan invocation
	results     chan result
	initErrors  chan result
	asks        chan struct{}

	process *exec.Cmd
	// Closed when the process has ended; err says how.
	ended chan struct{}
	err   error
}

func newRuntime(output *os.File) *runtime {
	return &runtime{
		output:      output,
		invocations: make(chan invocation),
		results:     make(chan result, 1),
		initErrors:  make(chan result, 1),
		asks:        make(chan struct{}, 1),
	}
}

// Starts the function's process and waits until it asks for its first invocation.
func (r *runtime) start() *failure {
	program, err := bootstrap()
	if err != nil {
		return &failure{"Runtime.InvalidEntrypoint", err.Error()}
	}
	drain(r.asks)
	process := exec.Command(program)
	process.Dir = "/var/task"
	process.Env = environment(os.Environ())
	process.Stdout, process.Stderr = r.output, r.output
	// A process group of its own, so that what the function left running ends with it.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: userID, Gid: groupID}}
	if err := process.Start(); err != nil {
		return &failure{"Runtime.InvalidEntrypoint", err.Error()}
	}
	ended := make(chan struct{})
	r.process, r.ended = process, ended
	go func() {
		r.err = process.Wait()
		close(ended)
	}()
	select {
	case <-r.asks:
		return nil
	case told := <-r.initErrors:
		return toldBy(told)
	case <-ended:
		select {
		case told := <-r.initErrors:
			return toldBy(told)
		default:
			return exited(r.err)
		}
	}
}

// Ends the function's process and whatever it started.
func (r *runtime) kill() {
	_ = syscall.Kill(-r.process.Process.Pid, syscall.SIGKILL)
	<-r.ended
}

func (r *runtime) running() bool {
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// The function's own program where it brings one, else the image's.
func bootstrap() (string, error) {
	for _, path := range []string{"/var/task/bootstrap", "/opt/bootstrap", "/var/runtime/bootstrap"} {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		// A zip made on Windows has no modes.
		if info.Mode()&0o111 == 0 {
			err = os.Chmod(path, 0o755)
		}
		return path, err
	}
	return "", errors.New("no bootstrap in /var/task, /opt or /var/runtime")
}

// LocalStack's internals stay here; the address for the AWS SDKs and its old forms go on.
func environment(own []string) []string {
	variables := []string{"AWS_LAMBDA_RUNTIME_API=" + runtimeAPI}
	for _, variable := range own {
		name, _, _ := strings.Cut(variable, "=")
		internal := strings.HasPrefix(name, "LOCALSTACK_") && name != "LOCALSTACK_HOSTNAME"
		if !internal && name != "HOSTNAME" && name != "HOME" {
			variables = append(variables, variable)
		}
	}
	return variables
}

func drain[T any](channel chan T) {
	select {
	case <-channel:
	default:
	}
}
