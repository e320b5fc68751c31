package main

// distribution is K3s or RKE2: one code base, two sets of paths.
type distribution struct {
	program string
}

func (d distribution) configDir() string      { return "/etc/rancher/" + d.program }
func (d distribution) registriesFile() string { return d.configDir() + "/registries.yaml" }
func (d distribution) kubeconfig() string     { return d.configDir() + "/" + d.program + ".yaml" }
func (d distribution) agentDir() string       { return "/var/lib/rancher/" + d.program + "/agent" }
func (d distribution) crictlConfig() string   { return d.agentDir() + "/etc/crictl.yaml" }
func (d distribution) containerdConfig() string {
	return d.agentDir() + "/etc/containerd/config.toml"
}
func (d distribution) hostsDir() string       { return d.agentDir() + "/etc/containerd/certs.d" }
func (d distribution) containerdRoot() string { return d.agentDir() + "/containerd" }

const (
	// RKE2's containerd has K3s's socket too.
	containerdSocket = "/run/k3s/containerd/containerd.sock"
	containerdState  = "/run/k3s/containerd"
	kubeletHealth    = "127.0.0.1:10248"
	// The API server's only way in is a socket that no real node has: what nobody can find, nobody relies on.
	apiSocket  = "/run/k3s-stand-in.sock"
	realCrictl = "/usr/local/lib/homecloud/crictl"
)
