package session

import (
	"fmt"
	"slices"
	"sort"
	"sync/atomic"
)

// Table is a group's sessions. It is used by one goroutine; what View returns may be
// used by another.
type Table struct {
	limits        Limits
	opened        map[uint64]*session
	named         map[string]*session
	openedByUse   list // least recently used first
	namedByUse    list
	oldest, young *answer   // kept ones, by the index of their entry
	bytes         int       // of kept answers
	pending       []*answer // admitted, and Applied not called, from settled on; in order
	settled       int
	last          *session      // that an id was found to be of; nil for none
	spare         *answer       // to be used again, and those behind it
	spares        int           // how many
	views         *atomic.Int64 // that are not released: they share answers

	replies int     // bytes of those a Lossy table has
	replied *answer // of a Lossy table: no answer before it, among the kept, has a reply
}

// session is one client's.
type session struct {
	id       uint64
	name     string // empty for an opened one
	floor    uint64 // sequences below are answered by Expired
	lastUsed int64  // log time
	answers  []*answer
	room     []*answer // of which answers is a part

	list       *list
	prev, next *session
}

// answer is what became of a command. Once kept, its first four fields never change
// while a View is there that may share it.
type answer struct {
	sequence uint64
	index    uint64
	reply    []byte
	tooLarge bool // the reply was not kept, or is lost; a Lossy table's View does not look
	state    answerState
	session  *session

	prev, next *answer // among the kept
}

type answerState uint8

const (
	statePending answerState = iota
	stateKept
	stateForgotten
)

// New makes an empty table. It panics on limits that Validate refuses.
func New(l Limits) *Table {
	if err := l.Validate(); err != nil {
		panic(err)
	}
	return &Table{limits: l, views: new(atomic.Int64)} // most groups never have a session: maps come with the first
}

// Sessions is how many sessions there are, Bytes the size of all answers kept.
func (t *Table) Sessions() int { return len(t.opened) + len(t.named) }
func (t *Table) Bytes() int    { return t.bytes }

// Lossy says whether replies decide nothing: see Limits.
func (t *Table) Lossy() bool { return t.limits.Lossy }

// Open begins the session of the entry at index. Every command admitted before must
// have been Applied.
func (t *Table) Open(index uint64, now int64) {
	t.expire(now)
	for len(t.opened) >= t.limits.Opened {
		t.remove(t.openedByUse.first)
	}
	s := &session{id: index, floor: 1, lastUsed: now}
	t.addOpened(s)
}

func (t *Table) addOpened(s *session) {
	if t.opened == nil {
		t.opened = map[uint64]*session{}
	}
	t.opened[s.id] = s
	t.openedByUse.push(s)
}

func (t *Table) addNamed(s *session) {
	if t.named == nil {
		t.named = map[string]*session{}
	}
	t.named[s.name] = s
	t.namedByUse.push(s)
}

// Admit decides what is to be done with a command. The decisions of a log, and the
// table they leave, do not depend on how many commands are admitted before the first
// of them is Applied: see Behind.
func (t *Table) Admit(c Command) Verdict {
	if t.mustWait(c) {
		return Verdict{Decision: Behind}
	}
	t.expire(c.Time)
	s := t.find(c)
	if s == nil {
		if decision := t.mayBegin(c); decision != Apply {
			return Verdict{Decision: decision}
		}
		s = t.begin(c)
	}
	s.lastUsed = max(s.lastUsed, c.Time)
	if s.next != nil { // not the last to be used
		s.list.remove(s)
		s.list.push(s)
	}
	t.forgetBelow(s, min(c.Acknowledged, c.Sequence))
	if c.Sequence < s.floor {
		return Verdict{Decision: Expired, Session: s.id}
	}
	at, found := s.at(c.Sequence)
	if found {
		a := s.answers[at]
		if a.tooLarge && !t.limits.Lossy {
			return Verdict{Decision: Expired, Session: s.id}
		}
		return Verdict{Repeat, s.id, a.index, a.reply, a.tooLarge}
	}
	t.insert(s, at, c)
	return Verdict{Decision: Apply, Session: s.id}
}

// mustWait: the command may be a repeat of one that has no reply yet; or so much is
// under way that the bound on bytes could be reached. Which answers go then depends
// on which are kept, so there one command is decided after the other. Below the bound
// no answer that is under way makes another one go, and the order in which answers
// are kept and forgotten makes no difference.
func (t *Table) mustWait(c Command) bool {
	if len(t.pending) == 0 {
		return false
	}
	most := answerOverhead
	if !t.limits.Lossy {
		most += t.limits.ReplyBytes
	}
	if t.bytes+(len(t.pending)-t.settled+1)*most > t.limits.Bytes {
		return true
	}
	s := t.find(c)
	if s == nil {
		return false
	}
	at, found := s.at(c.Sequence)
	return found && s.answers[at].state == statePending
}

func (t *Table) find(c Command) *session {
	if c.Name != nil {
		return t.named[string(c.Name)]
	}
	if t.last == nil || t.last.id != c.Session {
		t.last = t.opened[c.Session]
	}
	return t.last
}

// mayBegin says whether a command without a session begins one. A name whose first
// sequence is above 1 is one that was forgotten.
func (t *Table) mayBegin(c Command) Decision {
	switch {
	case c.Name == nil || c.Sequence != 1:
		return Expired
	case len(t.named) >= t.limits.Named:
		return Full
	}
	return Apply
}

func (t *Table) begin(c Command) *session {
	s := &session{id: c.Index, name: string(c.Name), floor: 1}
	t.addNamed(s)
	return s
}

// at is where a sequence stands among the answers, or would.
func (s *session) at(sequence uint64) (int, bool) {
	n := len(s.answers)
	if n == 0 || s.answers[n-1].sequence < sequence {
		return n, false // the usual case
	}
	at := sort.Search(n, func(i int) bool { return s.answers[i].sequence >= sequence })
	return at, s.answers[at].sequence == sequence
}

func (t *Table) insert(s *session, at int, c Command) {
	a := t.fresh()
	*a = answer{sequence: c.Sequence, index: c.Index, session: s}
	t.pending = append(t.pending, a)
	s.makeRoom()
	s.answers = slices.Insert(s.answers, at, a)
	window := t.limits.Window
	if s.name != "" {
		window = t.limits.NamedWindow
	}
	if over := len(s.answers) - window; over > 0 {
		t.forgetBelow(s, s.answers[over-1].sequence+1)
	}
}

// makeRoom for one more answer: where as many have gone from the front as there are, in
// their place.
func (s *session) makeRoom() {
	n := len(s.answers)
	switch gone := cap(s.room) - cap(s.answers); {
	case n < cap(s.answers):
	case n == 0 || gone < n:
		s.answers = slices.Grow(s.answers, 1)
		s.room = s.answers
	default:
		s.room = s.room[:n]
		copy(s.room, s.answers)
		clear(s.answers)
		s.answers = s.room
	}
}

// Applied keeps the reply of the first command that was admitted and has none. The
// reply must not be changed afterwards.
func (t *Table) Applied(reply []byte) { t.settle(reply, len(reply) <= t.limits.ReplyBytes) }

// Lost says that the first command that was admitted and has no reply was applied in an
// earlier life, and what the machine replied is not known. It is for a Lossy table.
func (t *Table) Lost() {
	if !t.limits.Lossy {
		panic("session: a reply is lost, and the table is not lossy")
	}
	t.settle(nil, false)
}

func (t *Table) settle(reply []byte, known bool) {
	a := t.pending[t.settled]
	t.pending[t.settled] = nil
	if t.settled++; t.settled == len(t.pending) {
		t.pending, t.settled = t.pending[:0], 0
	}
	if a.state == stateForgotten {
		t.reuse(a)
		return // its session has gone on meanwhile
	}
	a.state = stateKept
	if a.tooLarge = !known; known {
		a.reply = reply
	}
	t.keep(a)
	for t.bytes > t.limits.Bytes {
		t.forgetBelow(t.oldest.session, t.oldest.sequence+1)
	}
}

// size is what an answer counts for in Bytes.
func (t *Table) size(a *answer) int {
	if t.limits.Lossy {
		return answerOverhead
	}
	return answerOverhead + len(a.reply)
}

// loseReplies drops the oldest replies of a Lossy table that has too many bytes of them.
func (t *Table) loseReplies() {
	for t.limits.Lossy && t.replies > t.limits.Bytes {
		a := t.replied
		t.replies -= len(a.reply)
		a.reply, a.tooLarge = nil, true
		t.replied = a.next
	}
}

func (t *Table) keep(a *answer) {
	t.bytes += t.size(a)
	t.replies += len(a.reply)
	if a.prev = t.young; a.prev == nil {
		t.oldest = a
	} else {
		a.prev.next = a
	}
	t.young = a
	if t.replied == nil {
		t.replied = a
	}
	t.loseReplies()
}

// forgetBelow forgets a session's answers below a sequence. Commands below it are
// refused from now on, applied or not.
func (t *Table) forgetBelow(s *session, sequence uint64) {
	if sequence <= s.floor {
		return
	}
	s.floor = sequence
	n := 0
	for n < len(s.answers) && s.answers[n].sequence < sequence {
		t.forget(s.answers[n])
		s.answers[n] = nil
		n++
	}
	if s.answers = s.answers[n:]; len(s.answers) == 0 {
		s.answers, s.room = nil, nil
	}
}

func (t *Table) forget(a *answer) {
	if a.state == stateKept {
		t.bytes -= t.size(a)
		t.replies -= len(a.reply)
		if t.replied == a {
			t.replied = a.next
		}
		if a.prev == nil {
			t.oldest = a.next
		} else {
			a.prev.next = a.next
		}
		if a.next == nil {
			t.young = a.prev
		} else {
			a.next.prev = a.prev
		}
		a.prev, a.next = nil, nil
		t.reuse(a)
		return
	}
	a.state = stateForgotten // settle still comes across it
}

// sparesMax is how many answers are kept to be used again: what a busy client has
// forgotten between two of its commands, as a rule.
const sparesMax = 1 << 10

// reuse takes an answer that nothing here leads to any more. No View that is taken later
// can have it; one that is not released may.
func (t *Table) reuse(a *answer) {
	if t.spares < sparesMax && t.views.Load() == 0 {
		*a = answer{next: t.spare}
		t.spare = a
		t.spares++
	}
}

func (t *Table) fresh() *answer {
	a := t.spare
	if a == nil {
		return new(answer)
	}
	t.spare = a.next
	t.spares--
	return a
}

// expire removes the sessions that were unused for too long, by log time.
func (t *Table) expire(now int64) {
	for _, l := range []*list{&t.openedByUse, &t.namedByUse} {
		for l.first != nil && now-l.first.lastUsed > int64(t.limits.Idle) {
			t.remove(l.first)
		}
	}
}

func (t *Table) remove(s *session) {
	for _, a := range s.answers {
		t.forget(a)
	}
	s.answers, s.room = nil, nil
	s.list.remove(s)
	if s.name == "" {
		delete(t.opened, s.id)
		t.last = nil
	} else {
		delete(t.named, s.name)
	}
}

// list is sessions in the order of their last use.
type list struct{ first, last *session }

func (l *list) push(s *session) {
	s.list, s.prev, s.next = l, l.last, nil
	if l.last == nil {
		l.first = s
	} else {
		l.last.next = s
	}
	l.last = s
}

func (l *list) remove(s *session) {
	if s.prev == nil {
		l.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		l.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
}

func (t *Table) mustBeSettled(what string) {
	if len(t.pending) > 0 {
		panic(fmt.Sprintf("session: %s while %d commands have no reply yet", what, len(t.pending)-t.settled))
	}
}
