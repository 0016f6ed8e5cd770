package session

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// small limits, whose edges a few commands reach.
func small() Limits {
	return Limits{
		Opened: 2, Named: 2, Idle: 100, Window: 4, NamedWindow: 3,
		ReplyBytes: 10, Bytes: 5 * (answerOverhead + 10),
	}
}

// story plays commands, one applied after the other, and tells the decisions.
type story struct {
	*testing.T
	table *Table
	index uint64
	now   int64
}

func newStory(t *testing.T) *story { return &story{T: t, table: New(small())} }

func (s *story) open() uint64 {
	s.index++
	s.table.Open(s.index, s.now)
	return s.index
}

func (s *story) expect(want string, c Command) {
	s.Helper()
	s.index++
	c.Index, c.Time = s.index, s.now
	v := s.table.Admit(c)
	if v.Decision == Apply {
		s.table.Applied(fmt.Appendf(nil, "did %d", s.index))
	}
	got := v.String()
	if v.Decision == Repeat {
		got += fmt.Sprintf(" of %d: %s", v.Index, v.Reply)
	}
	if got != want {
		s.Fatalf("%+v: %s, expected %s", c, got, want)
	}
}

func TestRepeatIsAnsweredAlike(t *testing.T) {
	s := newStory(t)
	id := s.open()
	s.expect("apply", Command{Session: id, Sequence: 1})
	s.expect("apply", Command{Session: id, Sequence: 3})
	s.expect("apply", Command{Session: id, Sequence: 2}) // in any order
	for range 2 {
		s.expect("repeat of 2: did 2", Command{Session: id, Sequence: 1})
		s.expect("repeat of 4: did 4", Command{Session: id, Sequence: 2})
		s.expect("repeat of 3: did 3", Command{Session: id, Sequence: 3})
	}
	other := s.open()
	s.expect("apply", Command{Session: other, Sequence: 1})
}

func TestUnknownSessionIsRefused(t *testing.T) {
	s := newStory(t)
	s.expect("expired", Command{Session: 1, Sequence: 1})
	s.expect("expired", Command{Session: 99, Sequence: 1})
}

// What the client has acknowledged, or the window has left behind, is refused, whether
// it was applied or not.
func TestForgottenAnswersAreRefused(t *testing.T) {
	s := newStory(t)
	id := s.open()
	s.expect("apply", Command{Session: id, Sequence: 1})
	s.expect("apply", Command{Session: id, Sequence: 4, Acknowledged: 3})
	s.expect("expired", Command{Session: id, Sequence: 1})
	s.expect("expired", Command{Session: id, Sequence: 2}) // never applied, and never will be
	s.expect("apply", Command{Session: id, Sequence: 3})
	for sequence := uint64(5); sequence <= 8; sequence++ {
		s.expect("apply", Command{Session: id, Sequence: sequence})
	}
	s.expect("expired", Command{Session: id, Sequence: 4})
	s.expect("repeat of 7: did 7", Command{Session: id, Sequence: 5})
	// A client that claims to have acknowledged what it asks for is answered all the same.
	s.expect("repeat of 10: did 10", Command{Session: id, Sequence: 8, Acknowledged: 50})
}

func TestNameBeginsWithSequenceOne(t *testing.T) {
	s := newStory(t)
	name := func(n string, sequence uint64) Command { return Command{Name: []byte(n), Sequence: sequence} }
	s.expect("expired", name("a", 2))
	s.expect("apply", name("a", 1))
	s.expect("apply", name("a", 2))
	s.expect("apply", name("b", 1))
	s.expect("repeat of 2: did 2", name("a", 1))
	s.expect("full", name("c", 1)) // nobody gives way to it
	s.expect("expired", name("c", 2))
	s.expect("repeat of 4: did 4", name("b", 1))
	s.expect("apply", name("a", 3))
	s.expect("apply", name("a", 4))
	s.expect("expired", name("a", 1)) // beyond the window of a name
	s.expect("repeat of 3: did 3", name("a", 2))
}

// A session unused for the idle time by log time is forgotten, and not before.
func TestExpiryByLogTime(t *testing.T) {
	s := newStory(t)
	first, second := s.open(), s.open()
	s.expect("apply", Command{Session: first, Sequence: 1})
	s.now = 100
	s.expect("repeat of 3: did 3", Command{Session: first, Sequence: 1}) // and used
	s.now = 101
	s.expect("expired", Command{Session: second, Sequence: 1})
	s.now = 200
	s.expect("repeat of 3: did 3", Command{Session: first, Sequence: 1})
	s.now = 301
	s.expect("expired", Command{Session: first, Sequence: 1})
	if s.table.Sessions() != 0 || s.table.Bytes() != 0 {
		t.Fatalf("%d sessions of %d bytes are left", s.table.Sessions(), s.table.Bytes())
	}
}

func TestLeastRecentlyUsedGivesWay(t *testing.T) {
	s := newStory(t)
	first, second := s.open(), s.open()
	s.expect("apply", Command{Session: second, Sequence: 1})
	s.expect("apply", Command{Session: first, Sequence: 1})
	third := s.open()
	s.expect("expired", Command{Session: second, Sequence: 1})
	s.expect("repeat of 4: did 4", Command{Session: first, Sequence: 1})
	s.expect("apply", Command{Session: third, Sequence: 1})
}

// Above the bound on bytes the oldest answers go, of whichever session.
func TestBytesAreBounded(t *testing.T) {
	s := newStory(t)
	first, second := s.open(), s.open()
	for sequence := uint64(1); sequence <= 3; sequence++ {
		s.expect("apply", Command{Session: first, Sequence: sequence})
		s.expect("apply", Command{Session: second, Sequence: sequence})
	}
	s.expect("expired", Command{Session: first, Sequence: 1})
	s.expect("repeat of 4: did 4", Command{Session: second, Sequence: 1})
	if limit := small().Bytes; s.table.Bytes() > limit {
		t.Fatalf("%d bytes, expected at most %d", s.table.Bytes(), limit)
	}
}

func TestLongReplyIsNotKept(t *testing.T) {
	s := newStory(t)
	id := s.open()
	if v := s.table.Admit(Command{Session: id, Sequence: 1, Index: 2}); v.Decision != Apply {
		t.Fatal(v)
	}
	s.table.Applied(make([]byte, 11))
	s.expect("expired", Command{Session: id, Sequence: 1})
	s.expect("apply", Command{Session: id, Sequence: 2})
}

// A repeat of a command whose reply is not known yet has to wait for it.
func TestRepeatWithinABatchWaits(t *testing.T) {
	s := newStory(t)
	id := s.open()
	c := Command{Session: id, Sequence: 1, Index: 2}
	if v := s.table.Admit(c); v.Decision != Apply {
		t.Fatal(v)
	}
	c.Index = 3
	if v := s.table.Admit(c); v.Decision != Behind {
		t.Fatalf("%v, expected behind", v)
	}
	s.table.Applied([]byte("done"))
	if v := s.table.Admit(c); v.Decision != Repeat || v.Index != 2 || string(v.Reply) != "done" {
		t.Fatalf("%+v", v)
	}
}

func image(t testing.TB, table *Table) []byte {
	t.Helper()
	var b bytes.Buffer
	v := table.View()
	defer v.Release()
	if n, err := v.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("%d bytes of %d written: %v", n, b.Len(), err)
	}
	return b.Bytes()
}

func TestViewStaysAsItIs(t *testing.T) {
	s := newStory(t)
	id := s.open()
	s.expect("apply", Command{Session: id, Sequence: 1})
	s.expect("apply", Command{Name: []byte("n"), Sequence: 1})
	before, v := image(t, s.table), s.table.View()
	for sequence := uint64(2); sequence <= 9; sequence++ {
		s.expect("apply", Command{Session: id, Sequence: sequence, Acknowledged: sequence - 1})
	}
	var after bytes.Buffer
	if _, err := v.WriteTo(&after); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after.Bytes()) {
		t.Fatal("a view has changed with its table")
	}
	if bytes.Equal(before, image(t, s.table)) {
		t.Fatal("the table has not changed")
	}
}

// TestGolden: the bytes of version 1.
func TestGolden(t *testing.T) {
	s := newStory(t)
	id := s.open()
	s.now = 3
	s.expect("apply", Command{Session: id, Sequence: 2, Acknowledged: 2})
	s.expect("apply", Command{Name: []byte("ab"), Sequence: 1})
	const want = "\x01\x02" +
		"\x00" + "\x01\x02\x06\x01" + "\x02\x02\x06did 2" +
		"\x02ab" + "\x03\x01\x06\x01" + "\x01\x03\x06did 3"
	got := image(t, s.table)
	if string(got) != want {
		t.Fatalf("%q, expected %q", got, want)
	}
	restored := New(small())
	if err := restored.Load(bytes.NewReader(got)); err != nil {
		t.Fatal(err)
	}
	s.table = restored
	s.expect("repeat of 2: did 2", Command{Session: id, Sequence: 2})
}

// A damaged table is refused as a whole, by an error that says where.
func TestLoadRefusesDamage(t *testing.T) {
	s := newStory(t)
	s.open()
	s.open()
	s.expect("apply", Command{Session: 1, Sequence: 1})
	s.expect("apply", Command{Session: 1, Sequence: 2})
	s.expect("apply", Command{Name: []byte("ab"), Sequence: 1})
	good := image(t, s.table)
	for n := range good {
		if err := New(small()).Load(bytes.NewReader(good[:n])); err == nil {
			t.Fatalf("the first %d of %d bytes are accepted", n, len(good))
		}
	}
	before := image(t, s.table)
	for what, b := range map[string][]byte{
		"bytes after":     append(bytes.Clone(good), 0),
		"version 9":       append([]byte{9}, good[1:]...),
		"many sessions":   {1, 100},
		"long name":       append([]byte{1, 1, 200, 1}, good...),
		"too many opened": {1, 3, 0, 1, 1, 0, 0, 0, 2, 1, 0, 0, 0, 3, 1, 0, 0},
		"one twice":       {1, 2, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0},
		"below the floor": {1, 1, 0, 1, 5, 0, 1, 4, 2, 1},
		"too many kept":   {1, 1, 0, 1, 1, 0, 9},
		"a long reply":    {1, 1, 0, 1, 1, 0, 1, 1, 2, 200, 1},
	} {
		err := s.table.Load(bytes.NewReader(b))
		if err == nil || !strings.HasPrefix(err.Error(), "session table") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !bytes.Equal(before, image(t, s.table)) {
		t.Error("a refused table has left something")
	}
}

func TestLimitsAreChecked(t *testing.T) {
	good := DefaultLimits()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []func(*Limits){
		func(l *Limits) { l.Opened = 0 }, func(l *Limits) { l.Named = 0 }, func(l *Limits) { l.Idle = 0 },
		func(l *Limits) { l.Window = 0 }, func(l *Limits) { l.NamedWindow = 0 }, func(l *Limits) { l.Bytes = l.ReplyBytes },
	} {
		l := good
		spoil(&l)
		if l.Validate() == nil {
			t.Errorf("%+v is accepted", l)
		}
	}
	if good.Idle < time.Minute {
		t.Error("clients cannot retry within", good.Idle)
	}
}
