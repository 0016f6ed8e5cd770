package core

import "testing"

func replicating(match Index, w Window) Progress {
	p := NewProgress(match+1, w)
	p.Sent(match, 1)
	p.Accepted(p.Session, match)
	return p
}

func TestProbeSendsOneAtATime(t *testing.T) {
	p := NewProgress(5, Window{8, 1 << 20})
	if p.State != Probe || p.Next != 5 || !p.CanSend() {
		t.Fatalf("%+v", p)
	}
	p.Sent(7, 10)
	if p.CanSend() || p.Next != 5 || p.Inflight() != 1 {
		t.Fatalf("a second append leaves while the place is not known: %+v", p)
	}
	if !p.Accepted(p.Session, 7) || p.State != Replicate || p.Match != 7 || p.Next != 8 || p.Inflight() != 0 {
		t.Fatalf("after the probe was accepted: %+v", p)
	}
}

// While a snapshot is sent no append leaves, and answers to earlier ones count for
// nothing. What the snapshot brings is for the probe behind it to find out.
func TestSnapshotState(t *testing.T) {
	p := replicating(4, Window{8, 1000})
	p.Sent(6, 10)
	old := p.Session
	p.BeginSnapshot()
	if p.State != Snapshot || p.State.String() != "snapshot" || p.CanSend() || p.Inflight() != 0 || p.Accepted(old, 6) || p.Rejected(old, 6, 1) {
		t.Fatalf("%+v", p)
	}
	during := p.Session
	p.EndSnapshot(20)
	if p.State != Probe || p.Session == during || p.Next != 21 || p.Match != 4 || !p.CanSend() {
		t.Fatalf("%+v", p)
	}
	p.BeginSnapshot()
	p.Restart()
	if p.State != Probe || p.Next != 21 || p.Match != 4 {
		t.Fatalf("after one that failed: %+v", p)
	}
	p.EndSnapshot(2) // older than what is known to be there
	if p.Next != 5 {
		t.Fatalf("%+v", p)
	}
}

func TestWindowBoundsMessagesAndBytes(t *testing.T) {
	p := replicating(0, Window{2, 1000})
	p.Sent(1, 10)
	p.Sent(2, 10)
	if p.CanSend() {
		t.Fatal("three messages in a window of two")
	}
	p.Accepted(p.Session, 1)
	if !p.CanSend() || p.Inflight() != 1 {
		t.Fatalf("no room after an answer: %+v", p)
	}
	p = replicating(0, Window{100, 1000})
	p.Sent(1, 999)
	if !p.CanSend() {
		t.Fatal("999 of 1000 bytes are no room")
	}
	p.Sent(2, 1)
	if p.CanSend() {
		t.Fatal("1000 of 1000 bytes are room")
	}
}

// An append larger than the window must leave at some time, alone.
func TestAppendLargerThanTheWindow(t *testing.T) {
	p := replicating(0, Window{4, 100})
	if !p.CanSend() {
		t.Fatal("nothing may leave")
	}
	p.Sent(1, 5000)
	if p.CanSend() {
		t.Fatal("another one beside it")
	}
	p.Accepted(p.Session, 1)
	if !p.CanSend() {
		t.Fatal("the window stays full")
	}
}

// Answers to what was sent before a return to probing neither raise nor lower
// anything: the peer's log may have been cut since.
func TestAnswersOfAnEarlierSessionChangeNothing(t *testing.T) {
	p := replicating(4, Window{8, 1000})
	old := p.Session
	p.Sent(6, 10)
	p.Sent(9, 10)
	p.Restart()
	if p.State != Probe || p.Next != 5 || p.Match != 4 || p.Inflight() != 0 || p.Session == old {
		t.Fatalf("after a restart: %+v", p)
	}
	was := p
	if p.Accepted(old, 9) || p.Rejected(old, 9, 2) {
		t.Fatal("an answer of an earlier session counts")
	}
	if p.Match != was.Match || p.Next != was.Next || p.State != was.State || p.Session != was.Session {
		t.Fatalf("%+v, expected %+v", p, was)
	}
}

// A probe that was lost tells nothing of where the logs agree: it is not the start of
// the log that is asked about next.
func TestLostProbeIsRepeatedAtItsPlace(t *testing.T) {
	p := NewProgress(1000, Window{8, 1000})
	p.Sent(999, 0)
	p.Restart()
	if p.Next != 1000 || !p.CanSend() || p.Session != 2 {
		t.Fatalf("%+v", p)
	}
}

// A refusal's hint tells where to try next and never what the peer holds.
func TestHintIsNoMatch(t *testing.T) {
	p := NewProgress(8, Window{8, 1000})
	p.Sent(9, 10)
	if !p.Rejected(p.Session, 7, 5) {
		t.Fatal("refusal ignored")
	}
	if p.Match != 0 || p.Next != 6 || p.State != Probe {
		t.Fatalf("%+v", p)
	}
	p = replicating(4, Window{8, 1000})
	if p.Rejected(p.Session, 4, 1) || p.Rejected(p.Session, 3, 1) {
		t.Fatal("a refusal of what is known to be there counts")
	}
	if !p.Rejected(p.Session, 9, 20) || p.Next != 9 {
		t.Fatalf("a hint above what was refused: %+v", p)
	}
	if !p.Rejected(p.Session, 8, 1) || p.Next != 5 {
		t.Fatalf("a hint below what is known to be there: %+v", p)
	}
}

func TestProgressStateNames(t *testing.T) {
	if Probe.String() != "probe" || Replicate.String() != "replicate" {
		t.Fatal(Probe, Replicate)
	}
}

// A random walk: what counts as in flight is exactly what was sent in this session
// and not answered, in messages and in bytes; match never falls nor passes what the
// peer answered; next is never at or below match.
func TestProgressAgainstAModel(t *testing.T) {
	type flight struct {
		last  Index
		bytes int
	}
	for seed := range uint64(500) {
		r := newRand(seed)
		w := Window{1 + r.IntN(5), 1 + r.IntN(300)}
		p := NewProgress(Index(1+r.IntN(9)), w)
		var model []flight
		var match Index
		for range 300 {
			was := p
			switch r.IntN(5) {
			case 0, 1:
				if !p.CanSend() {
					continue
				}
				f := flight{p.Next - 1 + Index(r.IntN(4)), r.IntN(200)}
				p.Sent(f.last, f.bytes)
				model = append(model, f)
			case 2:
				if len(model) == 0 {
					continue
				}
				at := model[r.IntN(len(model))].last
				if !p.Accepted(p.Session, at) {
					t.Fatalf("seed %d: answer of this session ignored", seed)
				}
				match = max(match, at)
				for len(model) > 0 && model[0].last <= at {
					model = model[1:]
				}
				if was.State == Probe {
					model = nil
				}
			case 3:
				prev, hint := Index(r.IntN(15)), Index(r.IntN(15))
				if told := p.Rejected(p.Session, prev, hint); told != (prev > match) {
					t.Fatalf("seed %d: refusal after %d with match %d: %v", seed, prev, match, told)
				} else if told {
					model = nil
				}
			case 4:
				if r.IntN(3) == 0 {
					p.Restart()
					model = nil
				} else if p.Accepted(p.Session-1, 99) || p.Rejected(p.Session+1, 99, 1) {
					t.Fatalf("seed %d: an answer of another session counts", seed)
				}
			}
			bytes := 0
			for _, f := range model {
				bytes += f.bytes
			}
			if p.Inflight() != len(model) || p.bytes != bytes || p.Match != match || p.Next <= p.Match || p.Session < was.Session {
				t.Fatalf("seed %d: %+v, expected %d in flight of %d bytes, match %d", seed, p, len(model), bytes, match)
			}
			if can := len(model) == 0 || p.State == Replicate && len(model) < w.Messages && bytes < w.Bytes; p.CanSend() != can {
				t.Fatalf("seed %d: can send %v, expected %v: %+v", seed, p.CanSend(), can, p)
			}
		}
	}
}
