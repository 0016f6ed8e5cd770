//go:build unix && !linux

package main

import (
	"os/exec"
	"syscall"
)

// isolate gives a child its own process group, so that Ctrl-C reaches the demo
// alone. It ends with the demo by its standard input.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
