package mailbox

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// goroutine names the goroutine it is called on.
func goroutine() string {
	var buf [64]byte
	n := runtime.Stack(buf[:], false)
	return string(bytes.Fields(buf[:n])[1])
}

// idleReaches waits until the pool keeps n idle goroutines.
func idleReaches(p *Pooled, n int) {
	for {
		p.mu.Lock()
		idle := len(p.idle)
		p.mu.Unlock()
		if idle == n {
			return
		}
		runtime.Gosched()
	}
}

func TestPooledReusesTheGoroutineUsedLast(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p := NewPooled(4)
	defer p.Stop()
	on := make(chan string)
	p.Schedule(func() { on <- goroutine() })
	first := <-on
	for range 50 {
		idleReaches(p, 1)
		p.Schedule(func() { on <- goroutine() })
		if again := <-on; again != first {
			t.Fatalf("ran on goroutine %s while %s was idle", again, first)
		}
	}
	idleReaches(p, 1)
}

func TestPooledKeepsAtMostMaxIdle(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p := NewPooled(2)
	var started, ended sync.WaitGroup
	release := make(chan struct{})
	for range 6 {
		started.Add(1)
		ended.Add(1)
		p.Schedule(func() {
			defer ended.Done()
			started.Done()
			<-release
		})
	}
	started.Wait() // all at once: nobody waits for a goroutine
	close(release)
	ended.Wait()
	idleReaches(p, 2)
	p.Stop()
}

// After Stop no goroutine stays behind, and what is scheduled late still runs.
func TestPooledStop(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p := NewPooled(4)
	busy, release := make(chan struct{}), make(chan struct{})
	p.Schedule(func() { close(busy); <-release })
	<-busy
	ran := make(chan struct{})
	p.Schedule(func() { close(ran) })
	<-ran
	idleReaches(p, 1)
	p.Stop()
	close(release)
	late := make(chan struct{})
	p.Schedule(func() { close(late) })
	<-late
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) != 0 {
		t.Fatalf("%d goroutines kept after Stop", len(p.idle))
	}
}

func TestPooledRunsEverythingOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p := NewPooled(3)
	defer p.Stop()
	var ran atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				wg.Add(1)
				p.Schedule(func() { ran.Add(1); wg.Done() })
			}
		})
	}
	wg.Wait()
	if got := ran.Load(); got != 2000 {
		t.Fatalf("%d runs, expected 2000", got)
	}
}
