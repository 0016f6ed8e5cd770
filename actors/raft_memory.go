package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// memberMemory is what the member knows of its own runs and of those of others. It stands
// on disk as a messages.MemberNote, and nothing that rests on it is said before.
type memberMemory struct {
	life       core.Life
	loaded     bool
	begun      bool // took part in this life
	founding   bool // nothing is stored: this may be a new group, or all was lost
	recovering bool
	cause      string
	known      memberMap[core.Life]

	answers   memberMap[core.Judgement] // to life
	greet     timer
	resetFrom core.Index // what is stored from here on is damaged; goes with the next block
}

// knownMax bounds the lives remembered: members of today and of the past.
const knownMax = 1024

func lifeOf(m *messages.Life) core.Life {
	return core.Life{Number: m.GetNumber(), Nonce: m.GetNonce()}
}

func wireLife(l core.Life) *messages.Life {
	return &messages.Life{Number: l.Number, Nonce: l.Nonce}
}

// loadMemory takes over the note and begins a life: the next one, or the one that
// never took part. took says whether the stored one did.
func (r *raft) loadMemory(note []byte) (took bool, err error) {
	var n messages.MemberNote
	if err := proto.Unmarshal(note, &n); err != nil {
		return false, fmt.Errorf("note beside the log: %w", err)
	}
	m := &r.memory
	*m = memberMemory{
		loaded: true, life: lifeOf(n.Life), recovering: n.Recovering, cause: n.Cause,
	}
	for _, k := range n.Known {
		m.known.set(core.NodeID(k.Member), lifeOf(k.Life))
	}
	if n.Begun || m.life == (core.Life{}) {
		m.life = r.newLife(m.life.Number)
	}
	return n.Begun, nil
}

// newLife is a life after all of that number.
func (r *raft) newLife(after uint64) core.Life {
	return core.Life{Number: after + 1, Nonce: r.rand.Uint64() | 1} // 0 means none on the wire
}

// lifeOfRecovery is the life of one that counts for nothing yet. Others may know of a
// later life than it, or whoever has told it of its loss, and would hold the next one for
// lost, too. The time of day is above all that were, whatever is forgotten of them.
func (r *raft) lifeOfRecovery(after uint64) core.Life {
	return r.newLife(max(after, uint64(max(r.rt.Clock.Wall(), 0))))
}

// writeMemory has the note made durable. Until it is, nothing is said.
func (r *raft) writeMemory(ctx actor.Context) {
	n := &messages.MemberNote{
		Life: wireLife(r.memory.life), Begun: r.memory.begun,
		Recovering: r.memory.recovering, Cause: r.memory.cause, Known: r.knownLives(),
	}
	note, err := proto.MarshalOptions{Deterministic: true}.Marshal(n)
	if err != nil {
		panic(fmt.Sprintf("note beside the log: %v", err)) // ids are valid UTF-8: they came by the wire
	}
	r.persistState(ctx, note)
}

func (r *raft) knownLives() (known []*messages.KnownLife) {
	for _, k := range r.memory.known {
		known = append(known, &messages.KnownLife{Member: string(k.id), Life: wireLife(k.value)})
	}
	return known
}

// learnLife notes a life of another member, and says whether it is news.
func (r *raft) learnLife(id core.NodeID, life core.Life) bool {
	known, met := r.memory.known.find(id)
	if met && (known == life || !life.Follows(known)) || !met && len(r.memory.known) >= knownMax {
		return false
	}
	r.memory.known.set(id, life)
	return true
}

// greetPeers greets who has not answered, and again later.
func (r *raft) greetPeers(ctx actor.Context) {
	r.memory.greet.cancel()
	r.eachAcquaintance(func(id core.NodeID, pid *actor.PID) {
		if r.memory.answers.get(id) != core.Whole {
			r.sendGreet(ctx, pid)
		}
	})
	if r.met() {
		return
	}
	wait := r.opts.ElectionTimeout
	if _, waits := r.role.(*starting); !waits {
		wait *= greetPatience
	}
	r.memory.greet.set(ctx, r.rt.Clock, wait, func(generation uint64) any {
		return &messages.GreetTimeout{Generation: generation}
	})
}

// greetPatience is how many election timeouts a member that takes part waits before it
// greets again who has not answered. One that starts greets by itself.
const greetPatience = 5

// greetNewPeers: those that have come into the configuration get to know this life.
func (r *raft) greetNewPeers(ctx actor.Context) {
	m := &r.memory
	if _, stopped := r.role.(standstill); stopped || !m.loaded || r.met() {
		return
	}
	r.greetPeers(ctx)
}

// eachAcquaintance visits the peers. One that starts asks those of a later
// configuration than its own too, once it has heard of one: those of its own may all
// be gone for good.
// Those of its own may have moved, too.
func (r *raft) eachAcquaintance(f func(id core.NodeID, pid *actor.PID)) {
	s, waits := r.role.(*starting)
	r.eachPeer(func(id core.NodeID, pid *actor.PID) {
		if waits {
			if m, known := s.later.Find(id); known && m.Address != pid.Address {
				pid = peerAt(m.Address, s.self)
			}
		}
		f(id, pid)
	})
	if !waits {
		return
	}
	for _, m := range s.later.Everyone() {
		if _, known := r.config().Find(m.ID); !known && m.ID != r.opts.Node {
			f(m.ID, peerAt(m.Address, s.self))
		}
	}
}

// met says whether every peer knows this life and of nothing that is missing.
func (r *raft) met() bool {
	met := true
	r.eachAcquaintance(func(id core.NodeID, _ *actor.PID) { met = met && r.memory.answers.get(id) == core.Whole })
	return met
}

func (r *raft) sendGreet(ctx actor.Context, pid *actor.PID) {
	r.ask(ctx, pid, &messages.Greet{
		Group: r.opts.Group, From: string(r.opts.Node), Life: wireLife(r.memory.life),
		LastIndex: uint64(r.tail.durable), Founding: r.memory.founding, Recovering: r.memory.recovering,
		ConfigurationIndex: uint64(r.configIndex()),
	})
}

// outlivesTerm: what is said of lives is as true in the next term.
func outlivesTerm(message any) bool {
	switch message.(type) {
	case *messages.Greet, *messages.Greeted, *messages.LostMemoryShown:
		return true
	}
	return false
}

func (r *raft) onGreetTimeout(ctx actor.Context, m *messages.GreetTimeout) {
	if _, stopped := r.role.(*failed); !stopped && m.Generation == r.memory.greet.generation {
		r.greetPeers(ctx)
		if s, waits := r.role.(*starting); waits {
			s.sayWhoIsAwaited()
			s.expireQueries(ctx)   // it may wait for ever: for those who have moved
			s.mayBegin(ctx, false) // one that is its own quorum has asked the others long enough
		}
	}
}

// onGreet says to a member that has started what is known of it. It is answered in
// every role, also by one that waits to begin itself: else none of them ever would.
func (r *raft) onGreet(ctx actor.Context, m *messages.Greet, sender *actor.PID) {
	if _, stopped := r.role.(*failed); stopped || !r.memory.loaded {
		return
	}
	id, g := core.NodeID(m.From), core.Greeting{
		Life: lifeOf(m.Life), Last: core.Index(m.LastIndex), Founding: m.Founding, Recovering: m.Recovering,
	}
	a := r.acquaintance(id)
	switch verdict := a.Judge(g); verdict {
	case core.Whole, core.Unsure:
		if r.learnLife(id, g.Life) {
			r.writeMemory(ctx)
		}
		r.answer(ctx, sender, r.greeted(m, verdict == core.Unsure))
		if r.memory.answers.get(id) != core.Whole && r.memory.greet.stop != nil {
			r.sendGreet(ctx, sender) // it is up now
		}
	default:
		shown := &messages.LostMemoryShown{
			Group: m.Group, From: string(r.opts.Node), Life: m.Life, Number: a.Known.Number, Reason: lossReason(verdict, a, g),
		}
		if verdict == core.LostLog {
			shown.Index = uint64(a.Match)
		}
		r.logger.Warn("a member has lost memory", "member", id, "reason", shown.Reason)
		r.answer(ctx, sender, shown)
	}
}

func (r *raft) greeted(m *messages.Greet, forgetful bool) *messages.Greeted {
	g := &messages.Greeted{
		Group: m.Group, From: string(r.opts.Node), Life: m.Life, Own: wireLife(r.memory.life),
		Leads: r.leads(), Term: uint64(r.term), Forgetful: forgetful,
	}
	if own := uint64(r.configIndex()); own > m.ConfigurationIndex {
		g.Configuration, g.ConfigurationIndex = describeConfiguration(r.config()), own
	}
	return g
}

func (r *raft) acquaintance(id core.NodeID) core.Acquaintance {
	a := core.Acquaintance{
		History:   !r.memory.founding || r.tail.last().Index > 0,
		Forgetful: r.memory.recovering,
	}
	a.Known, a.Met = r.memory.known.find(id)
	if l, ok := r.role.(*leader); ok {
		a.Match = l.tally.Match(id)
	}
	return a
}

func (r *raft) leads() bool {
	_, leads := r.role.(*leader)
	return leads
}

// greetStranger: a leader that is not in this member's configuration may know of a
// life of it that nobody it knows does.
func (f *follower) greetStranger(ctx actor.Context, id core.NodeID, sender *actor.PID) {
	if _, known := f.config().Find(id); !known && f.memory.answers.get(id) != core.Whole {
		f.sendGreet(ctx, sender)
	}
}

func lossReason(verdict core.Judgement, a core.Acquaintance, g core.Greeting) string {
	switch verdict {
	case core.LostAll:
		return "it starts with nothing stored, and the group has begun"
	case core.LostLog:
		return fmt.Sprintf("its log ends at %d, it has acknowledged up to %d", g.Last, a.Match)
	default:
		return fmt.Sprintf("it starts as life %v, and life %v of it is known", g.Life, a.Known)
	}
}

// onGreeted: this peer knows of nothing that is missing.
func (r *raft) onGreeted(ctx actor.Context, m *messages.Greeted) {
	if _, stopped := r.role.(*failed); stopped || !r.memory.loaded || lifeOf(m.Life) != r.memory.life {
		return
	}
	id := core.NodeID(m.From)
	r.memory.answers.set(id, core.Whole)
	if m.Forgetful {
		r.memory.answers.set(id, core.Unsure)
	}
	if r.learnLife(id, lifeOf(m.Own)) {
		r.writeMemory(ctx)
	}
	if r.met() {
		r.memory.greet.cancel()
	}
	if s, ok := r.role.(*starting); ok {
		s.onPeerMet(ctx, m)
	}
}

// onLostMemoryShown: a peer knows better what this member has had.
func (r *raft) onLostMemoryShown(ctx actor.Context, m *messages.LostMemoryShown) {
	if _, stopped := r.role.(*failed); stopped || !r.memory.loaded || lifeOf(m.Life) != r.memory.life {
		return
	}
	if m.Index != 0 && core.Index(m.Index) <= r.tail.durable {
		return // what it has acknowledged since it began
	}
	r.forget(ctx, m.Number, m.From+" says: "+m.Reason)
}

// forget has the member recover: from now on it neither votes nor counts, whatever it
// has stored, until its leader says that it holds again all it may have acknowledged.
func (r *raft) forget(ctx actor.Context, after uint64, cause string) {
	if _, waits := r.role.(*starting); !waits {
		r.becomeFollower(ctx, r.term, "")
	}
	m := &r.memory
	m.life = r.lifeOfRecovery(max(after, m.life.Number))
	m.begun, m.founding, m.recovering, m.cause = true, false, true, cause
	m.answers = nil
	r.held = nil // promises of a memory that is not whole
	r.logger.Error("memory lost: this member does not vote and does not count until it holds again what a leader has",
		"cause", cause, "life", m.life, "last", r.tail.last().Index)
	r.writeMemory(ctx)
	if s, waits := r.role.(*starting); waits {
		s.becomeFollower(ctx, s.term, "")
	}
	r.greetPeers(ctx)
}

// recovers is what the member's answers say of it: the nonce of its life while it does
// not count, else 0.
func (r *raft) recovers() uint64 {
	if r.memory.recovering {
		return r.memory.life.Nonce
	}
	return 0
}

// onMemoryRestored: this member holds again all that it may ever have acknowledged,
// and no vote it may have given counts any more but one for this leader.
func (f *follower) onMemoryRestored(ctx actor.Context, m *messages.MemoryRestored) {
	if m.Nonce != f.recovers() || m.Nonce == 0 || !core.Restores(&f.tail.shape, f.term, f.tail.durable, core.Index(m.Barrier)) {
		return
	}
	f.logger.Info("memory restored, taking part again", "leader", m.From, "term", f.term, "index", m.Barrier, "cause", f.memory.cause)
	f.memory.recovering, f.memory.cause = false, ""
	for _, k := range m.Known {
		if id := core.NodeID(k.Member); id != f.opts.Node {
			f.learnLife(id, lifeOf(k.Life))
		}
	}
	if f.vote == "" {
		f.vote = core.NodeID(m.From)
	}
	f.writeMemory(ctx)
}

func (r *raft) describeRecovery() string {
	m := &r.memory
	switch {
	case !m.recovering:
		return ""
	case m.resetFrom != 0:
		return fmt.Sprintf("%s; entries from %d on are fetched again, no votes until then", m.cause, m.resetFrom)
	}
	return fmt.Sprintf("%s; fetching the log again, no votes until then", m.cause)
}
