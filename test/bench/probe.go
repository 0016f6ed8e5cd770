package main

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// probe finds the first moment at which this member leads group 0 and a write of its
// own is acknowledged. Every library is asked alike, also those that could forward a
// write to a leader elsewhere: whoever comes to lead is asked at once.
type probe struct {
	ackedAt atomic.Int64 // wall clock, nanoseconds; 0 until then
	over    atomic.Bool
}

const probeInterval = time.Millisecond

func startProbe(m member) *probe {
	p := &probe{}
	go func() {
		for ; !p.over.Load(); time.Sleep(probeInterval) {
			if len(m.Leads()) == 0 {
				continue
			}
			command := binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
			if m.Propose(0, append(command, command...)) == nil {
				p.ackedAt.Store(time.Now().UnixNano())
				return
			}
		}
	}()
	return p
}

func (p *probe) found() int64 { return p.ackedAt.Load() }

func (p *probe) stop() { p.over.Store(true) }
