package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// unit is a service as systemd would find it in a unit file of the kind that K3s, RKE2 and Debian install: KillMode=process,
// Restart=always, RestartSec=5s. https://github.com/k3s-io/k3s/blob/main/install.sh
type unit struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Command     []string `json:"command"`
	// Type=notify: the unit is active once its process says so, for which it has all the time there is.
	Notify bool `json:"notify"`
	// Made below /run before each start.
	RuntimeDirectory string `json:"runtimeDirectory"`

	state    state
	process  int
	job      *job
	restarts int
	// Each start has a number of its own, by which what comes too late is known.
	starts int
}

type state string

const (
	inactive     state = "inactive"
	activating   state = "activating"
	active       state = "active"
	deactivating state = "deactivating"
)

const (
	restartAfter = 5 * time.Second
	// DefaultTimeoutStopSec.
	stopTimeout = 90 * time.Second
)

type jobKind string

const (
	startJob   jobKind = "start"
	stopJob    jobKind = "stop"
	restartJob jobKind = "restart"
)

type jobResult string

const (
	done     jobResult = "done"
	failed   jobResult = "failed"
	canceled jobResult = "canceled"
)

// job is what systemctl waits for. It goes on when nobody waits any more.
type job struct {
	kind   jobKind
	result chan jobResult
	ended  jobResult
}

// manager is systemd as far as a few services need it. All that it does happens in one goroutine, one step after the other.
type manager struct {
	units    map[string]*unit
	steps    chan func()
	requests net.Listener
	stopped  bool
}

func newManager(units []unit) *manager {
	m := &manager{units: map[string]*unit{}, steps: make(chan func(), 1024)}
	for _, u := range units {
		u.state = inactive
		m.units[u.Name] = &u
	}
	return m
}

// start takes requests and starts every unit.
func (m *manager) start() error {
	if err := m.listen(); err != nil {
		return err
	}
	go func() {
		for step := range m.steps {
			if !m.stopped {
				step()
			}
		}
	}()
	m.do(func() {
		for _, u := range m.units {
			m.enqueue(u, startJob)
		}
	})
	return nil
}

// stop ends all that the manager does, timers included, and leaves the processes as they are.
func (m *manager) stop() {
	stopped := make(chan struct{})
	m.do(func() {
		m.stopped = true
		close(stopped)
	})
	<-stopped
	m.requests.Close()
}

func (m *manager) do(step func()) { m.steps <- step }

func (m *manager) after(delay time.Duration, step func()) {
	time.AfterFunc(delay, func() { m.do(step) })
}

// enqueue adds a job to the unit's, by systemd's rules: start and restart become one job, on which both clients wait; a
// stop cancels them, and they cancel a stop.
func (m *manager) enqueue(u *unit, kind jobKind) *job {
	if running := u.job; running != nil {
		if running.kind == kind && kind != restartJob {
			return running
		}
		if running.kind != stopJob && kind != stopJob {
			running.kind = restartJob
			m.run(u)
			return running
		}
		u.finish(canceled)
	}
	u.job = &job{kind: kind, result: make(chan jobResult)}
	current := u.job
	m.run(u)
	return current
}

func (m *manager) run(u *unit) {
	switch {
	case u.job.kind == startJob && u.state == active:
		u.finish(done)
	case u.job.kind == startJob && u.process != 0:
	case u.process != 0:
		m.end(u)
	case u.job.kind == stopJob:
		u.state = inactive
		u.finish(done)
	default:
		m.launch(u)
	}
}

func (u *unit) finish(result jobResult) {
	if u.job == nil {
		return
	}
	u.job.ended = result
	close(u.job.result)
	u.job = nil
}

func (u *unit) file() string { return u.Name + ".service" }

func (u *unit) title() string { return u.file() + " - " + u.Description }

func (m *manager) launch(u *unit) {
	u.starts++
	u.state = activating
	writeJournal(u.Name, "Starting "+u.title()+"...")
	process, err := m.spawn(u)
	if err != nil {
		writeJournal(u.Name, err.Error())
		m.failedToRun(u, "exec")
		return
	}
	u.process = process
	if !u.Notify {
		m.isReady(u)
	}
}

func (m *manager) isReady(u *unit) {
	if u.state != activating {
		return
	}
	u.state = active
	writeJournal(u.Name, "Started "+u.title()+".")
	u.finish(done)
}

// end asks the process to end, and makes it if it does not.
func (m *manager) end(u *unit) {
	if u.state == deactivating {
		return
	}
	u.state = deactivating
	writeJournal(u.Name, "Stopping "+u.title()+"...")
	syscall.Kill(u.process, syscall.SIGTERM)
	start := u.starts
	m.after(stopTimeout, func() {
		if u.starts == start && u.state == deactivating {
			writeJournal(u.Name, u.file()+": State 'stop-sigterm' timed out. Killing.")
			syscall.Kill(u.process, syscall.SIGKILL)
		}
	})
}

func (m *manager) processEnded(pid int, status syscall.WaitStatus) {
	for _, u := range m.units {
		if u.process == pid {
			u.process = 0
			m.unitEnded(u, status)
		}
	}
}

func (m *manager) unitEnded(u *unit, status syscall.WaitStatus) {
	if u.state != deactivating {
		writeJournal(u.Name, u.file()+": Main process exited, "+describe(status))
		m.failedToRun(u, "exit-code")
		return
	}
	u.state = inactive
	if status.Signaled() && status.Signal() == syscall.SIGKILL {
		writeJournal(u.Name, u.file()+": Main process exited, "+describe(status))
		writeJournal(u.Name, u.file()+": Failed with result 'timeout'.")
	} else {
		writeJournal(u.Name, u.file()+": Deactivated successfully.")
	}
	writeJournal(u.Name, "Stopped "+u.title()+".")
	if u.job != nil && u.job.kind != stopJob {
		m.launch(u)
		return
	}
	u.finish(done)
}

func (m *manager) failedToRun(u *unit, result string) {
	writeJournal(u.Name, u.file()+": Failed with result '"+result+"'.")
	u.finish(failed)
	// systemd's word for a unit that waits for its next start is activating, too.
	u.state = activating
	start := u.starts
	m.after(restartAfter, func() {
		if u.starts != start || u.state != activating || u.process != 0 {
			return
		}
		u.restarts++
		writeJournal(u.Name, fmt.Sprintf("%s: Scheduled restart job, restart counter is at %d.", u.file(), u.restarts))
		m.enqueue(u, startJob)
	})
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("code=killed, status=%d/%s", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("code=exited, status=%d", status.ExitStatus())
}

func (m *manager) spawn(u *unit) (int, error) {
	if u.RuntimeDirectory != "" {
		if err := os.MkdirAll("/run/"+u.RuntimeDirectory, 0o755); err != nil {
			return 0, err
		}
	}
	environment := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	if u.Notify {
		path, err := m.listenForReady(u)
		if err != nil {
			return 0, err
		}
		environment = append(environment, "NOTIFY_SOCKET="+path)
	}
	output, err := journalPipe(u.Name)
	if err != nil {
		return 0, err
	}
	defer output.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return syscall.ForkExec(u.Command[0], u.Command, &syscall.ProcAttr{
		Dir:   "/",
		Env:   environment,
		Files: []uintptr{null.Fd(), output.Fd(), output.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// listenForReady opens the socket on which one start of the unit says that it is ready.
func (m *manager) listenForReady(u *unit) (string, error) {
	start := u.starts
	path := fmt.Sprintf("/run/systemd/notify-%s-%d", u.Name, start)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return "", err
	}
	go func() {
		defer os.Remove(path)
		defer socket.Close()
		message := make([]byte, 4096)
		for {
			length, err := socket.Read(message)
			if err != nil {
				return
			}
			if saysReady(string(message[:length])) {
				m.do(func() {
					if u.starts == start {
						m.isReady(u)
					}
				})
				return
			}
		}
	}()
	return path, nil
}
