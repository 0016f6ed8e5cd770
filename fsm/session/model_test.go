package session

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is a table without any cleverness: everything there ever was, in slices that
// are searched, one command after the other.
type model struct {
	limits   Limits
	sessions []*modelSession // by last use
}

type modelSession struct {
	id      uint64
	name    string
	floor   uint64
	used    int64
	answers []modelAnswer
}

type modelAnswer struct {
	sequence, index uint64
	reply           []byte
}

func (m *model) expire(now int64) {
	m.sessions = slices.DeleteFunc(m.sessions, func(s *modelSession) bool { return now-s.used > int64(m.limits.Idle) })
}

func (m *model) count(named bool) (n int) {
	for _, s := range m.sessions {
		if (s.name != "") == named {
			n++
		}
	}
	return n
}

func (m *model) open(index uint64, now int64) {
	m.expire(now)
	if m.count(false) >= m.limits.Opened {
		i := slices.IndexFunc(m.sessions, func(s *modelSession) bool { return s.name == "" })
		m.sessions = slices.Delete(m.sessions, i, i+1)
	}
	m.sessions = append(m.sessions, &modelSession{id: index, floor: 1, used: now})
}

func (s *modelSession) raise(floor uint64) {
	s.floor = max(s.floor, floor)
	s.answers = slices.DeleteFunc(s.answers, func(a modelAnswer) bool { return a.sequence < s.floor })
}

// do says the decision, and applies what is to be applied with reply.
func (m *model) do(c Command, reply []byte) Verdict {
	m.expire(c.Time)
	i := slices.IndexFunc(m.sessions, func(s *modelSession) bool {
		return c.Name != nil && s.name == string(c.Name) || c.Name == nil && s.name == "" && s.id == c.Session
	})
	if i < 0 {
		switch {
		case c.Name == nil || c.Sequence != 1:
			return Verdict{Decision: Expired}
		case m.count(true) >= m.limits.Named:
			return Verdict{Decision: Full}
		}
		m.sessions = append(m.sessions, &modelSession{id: c.Index, name: string(c.Name), floor: 1})
		i = len(m.sessions) - 1
	}
	s := m.sessions[i]
	m.sessions = append(slices.Delete(m.sessions, i, i+1), s)
	s.used = max(s.used, c.Time)
	s.raise(min(c.Acknowledged, c.Sequence))
	if c.Sequence < s.floor {
		return Verdict{Decision: Expired, Session: s.id}
	}
	for _, a := range s.answers {
		if a.sequence == c.Sequence {
			if len(a.reply) > m.limits.ReplyBytes {
				return Verdict{Decision: Expired, Session: s.id}
			}
			return Verdict{Decision: Repeat, Session: s.id, Index: a.index, Reply: a.reply}
		}
	}
	s.answers = append(s.answers, modelAnswer{c.Sequence, c.Index, reply})
	slices.SortFunc(s.answers, func(a, b modelAnswer) int { return int(a.sequence) - int(b.sequence) })
	window := m.limits.Window
	if s.name != "" {
		window = m.limits.NamedWindow
	}
	for len(s.answers) > window {
		s.raise(s.answers[0].sequence + 1)
	}
	m.shrink()
	return Verdict{Decision: Apply, Session: s.id}
}

// shrink forgets the oldest answers while there are too many bytes.
func (m *model) shrink() {
	for {
		bytes := 0
		var oldest *modelSession
		var at modelAnswer
		for _, s := range m.sessions {
			for _, a := range s.answers {
				bytes += answerOverhead
				if len(a.reply) <= m.limits.ReplyBytes {
					bytes += len(a.reply)
				}
				if oldest == nil || a.index < at.index {
					oldest, at = s, a
				}
			}
		}
		if bytes <= m.limits.Bytes {
			return
		}
		oldest.raise(at.sequence + 1)
	}
}

// event is an entry of a random history.
type event struct {
	open    bool
	command Command
	reply   []byte
}

func history(rng *rand.Rand, l Limits, n int) (events []event) {
	var ids []uint64
	now := int64(0)
	for index := uint64(1); index <= uint64(n); index++ {
		if rng.IntN(10) == 0 {
			now += rng.Int64N(int64(l.Idle))
		}
		e := event{command: Command{Index: index, Time: now}}
		c := &e.command
		switch rng.IntN(12) {
		case 0, 1:
			e.open = true
			ids = append(ids, index)
		case 2, 3, 4:
			c.Name = fmt.Appendf(nil, "n%d", rng.IntN(4))
			c.Sequence = 1 + rng.Uint64N(8)
		default:
			if c.Session = 1 + rng.Uint64N(index); len(ids) > 0 && rng.IntN(20) > 0 {
				c.Session = ids[max(0, len(ids)-1-rng.IntN(4))]
			}
			c.Sequence = 1 + rng.Uint64N(10)
			if rng.IntN(3) == 0 {
				c.Acknowledged = rng.Uint64N(c.Sequence + 2)
			}
		}
		e.reply = make([]byte, rng.IntN(l.ReplyBytes+2))
		for i := range e.reply {
			e.reply[i] = byte(index)
		}
		events = append(events, e)
	}
	return events
}

// batched plays a history with a table, cut into batches of at most so many commands,
// and returns its decisions. After each batch it calls between.
func batched(t *testing.T, table *Table, events []event, size func() int, between func(i int)) (verdicts []Verdict) {
	var waiting []event
	settle := func() {
		for _, e := range waiting {
			table.Applied(e.reply)
		}
		waiting = nil
	}
	for i, e := range events {
		if e.open {
			settle()
			table.Open(e.command.Index, e.command.Time)
			verdicts = append(verdicts, Verdict{})
			continue
		}
		v := table.Admit(e.command)
		if v.Decision == Behind {
			if len(waiting) == 0 {
				t.Fatalf("entry %d: behind, and nobody is before it", e.command.Index)
			}
			settle()
			v = table.Admit(e.command)
		}
		if v.Decision == Apply {
			waiting = append(waiting, e)
		}
		verdicts = append(verdicts, v)
		if len(waiting) >= size() {
			settle()
			between(i)
		}
	}
	settle()
	return verdicts
}

func (v Verdict) equal(o Verdict) bool {
	return v.Decision == o.Decision && v.Session == o.Session && v.Index == o.Index && bytes.Equal(v.Reply, o.Reply)
}

// TestModel: random histories are decided as the model decides them, however they are
// cut into batches and wherever the table goes through its bytes; no command is applied
// twice, and no repeat gets another reply.
func TestModel(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := Limits{
			Opened: 1 + rng.IntN(4), Named: 1 + rng.IntN(4), Idle: 50, Window: 1 + rng.IntN(6), NamedWindow: 1 + rng.IntN(6),
			ReplyBytes: rng.IntN(40), Bytes: 0,
		}
		l.Bytes = (l.ReplyBytes + answerOverhead) * (1 + rng.IntN(30))
		events := history(rng, l, 300)
		m, want := &model{limits: l}, []Verdict{}
		for _, e := range events {
			if e.open {
				m.open(e.command.Index, e.command.Time)
				want = append(want, Verdict{})
				continue
			}
			want = append(want, m.do(e.command, e.reply))
		}
		single, cut := New(l), New(l)
		one := func() int { return 1 }
		got := batched(t, single, events, one, func(int) {})
		many := batched(t, cut, events, func() int { return 1 + rng.IntN(20) }, func(int) {
			if rng.IntN(10) == 0 {
				again := New(l)
				if err := again.Load(bytes.NewReader(image(t, cut))); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				*cut = *again
				relink(cut)
			}
		})
		for i := range want {
			if !got[i].equal(want[i]) || !many[i].equal(want[i]) {
				t.Fatalf("seed %d, entry %+v: %+v, in batches %+v, expected %+v", seed, events[i].command, got[i], many[i], want[i])
			}
		}
		if !bytes.Equal(image(t, single), image(t, cut)) {
			t.Fatalf("seed %d: batches make another table", seed)
		}
		checkOnce(t, seed, l, events, got)
		if single.Bytes() > l.Bytes {
			t.Fatalf("seed %d: %d bytes, expected at most %d", seed, single.Bytes(), l.Bytes)
		}
	}
}

// relink: a table that was copied has its lists elsewhere.
func relink(t *Table) {
	for _, l := range []*list{&t.openedByUse, &t.namedByUse} {
		for s := l.first; s != nil; s = s.next {
			s.list = l
		}
	}
}

// checkOnce knows nothing of tables: of an opened session no sequence is applied twice,
// ever; of a named one not within the idle time. Repeats say what the first answer said.
func checkOnce(t *testing.T, seed uint64, l Limits, events []event, verdicts []Verdict) {
	type key struct {
		name     string
		session  uint64
		sequence uint64
	}
	first := map[key]event{}
	for i, e := range events {
		k := key{string(e.command.Name), e.command.Session, e.command.Sequence}
		before, applied := first[k]
		switch v := verdicts[i]; {
		case e.open:
		case v.Decision == Apply:
			if applied && (k.name == "" || e.command.Time-before.command.Time <= int64(l.Idle)) {
				t.Fatalf("seed %d: %+v is applied at %d and at %d", seed, k, before.command.Index, e.command.Index)
			}
			first[k] = e
		case v.Decision == Repeat:
			if !applied || v.Index != before.command.Index || !bytes.Equal(v.Reply, before.reply) {
				t.Fatalf("seed %d: %+v is answered with %+v, applied was %+v", seed, k, v, before)
			}
		}
	}
}
