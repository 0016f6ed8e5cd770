// Package queue is a replicated queue of one page, written to show its test: see
// queue_test.go, and `go test -v ./examples/fsmtest`.
package queue

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/protoraft/protoraft/fsm"
)

// Push is the command that adds an item at the end; its reply is empty.
func Push(item []byte) []byte { return append([]byte{'+'}, item...) }

// Pop is the command that takes the first item. Its reply is '+' and the item, or
// '-' where there is none.
func Pop() []byte { return []byte{'-'} }

// Peek is the query for the first item, answered as Pop is.
func Peek() []byte { return nil }

// Queue implements fsm.StateMachine and fsm.Querier.
type Queue struct {
	items [][]byte // none is ever changed
}

// New returns an empty queue.
func New() *Queue { return &Queue{} }

// Apply pushes or pops. Anything else is refused by a reply, not by an error: an
// error would stop the group.
func (q *Queue) Apply(e fsm.Entry) ([]byte, error) {
	switch {
	case len(e.Data) > 0 && e.Data[0] == '+':
		q.items = append(q.items, slices.Clone(e.Data[1:])) // Data is the log's
		return nil, nil
	case len(e.Data) == 1 && e.Data[0] == '-':
		first := q.first()
		if len(q.items) > 0 {
			q.items = q.items[1:]
		}
		return first, nil
	}
	return []byte("?"), nil
}

func (q *Queue) first() []byte {
	if len(q.items) == 0 {
		return []byte{'-'}
	}
	return append([]byte{'+'}, q.items[0]...)
}

// Query answers Peek.
func (q *Queue) Query([]byte) ([]byte, error) { return q.first(), nil }

// Snapshot is cheap: the items are shared, since none is ever changed, and the clip
// keeps later pushes out.
func (q *Queue) Snapshot() (fsm.View, error) { return view(slices.Clip(q.items)), nil }

type view [][]byte

// WriteTo writes each item behind its length.
func (v view) WriteTo(w io.Writer) (n int64, err error) {
	for _, item := range v {
		k, err := w.Write(append(binary.AppendUvarint(nil, uint64(len(item))), item...))
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (v view) Release() {}

// Restore replaces the items.
func (q *Queue) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var items [][]byte
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return errors.New("queue: snapshot cut short")
		}
		items = append(items, slices.Clone(b[n:n+int(size)]))
		b = b[n+int(size):]
	}
	q.items = items
	return nil
}
