package main

import (
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/rancher/wharfie/pkg/registries"
	"github.com/sirupsen/logrus"
)

// retrieveConfig returns once the agent part has its configuration, of which registries.yaml is a part: a malformed file
// keeps it here for ever. The file is read in every round until one succeeds, and never again.
// https://github.com/k3s-io/k3s/blob/main/pkg/agent/config/config.go (Get)
func retrieveConfig(d distribution) *registries.Registry {
	for {
		registry, err := loadRegistries(d.registriesFile())
		if err == nil {
			return registry
		}
		logWaiting(err)
		time.Sleep(time.Duration((1 + rand.Float64()) * float64(5*time.Second)))
	}
}

func logWaiting(err error) {
	logrus.Infof("Waiting to retrieve agent configuration; server is not ready: %v", err)
}

// runNode runs the container runtime and kubelet. It returns only when something went wrong, which ends K3s too.
func runNode(d distribution, registry *registries.Registry) error {
	if err := writeContainerdFiles(d, registry); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- runContainerd(d) }()
	go func() {
		waitForContainerd()
		logrus.Info("Containerd is now running")
		if faulty(faultKubeletDead) {
			logrus.Error("kubelet exited: the fault kubelet-dead is on")
			return
		}
		ended <- serveKubelet()
	}()
	return <-ended
}

// serveKubelet answers the health check of kubelet, the only part of it that there is.
func serveKubelet() error {
	listener, err := net.Listen("tcp", kubeletHealth)
	if err != nil {
		return err
	}
	logrus.Info("Running kubelet")
	handler := http.NewServeMux()
	handler.HandleFunc("GET /healthz", func(response http.ResponseWriter, _ *http.Request) {
		response.Write([]byte("ok"))
	})
	return http.Serve(listener, handler)
}
