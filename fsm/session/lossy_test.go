package session

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// Members of a machine with a disk of its own know different replies, by where they
// started. They decide alike all the same, keep equal tables, and apply nothing twice.
func TestLossyTablesDecideAlikeWhateverTheyHaveLost(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		l := Limits{
			Opened: 1 + rng.IntN(4), Named: 1 + rng.IntN(4), Idle: 50, Window: 1 + rng.IntN(6), NamedWindow: 1 + rng.IntN(6),
			ReplyBytes: rng.IntN(40), Lossy: true,
		}
		l.Bytes = (l.ReplyBytes + answerOverhead) * (1 + rng.IntN(10))
		events := history(rng, l, 300)
		knows, lost := New(l), New(l)
		got := batched(t, knows, events, func() int { return 1 + rng.IntN(20) }, func(int) {})
		for i, e := range events {
			if e.open {
				lost.Open(e.command.Index, e.command.Time)
				continue
			}
			v := lost.Admit(e.command)
			if v.Decision == Apply {
				lost.Lost()
			}
			if v.Decision != got[i].Decision || v.Session != got[i].Session || v.Index != got[i].Index {
				t.Fatalf("seed %d, entry %+v: %+v where replies are lost, %+v where they are known", seed, e.command, v, got[i])
			}
			if v.Decision == Repeat && (!v.Lost || v.Reply != nil) {
				t.Fatalf("seed %d, entry %+v: %+v, and nobody knows the reply", seed, e.command, v)
			}
			if r := got[i]; r.Decision == Repeat && !r.Lost && !bytes.Equal(r.Reply, events[r.Index-1].reply) {
				t.Fatalf("seed %d, entry %+v: reply %q of %d, expected %q", seed, e.command, r.Reply, r.Index, events[r.Index-1].reply)
			}
		}
		if !bytes.Equal(image(t, knows), image(t, lost)) {
			t.Fatalf("seed %d: lost replies make another table", seed)
		}
		if knows.replies > l.Bytes || knows.Bytes() > l.Bytes || knows.replies < 0 {
			t.Fatalf("seed %d: %d bytes of answers and %d of replies, expected at most %d of each", seed, knows.Bytes(), knows.replies, l.Bytes)
		}
		again := New(l)
		if err := again.Load(bytes.NewReader(image(t, knows))); err != nil || !bytes.Equal(image(t, again), image(t, lost)) {
			t.Fatalf("seed %d: another table after a snapshot: %v", seed, err)
		}
	}
}

// Replies give way to younger ones; what was applied is remembered.
func TestLossyTableForgetsTheOldestReplies(t *testing.T) {
	l := small()
	l.Lossy, l.Bytes, l.ReplyBytes = true, 4*answerOverhead, 3*answerOverhead
	table := New(l)
	table.Open(1, 0)
	admit := func(sequence, index uint64) Verdict {
		return table.Admit(Command{Session: 1, Sequence: sequence, Index: index})
	}
	for i := uint64(1); i <= 2; i++ {
		if v := admit(i, 1+i); v.Decision != Apply {
			t.Fatal(v)
		}
		table.Applied(make([]byte, l.ReplyBytes))
	}
	if v := admit(1, 9); v.Decision != Repeat || !v.Lost || v.Index != 2 {
		t.Fatalf("%+v, expected a repeat of 2 whose reply is lost", v)
	}
	if v := admit(2, 9); v.Decision != Repeat || v.Lost || len(v.Reply) != l.ReplyBytes {
		t.Fatalf("%+v, expected a repeat of 3 with its reply", v)
	}
	if v := admit(3, 4); v.Decision != Apply {
		t.Fatal(v)
	}
	table.Applied(make([]byte, l.ReplyBytes+1)) // too long to be kept
	if v := admit(3, 9); v.Decision != Repeat || !v.Lost || v.Index != 4 {
		t.Fatalf("%+v, expected a repeat of 4 whose reply was not kept", v)
	}
}

// A table whose replies decide never loses one.
func TestLostIsForLossyTables(t *testing.T) {
	table := New(small())
	table.Open(1, 0)
	table.Admit(Command{Session: 1, Sequence: 1, Index: 2})
	defer func() {
		if recover() == nil {
			t.Fatal("a reply was lost without a panic")
		}
	}()
	table.Lost()
}
