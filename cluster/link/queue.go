package link

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"
)

const (
	// Attachments below are copied between the frames: a piece of its own in a vectored
	// write costs more.
	attachBytesMin = 2 << 10

	chunkBytesKept = 256 << 10 // the largest buffer kept after a burst
)

// queue is what waits to be written, in pieces: frames side by side in chunk, and the
// blocks between them where their senders have them.
type queue struct {
	pieces   [][]byte
	chunk    []byte
	open     int // where in chunk the piece begins that is not in pieces yet
	bytes    int
	messages int
}

// add appends one message. What it refuses has left no trace.
func (q *queue) add(kind Kind, target, sender string, body proto.Message, attachment []byte) error {
	if len(target) > IDBytesMax || len(sender) > IDBytesMax {
		return fmt.Errorf("ids of %d and %d bytes, at most %d are possible", len(target), len(sender), IDBytesMax)
	}
	from := len(q.chunk)
	q.chunk = append(q.chunk, make([]byte, headerBytes)...)
	q.chunk = append(append(q.chunk, target...), sender...)
	at := len(q.chunk)
	chunk, err := proto.MarshalOptions{}.MarshalAppend(q.chunk, body)
	size := len(chunk) - from - headerBytes + len(attachment)
	if err == nil && size > MessageBytesMax {
		err = fmt.Errorf("%d bytes, at most %d are possible", size, MessageBytesMax)
	}
	if err != nil {
		q.chunk = q.chunk[:from]
		return err
	}
	q.chunk = chunk
	h := header{kind: kind, size: size, target: len(target), sender: len(sender), body: len(chunk) - at}
	appendHeader(q.chunk[:from], h)
	q.attach(attachment)
	q.bytes += headerBytes + size
	q.messages++
	return nil
}

func (q *queue) attach(b []byte) {
	if len(b) < attachBytesMin {
		q.chunk = append(q.chunk, b...)
		return
	}
	q.close()
	q.pieces = append(q.pieces, b)
}

// close makes a piece of what is at the end of chunk. Should chunk be moved as it
// grows, the piece stays where it was written.
func (q *queue) close() {
	if q.open < len(q.chunk) {
		q.pieces = append(q.pieces, q.chunk[q.open:len(q.chunk):len(q.chunk)])
		q.open = len(q.chunk)
	}
}

// control appends a frame of the link itself.
func (q *queue) control(kind Kind, body []byte) {
	q.chunk = append(appendHeader(q.chunk, header{kind: kind, size: len(body), body: len(body)}), body...)
	q.bytes += headerBytes + len(body)
}

func (q *queue) empty() bool { return q.bytes == 0 }

// reset makes the queue empty, keeping its room. Nobody may read its pieces any more.
func (q *queue) reset() {
	clear(q.pieces)
	q.pieces, q.chunk = q.pieces[:0], q.chunk[:0]
	if cap(q.chunk) > chunkBytesKept {
		q.chunk = nil
	}
	q.open, q.bytes, q.messages = 0, 0, 0
}

func stampBytes(stamp uint64) []byte { return binary.LittleEndian.AppendUint64(nil, stamp) }
