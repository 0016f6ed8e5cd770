package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/protoraft/protoraft/messages"
)

// Magic begins what each side says. The first byte tells a link from HTTP/2 ('P') and
// TLS (0x16) on the same port; the last is the version of the frames.
const Magic = "\xd7PR\x01"

const (
	headerBytes = 16

	// IDBytesMax is the longest id of an actor.
	IDBytesMax = 512

	// MessageBytesMax is the largest message, its block included.
	MessageBytesMax = messages.MaxBlockBytes + 64<<10

	helloBytesMax   = 4 << 10 // of a frame before both sides know each other
	controlBytesMax = 4 << 10 // and of what the called one says later
	scanBytes       = 64 << 10
)

// Kind says what a frame holds. The numbers are on the wire: none is used again.
type Kind byte

const (
	kindHello   Kind = 1
	kindWelcome Kind = 2
	kindRefusal Kind = 3
	kindPing    Kind = 4
	kindPong    Kind = 5
)

// ErrFrame is wrapped by every error about the bytes of a frame.
var ErrFrame = errors.New("bad frame")

// header is a frame's, without its parts.
type header struct {
	kind                 Kind
	size                 int // of all parts together
	target, sender, body int
}

func (h header) attachment() int { return h.size - h.target - h.sender - h.body }

func appendHeader(b []byte, h header) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(h.size))
	b = append(b, byte(h.kind), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(h.target))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.sender))
	b = append(b, 0, 0)
	return binary.LittleEndian.AppendUint32(b, uint32(h.body))
}

// parseHeader reads headerBytes of b. No part of the frame is larger than sizeMax.
func parseHeader(b []byte, sizeMax int) (header, error) {
	size, body := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[12:])
	h := header{
		kind:   Kind(b[4]),
		target: int(binary.LittleEndian.Uint16(b[6:])),
		sender: int(binary.LittleEndian.Uint16(b[8:])),
	}
	switch {
	case b[5] != 0 || b[10] != 0 || b[11] != 0:
		return h, fmt.Errorf("%w: header % x, expected zeros at bytes 5, 10 and 11", ErrFrame, b[:headerBytes])
	case uint64(size) > uint64(sizeMax):
		return h, fmt.Errorf("%w: %d bytes, at most %d are accepted", ErrFrame, size, sizeMax)
	case h.target > IDBytesMax || h.sender > IDBytesMax:
		return h, fmt.Errorf("%w: ids of %d and %d bytes, at most %d are accepted", ErrFrame, h.target, h.sender, IDBytesMax)
	case uint64(h.target)+uint64(h.sender)+uint64(body) > uint64(size):
		return h, fmt.Errorf("%w: parts of %d, %d and %d bytes in a frame of %d", ErrFrame, h.target, h.sender, body, size)
	}
	h.size, h.body = int(size), int(body)
	return h, nil
}

// frame is one that was read. All but the attachment is good until the next is read.
type frame struct {
	kind                 Kind
	target, sender, body []byte
	attachment           []byte // its own memory, nil for none
}

// frameReader cuts a stream into frames.
type frameReader struct {
	from    io.Reader
	sizeMax int
	buf     []byte // scanBytes, used again and again: nothing read outlives it but by copy
	r, w    int    // what of buf is read and not yet used
	large   []byte // of a frame that does not fit buf
}

func newFrameReader(from io.Reader, sizeMax int) *frameReader {
	return &frameReader{from: from, sizeMax: sizeMax, buf: make([]byte, scanBytes)}
}

// next returns io.EOF only between two frames.
func (r *frameReader) next() (frame, error) {
	r.large = nil
	if err := r.fill(headerBytes); err != nil {
		return frame{}, err
	}
	h, err := parseHeader(r.buf[r.r:], r.sizeMax)
	if err != nil {
		return frame{}, err
	}
	r.r += headerBytes
	parts, err := r.take(h.target + h.sender + h.body)
	if err != nil {
		return frame{}, inside(err)
	}
	f := frame{
		kind:   h.kind,
		target: parts[:h.target], sender: parts[h.target : h.target+h.sender], body: parts[h.target+h.sender:],
	}
	if n := h.attachment(); n > 0 {
		if f.attachment, err = r.copyOut(n); err != nil {
			return frame{}, inside(err)
		}
	}
	return f, nil
}

func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// take returns the next n bytes, from the buffer where they fit.
func (r *frameReader) take(n int) ([]byte, error) {
	if n > len(r.buf) {
		var err error
		r.large, err = r.copyOut(n)
		return r.large, err
	}
	if err := r.fill(n); err != nil {
		return nil, err
	}
	b := r.buf[r.r : r.r+n]
	r.r += n
	return b, nil
}

// fill reads until n bytes are in the buffer, n no more than its size.
func (r *frameReader) fill(n int) error {
	if r.r == r.w {
		r.r, r.w = 0, 0
	}
	if r.r+n > len(r.buf) {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	for r.w-r.r < n {
		m, err := r.from.Read(r.buf[r.w:])
		r.w += m
		if r.w-r.r >= n {
			return nil
		}
		if err != nil {
			if r.w > r.r {
				return inside(err)
			}
			return err
		}
	}
	return nil
}

// copyOut returns the next n bytes in memory of their own: what of them was read with
// other frames is copied, the rest is read into its place.
func (r *frameReader) copyOut(n int) ([]byte, error) {
	b := make([]byte, n)
	m := copy(b, r.buf[r.r:r.w])
	r.r += m
	if m == n {
		return b, nil
	}
	_, err := io.ReadFull(r.from, b[m:])
	return b, err
}
