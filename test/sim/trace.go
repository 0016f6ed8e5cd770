package sim

import (
	"fmt"
	"hash/crc32"
	"io"
	"reflect"
	"time"
)

// trace folds everything that happens into one number, and writes it down where
// somebody wants to read it. Two runs are the same when their numbers are.
type trace struct {
	w      *World
	sum    uint64
	events int
	out    io.Writer // nil for nobody
}

// mix folds v into h (the finaliser of splitmix64).
func mix(h, v uint64) uint64 {
	h = (h ^ v) + 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func digest(b []byte) uint64 {
	return uint64(crc32.Checksum(b, castagnoli))<<32 | uint64(len(b))
}

// Kinds of events.
const (
	evTurn = iota + 1
	evSend
	evDeliver
	evDisk
	evFault
	evClient
)

// lineMax keeps blocks and commands from hiding the rest.
const lineMax = 300

// add notes an event.
func (t *trace) add(kind int, values ...uint64) {
	t.events++
	h := mix(t.sum, uint64(kind)<<56^uint64(t.w.now))
	for _, v := range values {
		h = mix(h, v)
	}
	t.sum = h
}

// printf writes a line for the reader; it is no part of the sum.
func (t *trace) printf(format string, args ...any) {
	if t.out != nil {
		line := fmt.Sprintf(format, args...)
		if len(line) > lineMax {
			line = line[:lineMax] + "…"
		}
		fmt.Fprintf(t.out, "%8d %12v  %s\n", t.w.steps, t.w.now.Round(time.Microsecond), line)
	}
}

// typeNumbers tells message types apart by name, since addresses differ between
// processes. Each world has its own: worlds run side by side.
type typeNumbers map[reflect.Type]uint64

func (n typeNumbers) of(message any) uint64 {
	t := reflect.TypeOf(message)
	v, ok := n[t]
	if !ok {
		v = digest([]byte(t.String()))
		n[t] = v
	}
	return v
}
