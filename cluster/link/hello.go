package link

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Hello says who calls and whom it believes to be called.
type Hello struct {
	Version, Minimum int           // of what is said on the wire
	Interval         time.Duration // the caller says something at least so often; whole milliseconds
	Cluster          string
	Node, Address    string // of the caller
	ToNode           string // expected there
	ToAddress        string
}

const helloStringMax = 512

func (h *Hello) strings() []*string {
	return []*string{&h.Cluster, &h.Node, &h.Address, &h.ToNode, &h.ToAddress}
}

func (h Hello) encode() ([]byte, error) {
	ms := h.Interval.Milliseconds()
	if h.Version < 0 || h.Version > math.MaxUint16 || h.Minimum < 0 || h.Minimum > math.MaxUint16 || ms < 0 || ms > math.MaxUint32 {
		return nil, fmt.Errorf("hello of versions %d and %d, interval %v: expected 16 bits for the versions, 32 for the milliseconds", h.Version, h.Minimum, h.Interval)
	}
	b := binary.LittleEndian.AppendUint16(nil, uint16(h.Version))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.Minimum))
	b = binary.LittleEndian.AppendUint32(b, uint32(ms))
	for _, s := range h.strings() {
		if len(*s) > helloStringMax {
			return nil, fmt.Errorf("hello with a name of %d bytes, at most %d are possible", len(*s), helloStringMax)
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(len(*s)))
		b = append(b, *s...)
	}
	return b, nil
}

// decodeHello passes over what follows: a later version may say more.
func decodeHello(b []byte) (h Hello, err error) {
	if len(b) < 8 {
		return h, fmt.Errorf("%w: hello of %d bytes, expected 8 or more", ErrFrame, len(b))
	}
	h.Version, h.Minimum = int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	h.Interval = time.Duration(binary.LittleEndian.Uint32(b[4:])) * time.Millisecond
	b = b[8:]
	for _, s := range h.strings() {
		if len(b) < 2 {
			return h, fmt.Errorf("%w: hello cut short", ErrFrame)
		}
		n := int(binary.LittleEndian.Uint16(b))
		if n > helloStringMax || len(b) < 2+n {
			return h, fmt.Errorf("%w: name of %d bytes in the %d left of a hello, at most %d are accepted", ErrFrame, n, len(b)-2, helloStringMax)
		}
		*s, b = string(b[2:2+n]), b[2+n:]
	}
	return h, nil
}
