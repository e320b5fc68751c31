package main

import (
	"os"
	"syscall"
)

// crictl becomes the real crictl, on the settings that the service has written.
func crictl(d distribution, args []string) error {
	if os.Getenv("CRI_CONFIG_FILE") == "" {
		os.Setenv("CRI_CONFIG_FILE", d.crictlConfig())
	}
	return syscall.Exec(realCrictl, append([]string{"crictl"}, args...), os.Environ())
}
