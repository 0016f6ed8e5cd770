//go:build !linux

package actors

import "time"

// sinceBoot leaves out, on systems whose monotonic clock does, the time the machine was
// suspended.
func sinceBoot(origin time.Time) time.Duration { return time.Since(origin) }
