package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/protoraft/protoraft/messages"
)

// flying is a message on the wire.
type flying struct {
	from, to *node
	packet   *packet
	text     string
}

// sent puts a message on the wire.
func (s *Script) sent(from, to *node, message any, p *packet) {
	if greeting(message) {
		if to.up {
			s.w.net.deliver(to, p)
		}
		return
	}
	s.flight = append(s.flight, &flying{from, to, p, s.message(message)})
}

// greeting says whether a message belongs to a start, which is not what scripts are
// about: it arrives at once, unless the link is cut.
func greeting(message any) bool {
	switch message.(type) {
	case *messages.Greet, *messages.Greeted, *messages.LostMemoryShown:
		return true
	}
	return false
}

// Some selects messages on the wire. The zero Some is all of them.
type Some struct {
	From, To string // node ids, empty for any
	Only     string // what the message begins with
	N        int    // at most so many, 0 for all, and those sent in answer to them
}

func (o Some) has(f *flying) bool {
	return (o.From == "" || o.From == f.from.id) && (o.To == "" || o.To == f.to.id) && strings.HasPrefix(f.text, o.Only)
}

// deliverMax bounds a delivery: members that answer each other for ever never end.
const deliverMax = 10_000

// Deliver delivers messages in the order in which they were sent. Those to a node
// that is down are lost.
func (s *Script) Deliver(some Some) error {
	for n := 0; some.N == 0 || n < some.N; n++ {
		i := slices.IndexFunc(s.flight, some.has)
		if i < 0 || s.w.failure != nil {
			return nil
		}
		if n >= deliverMax {
			return fmt.Errorf("%d messages and no end", n)
		}
		s.deliverOne(i)
	}
	return nil
}

func (s *Script) deliverOne(i int) {
	f := s.flight[i]
	s.flight = slices.Delete(s.flight, i, i+1)
	if !f.to.up || s.w.mover != nil && f.packet.toAddr != f.to.address {
		return
	}
	if !s.quiet {
		s.tell("%s→%s %s", f.from.id, f.to.id, f.text)
	}
	s.w.net.deliver(f.to, f.packet)
	s.settle()
}

func (s *Script) deliverQuietly() {
	before := s.quiet
	s.quiet = true
	for n := 0; len(s.flight) > 0 && s.w.failure == nil; n++ {
		if n >= deliverMax {
			s.w.violate("time goes on", "%d messages at %v", n, s.w.now)
		}
		s.deliverOne(0)
	}
	s.quiet = before
}

// Quietly does something without telling what the wire carries.
func (s *Script) Quietly(f func() error) error {
	s.quiet = true
	defer func() { s.quiet = false }()
	return f()
}

// Drop loses messages on the wire.
func (s *Script) Drop(some Some) {
	n := 0
	s.flight = slices.DeleteFunc(s.flight, func(f *flying) bool {
		if !some.has(f) || some.N > 0 && n >= some.N {
			return false
		}
		n++
		if !s.quiet {
			s.tell("%s→%s %s  (lost)", f.from.id, f.to.id, f.text)
		}
		return true
	})
}

// Duplicate puts messages on the wire a second time, behind all others.
func (s *Script) Duplicate(some Some) {
	n := 0
	for _, f := range slices.Clone(s.flight) {
		if some.has(f) && (some.N == 0 || n < some.N) {
			n++
			s.flight = append(s.flight, f)
		}
	}
}

// Reverse turns the order of messages on the wire around.
func (s *Script) Reverse(some Some) {
	var at []int
	for i, f := range s.flight {
		if some.has(f) {
			at = append(at, i)
		}
	}
	for i, k := 0, len(at)-1; i < k; i, k = i+1, k-1 {
		s.flight[at[i]], s.flight[at[k]] = s.flight[at[k]], s.flight[at[i]]
	}
}

// Wire tells what is on the wire.
func (s *Script) Wire() {
	for _, f := range s.flight {
		s.tell("%s→%s %s", f.from.id, f.to.id, f.text)
	}
}

// Cut loses everything that is sent from now on from one node to another.
func (s *Script) Cut(from, to string) error {
	a, err := s.node(from)
	if err != nil {
		return err
	}
	b, err := s.node(to)
	if err != nil {
		return err
	}
	s.w.net.links[a.number][b.number].cut = true
	s.flight = slices.DeleteFunc(s.flight, func(f *flying) bool { return f.from == a && f.to == b })
	return nil
}

// Isolate cuts a node off from all others.
func (s *Script) Isolate(id string) error {
	for _, n := range s.w.nodes {
		if n.id != id {
			if err := s.Cut(id, n.id); err != nil {
				return err
			}
			if err := s.Cut(n.id, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// Heal undoes every Cut and Isolate.
func (s *Script) Heal() { s.w.net.heal() }

// message says in words what a message says.
func (s *Script) message(message any) string {
	switch m := message.(type) {
	case *messages.AppendEntries:
		return s.group(m.Group) + fmt.Sprintf("append t%d%s after %d@%d: %s; commit %d", m.Term, session(m.Session), m.PrevIndex, m.PrevTerm, s.block(m.Block, m.Term), m.Commit)
	case *messages.AppendAccepted:
		return s.group(m.Group) + fmt.Sprintf("accepted t%d%s up to %d%s", m.Term, session(m.Session), m.MatchIndex, recovering(m.Recovering))
	case *messages.AppendRejected:
		if m.LastIndex == 0 && m.HintIndex == 0 {
			return s.group(m.Group) + fmt.Sprintf("refused: the term is %d", m.Term)
		}
		return s.group(m.Group) + fmt.Sprintf("refused t%d%s after %d, try %d@%d", m.Term, session(m.Session), m.PrevIndex, m.HintIndex, m.HintTerm)
	case *messages.Heartbeat:
		return s.group(m.Group) + fmt.Sprintf("heartbeat t%d commit %d%s%s", m.Term, m.Commit, round(m.Round), spare(m.Spare)) + when(m.Sleep != 0, ", sleep")
	case *messages.StateDiverged:
		return s.group(m.Group) + fmt.Sprintf("stop t%d: your state after %d is not a majority's", m.Term, m.Checkpoint.GetIndex())
	case *messages.HeartbeatAcked:
		return s.group(m.Group) + fmt.Sprintf("alive t%d%s%s", m.Term, round(m.Round), recovering(m.Recovering)) +
			when(m.DiskFull, ", disk full") + when(m.Asleep != 0, ", asleep")
	case *messages.Beats:
		return s.beats(m)
	case *messages.Stir:
		return s.group(m.Group) + fmt.Sprintf("wake t%d", m.Term)
	case *messages.MemoryRestored:
		return s.group(m.Group) + fmt.Sprintf("restored t%d at %d", m.Term, m.Barrier)
	}
	return s.election(message)
}

// beats are what a node's Pulse says of its groups. It says that it is there when it says
// nothing else.
func (s *Script) beats(m *messages.Beats) string {
	var parts []string
	for _, b := range m.Beats {
		if h := b.GetHeartbeat(); h != nil {
			parts = append(parts, s.message(h))
		} else {
			parts = append(parts, s.message(b.GetAcked()))
		}
	}
	for _, one := range m.Asleep {
		parts = append(parts, fmt.Sprintf("%s sleeps t%d", one.Member, one.Term))
	}
	return cmp.Or(strings.Join(parts, ", "), "here")
}

func when(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

func (s *Script) election(message any) string {
	switch m := message.(type) {
	case *messages.RequestPreVote:
		return s.group(m.Group) + fmt.Sprintf("pre-vote? t%d, last %d@%d", m.Term, m.LastIndex, m.LastTerm)
	case *messages.PreVoteGranted:
		return s.group(m.Group) + fmt.Sprintf("pre-vote yes t%d", m.Term)
	case *messages.PreVoteRejected:
		return s.group(m.Group) + fmt.Sprintf("pre-vote no, the term is %d", m.Term)
	case *messages.RequestVote:
		by := ""
		if m.Transfer {
			by = ", by order"
		}
		return s.group(m.Group) + fmt.Sprintf("vote? t%d, last %d@%d%s", m.Term, m.LastIndex, m.LastTerm, by)
	case *messages.VoteGranted:
		return s.group(m.Group) + fmt.Sprintf("vote yes t%d", m.Term)
	case *messages.VoteRejected:
		return s.group(m.Group) + fmt.Sprintf("vote no t%d", m.Term)
	case *messages.TimeoutNow:
		return s.group(m.Group) + fmt.Sprintf("stand now t%d", m.Term)
	}
	return s.snapshot(message)
}

func (s *Script) snapshot(message any) string {
	switch m := message.(type) {
	case *messages.OfferSnapshot:
		return s.group(m.Group) + fmt.Sprintf("snapshot? t%d, up to %d@%d", m.Term, m.Meta.Index, m.Meta.Term)
	case *messages.SnapshotChunk:
		return s.group(m.Group) + fmt.Sprintf("snapshot up to %d: bytes from %d on", m.Index, m.Offset)
	case *messages.SnapshotReceived:
		return s.group(m.Group) + fmt.Sprintf("snapshot up to %d: go on at byte %d", m.Index, m.Offset)
	case *messages.SnapshotInstalled:
		return s.group(m.Group) + fmt.Sprintf("snapshot installed t%d, up to %d", m.Term, m.Index)
	case *messages.SnapshotDeclined:
		return s.group(m.Group) + fmt.Sprintf("snapshot no t%d: %s", m.Term, m.Reason)
	}
	return s.forwarded(message)
}

func (s *Script) forwarded(message any) string {
	if words := s.memberWords(message); words != "" {
		return words
	}
	var parts []string
	switch m := message.(type) {
	case *messages.ForwardRequests:
		for _, r := range m.Requests {
			if p := r.GetPropose(); p != nil {
				parts = append(parts, s.group(p.Group)+"propose "+s.data[digest(p.Command)])
			} else {
				parts = append(parts, s.group(r.GetQuery().GetGroup())+"read")
			}
		}
		return "forward " + strings.Join(parts, ", ")
	case *messages.Results:
		for i := range m.Items {
			parts = append(parts, s.outcome(&m.Items[i]))
		}
		return "answer " + strings.Join(parts, ", ")
	}
	return fmt.Sprintf("%T", message)
}

// group names the group where there are several.
func (s *Script) group(id uint64) string {
	if s.w.setup.groups == 1 {
		return ""
	}
	return fmt.Sprintf("g%d ", id)
}

func session(n uint64) string {
	if n <= 1 {
		return ""
	}
	return fmt.Sprintf(" (session %d)", n)
}

func recovering(nonce uint64) string {
	if nonce == 0 {
		return ""
	}
	return ", recovering"
}

func round(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" round %d", n)
}

// spare is how far a witness may cut its log.
func spare(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" spare %d", n)
}

// block says what a block's entries say; their term where it is not the sender's.
func (s *Script) block(bytes []byte, term uint64) string {
	if len(bytes) == 0 {
		return "nothing"
	}
	b, err := messages.OpenBlock(bytes)
	if err != nil {
		return err.Error()
	}
	var words []string
	err = b.Entries(func(_ uint64, e messages.EntryView) error {
		words = append(words, s.entry(e.Kind, digest(e.Data)))
		return nil
	})
	if err != nil {
		return err.Error()
	}
	if b.Term != term {
		words = append(words, fmt.Sprintf("(of t%d)", b.Term))
	}
	return strings.Join(words, " ")
}

func (s *Script) entry(kind messages.EntryKind, data uint64) string {
	switch kind {
	case messages.EntryKind_COMMAND:
		return s.data[data]
	case messages.EntryKind_QUERY:
		return "(query)"
	case messages.EntryKind_NOOP:
		return "(begin)"
	case messages.EntryKind_CONFIGURATION:
		if first := s.w.checks.groups[0].members[0].log; len(first) == 0 || first[0].data == data {
			return "(members)"
		}
		return "(members " + s.configuration(data) + ")"
	}
	return fmt.Sprintf("(kind %d)", kind)
}
