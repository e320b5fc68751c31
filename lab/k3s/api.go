package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/sirupsen/logrus"
)

// serveAPI is the API server, as far as a health check sees it, and writes the kubeconfig that leads to it.
func serveAPI(d distribution) error {
	if err := os.MkdirAll(d.configDir(), 0o755); err != nil {
		return err
	}
	// K3s goes on without: a full disk must not take the cluster down.
	if err := os.WriteFile(d.kubeconfig(), []byte("# The stand-in needs no more than this file.\n"), 0o600); err != nil {
		logrus.Errorf("Failed to generate kubeconfig: %v", err)
	}
	if err := os.Remove(apiSocket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", apiSocket)
	if err != nil {
		return err
	}
	handler := http.NewServeMux()
	handler.HandleFunc("GET /readyz", func(response http.ResponseWriter, _ *http.Request) {
		if faulty(faultAPINotReady) {
			http.Error(response, "[-]etcd failed: reason withheld\nreadyz check failed", http.StatusInternalServerError)
			return
		}
		response.Write([]byte("ok"))
	})
	go http.Serve(listener, handler)
	return nil
}

// kubectl knows `[--kubeconfig FILE] get --raw /readyz` and no more.
func kubectl(d distribution, args []string) error {
	kubeconfig := os.Getenv("KUBECONFIG")
	rest := slices.Clone(args)
	if at := slices.Index(rest, "--kubeconfig"); at >= 0 && at+1 < len(rest) {
		kubeconfig = rest[at+1]
		rest = slices.Delete(rest, at, at+2)
	}
	if !slices.Equal(rest, []string{"get", "--raw", "/readyz"}) {
		return unknown("kubectl", args)
	}
	if kubeconfig == "" {
		kubeconfig = defaultKubeconfig(d)
	}
	if kubeconfig == "" {
		return refused("localhost:8080")
	}
	if _, err := os.ReadFile(kubeconfig); err != nil {
		return failure{1, fmt.Sprintf("error: error loading config file %q: %v", kubeconfig, err)}
	}
	return getReadyz()
}

// defaultKubeconfig is what `k3s kubectl` takes without being told; an agent has none, and RKE2's kubectl is the plain one.
func defaultKubeconfig(d distribution) string {
	if _, err := os.Stat(d.kubeconfig()); err != nil || d.program != "k3s" {
		return ""
	}
	return d.kubeconfig()
}

func refused(address string) error {
	return failure{1, fmt.Sprintf("The connection to the server %s was refused - did you specify the right host or port?", address)}
}

func getReadyz() error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", apiSocket)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial}}
	answer, err := client.Get("http://api/readyz")
	if err != nil {
		return refused("127.0.0.1:6443")
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return failure{1, "Error from server (InternalError): an error on the server (" + fmt.Sprintf("%q", body) + ") has prevented the request from succeeding"}
	}
	// As kubectl prints raw answers: no line end.
	fmt.Print(string(body))
	return nil
}
