package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// runService is `k3s server` and `k3s agent`: the service that systemd starts.
func runService(d distribution, role string) error {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM, syscall.SIGINT)
	logrus.Infof("Starting %s %s (a stand-in for tests)", d.program, role)
	if faulty(faultStartFails) {
		logrus.Fatal("the fault start-fails is on")
	}
	failed := make(chan error, 1)
	go func() {
		if err := start(d, role); err != nil {
			failed <- err
		}
	}()
	for {
		select {
		case err := <-failed:
			return err
		case <-terminated:
			if !faulty(faultStopHangs) {
				logrus.Info("Shutting down")
				return nil
			}
		}
	}
}

// start brings a server or an agent up. A server tells systemd that it is ready when its API answers, whatever becomes of
// its own agent part; an agent when it has its configuration. Neither waits for kubelet.
// https://github.com/k3s-io/k3s/blob/main/pkg/server/server.go and pkg/agent/run.go
func start(d distribution, role string) error {
	if faulty(faultStartHangs) {
		logrus.Info("Waiting for ever: the fault start-hangs is on")
		select {}
	}
	if role == "server" {
		// A healthy server logs this as well while its API comes up: whoever searches the log for the line alone is wrong.
		logWaiting(fmt.Errorf("%s/serving-kubelet.crt: https://127.0.0.1:6443/v1-%s/serving-kubelet.crt: 503 Service Unavailable", d.agentDir(), d.program))
	}
	time.Sleep(startDelay())
	if role == "server" {
		if err := serveAPI(d); err != nil {
			return err
		}
		logrus.Info("Kube API server is now running")
		ready(d, "")
	}
	registry := retrieveConfig(d)
	if role == "agent" {
		ready(d, " agent")
	}
	return runNode(d, registry)
}

func ready(d distribution, part string) {
	logrus.Infof("%s%s is up and running", d.program, part)
	if err := notify("READY=1\n"); err != nil {
		logrus.Error(err)
	}
}

// notify is sd_notify(3).
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	socket, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer socket.Close()
	_, err = socket.Write([]byte(state))
	return err
}
