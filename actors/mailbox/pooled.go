package mailbox

import "sync"

// Pooled is a dispatcher that reuses goroutines. It starts as many as there are
// actors running at once and keeps up to maxIdle of them.
type Pooled struct {
	maxIdle int
	mu      sync.Mutex
	idle    []*worker // the one used last is used next: its stack is warm
}

type worker struct {
	work chan func()
}

// NewPooled returns a dispatcher that keeps up to maxIdle idle goroutines.
func NewPooled(maxIdle int) *Pooled {
	return &Pooled{maxIdle: maxIdle}
}

// Throughput is part of actor.Dispatcher; the batching mailbox does not ask.
func (p *Pooled) Throughput() int { return 1 }

// Schedule runs fn on an idle goroutine, or on a new one.
func (p *Pooled) Schedule(fn func()) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		w.work <- fn
		return
	}
	p.mu.Unlock()
	w := &worker{work: make(chan func(), 1)}
	go p.serve(w, fn)
}

// Stop lets the idle goroutines end, and busy ones as they become idle. Work
// scheduled later still runs.
func (p *Pooled) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.maxIdle = 0
	for _, w := range p.idle {
		close(w.work)
	}
	p.idle = nil
}

func (p *Pooled) serve(w *worker, fn func()) {
	for ok := true; ok; fn, ok = <-w.work {
		fn()
		p.mu.Lock()
		if len(p.idle) >= p.maxIdle {
			p.mu.Unlock()
			return
		}
		p.idle = append(p.idle, w)
		p.mu.Unlock()
	}
}
