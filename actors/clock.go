package actors

import "time"

// Clock is the only source of time in this package. Production uses SystemClock;
// a simulation supplies its own.
type Clock interface {
	// Now is monotonic, from an origin of the clock's choice.
	Now() time.Duration
	// Elapsed is like Now, from another origin, and goes on while the machine sleeps.
	Elapsed() time.Duration
	// Wall is the time of day in nanoseconds since 1970; it may jump.
	Wall() int64
	// After calls f once, on any goroutine, when d has passed, unless stopped first.
	After(d time.Duration, f func()) (stop func())
}

// SystemClock is the machine's clock.
func SystemClock() Clock { return systemClock{time.Now()} }

type systemClock struct{ origin time.Time }

func (c systemClock) Now() time.Duration { return time.Since(c.origin) }
func (c systemClock) Elapsed() time.Duration {
	return sinceBoot(c.origin)
}
func (c systemClock) Wall() int64 { return time.Now().UnixNano() }
func (c systemClock) After(d time.Duration, f func()) func() {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}
