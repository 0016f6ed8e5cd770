package session

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
)

// The bytes of a table, version 1. Numbers are uvarints, times varints:
//
//	version, sessions, then each session, the opened ones first, each kind in the
//	order of last use:
//	length of the name (0 for an opened one), name, id, floor, last use, answers,
//	then each answer by sequence: sequence, index, length of the reply + 1 (0 for one
//	that was too large, and for each of a Lossy table), reply
const version = 1

// View is a table as it was at one entry. It satisfies fsm.View.
type View struct {
	sessions []session // of which only what never changes is looked at
	lossy    bool
	open     *atomic.Int64 // counts it until it is released
}

// View returns the table as it is now, cheaply: answers are shared. Every command
// admitted must have been Applied.
func (t *Table) View() *View {
	t.mustBeSettled("View")
	v := &View{sessions: make([]session, 0, t.Sessions()), lossy: t.limits.Lossy, open: t.views}
	t.views.Add(1)
	for _, l := range []*list{&t.openedByUse, &t.namedByUse} {
		for s := l.first; s != nil; s = s.next {
			shared := session{id: s.id, name: s.name, floor: s.floor, lastUsed: s.lastUsed, answers: slices.Clone(s.answers)}
			v.sessions = append(v.sessions, shared)
		}
	}
	return v
}

// WriteTo writes the table. Equal tables write equal bytes.
func (v *View) WriteTo(w io.Writer) (written int64, err error) {
	b := binary.AppendUvarint(nil, version)
	b = binary.AppendUvarint(b, uint64(len(v.sessions)))
	flush := func() error {
		n, err := w.Write(b)
		written += int64(n)
		b = b[:0]
		return err
	}
	for i := range v.sessions {
		s := &v.sessions[i]
		b = append(binary.AppendUvarint(b, uint64(len(s.name))), s.name...)
		b = binary.AppendUvarint(binary.AppendUvarint(b, s.id), s.floor)
		b = binary.AppendUvarint(binary.AppendVarint(b, s.lastUsed), uint64(len(s.answers)))
		for _, a := range s.answers {
			b = binary.AppendUvarint(binary.AppendUvarint(b, a.sequence), a.index)
			if v.lossy || a.tooLarge {
				b = binary.AppendUvarint(b, 0)
			} else {
				b = append(binary.AppendUvarint(b, uint64(len(a.reply))+1), a.reply...)
			}
			if len(b) >= writeBytes {
				if err := flush(); err != nil {
					return written, err
				}
			}
		}
	}
	return written, flush()
}

// writeBytes is how much is gathered for one Write.
const writeBytes = 64 << 10

// Release frees the view. Nothing is asked of it any more.
func (v *View) Release() {
	if v.open != nil {
		v.open.Add(-1)
	}
	v.sessions, v.open = nil, nil
}

// Load replaces the table by what a view has written. After an error the table is as
// it was.
func (t *Table) Load(r io.Reader) error {
	t.mustBeSettled("Load")
	in := &input{in: bufio.NewReader(r)}
	fresh := New(t.limits)
	if v := in.number("version"); in.err == nil && v != version {
		return fmt.Errorf("session table of version %d, expected %d", v, version)
	}
	var answers []*answer
	most := uint64(t.limits.Opened) + uint64(t.limits.Named)
	for range in.count("sessions", most) {
		if s := in.session(fresh); in.err == nil {
			answers = append(answers, s.answers...)
		}
		if in.err != nil {
			break
		}
	}
	if in.err == nil {
		if _, err := in.in.ReadByte(); !errors.Is(err, io.EOF) {
			in.fail("bytes after the last session")
		}
	}
	if in.err != nil {
		return in.err
	}
	slices.SortFunc(answers, func(a, b *answer) int {
		if a.index < b.index {
			return -1
		}
		return 1
	})
	for _, a := range answers {
		fresh.keep(a)
	}
	*t = *fresh
	for _, l := range []*list{&t.openedByUse, &t.namedByUse} {
		for s := l.first; s != nil; s = s.next {
			s.list = l
		}
	}
	return nil
}

// input reads the parts of a table until the first that is wrong.
type input struct {
	in  *bufio.Reader
	err error
}

func (in *input) fail(format string, args ...any) {
	if in.err == nil {
		in.err = fmt.Errorf("session table: "+format, args...)
	}
}

func (in *input) number(what string) uint64 {
	if in.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(in.in)
	if err != nil {
		in.fail("%s: %w", what, err)
	}
	return n
}

// count reads a number that must not be above most.
func (in *input) count(what string, most uint64) uint64 {
	n := in.number(what)
	if n > most {
		in.fail("%d %s, expected at most %d", n, what, most)
		return 0
	}
	return n
}

func (in *input) bytes(what string, n uint64) []byte {
	b := make([]byte, n)
	if in.err == nil {
		if _, err := io.ReadFull(in.in, b); err != nil {
			in.fail("%s of %d bytes: %w", what, n, err)
		}
	}
	return b
}

// session reads one session into the table.
func (in *input) session(t *Table) *session {
	s := &session{name: string(in.bytes("name", in.count("bytes of a name", MaxNameBytes)))}
	s.id, s.floor = in.number("id"), in.number("floor")
	if in.err == nil {
		var err error
		if s.lastUsed, err = binary.ReadVarint(in.in); err != nil {
			in.fail("last use: %w", err)
		}
	}
	window := t.limits.Window
	if s.name != "" {
		window = t.limits.NamedWindow
	}
	last := max(s.floor, 1) - 1
	for range in.count("answers", uint64(window)) {
		a := &answer{session: s, state: stateKept, sequence: in.number("sequence"), index: in.number("index")}
		if size := in.count("bytes of a reply", uint64(t.limits.ReplyBytes)+1); size > 0 {
			a.reply = in.bytes("reply", size-1)
		} else {
			a.tooLarge = true
		}
		if in.err == nil && a.sequence <= last {
			in.fail("sequence %d of session %d after %d", a.sequence, s.id, last)
		}
		if in.err != nil {
			return s
		}
		last = a.sequence
		s.answers = append(s.answers, a)
	}
	in.add(t, s)
	return s
}

func (in *input) add(t *Table, s *session) {
	switch {
	case in.err != nil:
	case s.name != "" && t.named[s.name] == nil && len(t.named) < t.limits.Named:
		t.addNamed(s)
	case s.name == "" && t.opened[s.id] == nil && len(t.opened) < t.limits.Opened:
		t.addOpened(s)
	default:
		in.fail("session %d %q is there twice, or one too many", s.id, s.name)
	}
}
