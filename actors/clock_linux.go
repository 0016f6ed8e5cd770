package actors

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot counts the time the machine was suspended, which Go's monotonic clock
// leaves out: a lease must not outlive it.
func sinceBoot(origin time.Time) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return time.Since(origin)
	}
	return time.Duration(now.Nano())
}
