package main

import (
	"os/exec"
	"syscall"
)

// isolate gives a child its own process group, so that Ctrl-C reaches the demo
// alone, and has the kernel end it with the demo.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
