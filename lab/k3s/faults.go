package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Files in here switch faults on. They outlive a reboot, as a fault of the machine would.
const faultsDir = "/var/lib/k3s-stand-in/"

const (
	// kubelet does not come up, whatever registries.yaml says.
	faultKubeletDead = "kubelet-dead"
	// The service starts and is never ready.
	faultStartHangs = "start-hangs"
	// The service does not end on SIGTERM: systemd kills it after 90 s.
	faultStopHangs = "stop-hangs"
	// The service ends at once, with an error.
	faultStartFails = "start-fails"
	// The API server answers that it is not ready.
	faultAPINotReady = "api-not-ready"
	// Holds how long the API server takes to come up, or an agent to reach it, in milliseconds.
	faultStartDelay = "start-delay"
)

func faulty(name string) bool {
	_, err := os.Stat(faultsDir + name)
	return err == nil
}

func startDelay() time.Duration {
	text, err := os.ReadFile(faultsDir + faultStartDelay)
	if err != nil {
		return 300 * time.Millisecond
	}
	milliseconds, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		panic(err)
	}
	return time.Duration(milliseconds) * time.Millisecond
}
