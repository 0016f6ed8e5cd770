package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// What is done where a majority is lost for ever: see core/membership_reset.go.

// The term of a new history is this much above the one before, and a number more that is
// drawn from so many. What the old members say is of an earlier term then, and two
// members that are told to go on alone do so in different ones.
const (
	resetTerms     = 1 << 20
	resetTermsMore = 1 << 32
)

func (r *raft) onResetPeers(ctx actor.Context, m *messages.ResetPeers, sender *actor.PID) {
	if reason := r.keepsPeers(m); reason != "" {
		r.keepPeers(ctx, sender, reason)
		return
	}
	c, err := r.config().Reset(r.opts.Node, r.rand.Uint64()|1)
	if err != nil {
		r.keepPeers(ctx, sender, err.Error())
		return
	}
	if s, waits := r.role.(*starting); waits { // not before: one that is refused goes on waiting
		s.beginUnmet(ctx)
	}
	report := &messages.PeersReset{
		Group: r.opts.Group, CommitIndex: uint64(r.commit), LastIndex: uint64(r.tail.last().Index),
		Removed: stringsOf(c.Removed),
	}
	if err := r.goOnAlone(ctx, &c); err != nil {
		r.fail(ctx, fmt.Sprintf("cannot go on alone: %v", err))
		return
	}
	report.Term, report.Index = uint64(r.term), uint64(r.configIndex())
	r.answer(ctx, sender, report) // when the vote in this term is durable, and the entry before it
}

func (r *raft) keepPeers(ctx actor.Context, to *actor.PID, reason string) {
	if to != nil {
		ctx.Send(to, &messages.PeersKept{Group: r.opts.Group, Reason: reason})
	}
}

// keepsPeers says why the member does not go on alone, empty where it may.
func (r *raft) keepsPeers(m *messages.ResetPeers) string {
	s, waits := r.role.(*starting)
	_, stopped := r.role.(standstill)
	_, leads := r.role.(*leader)
	switch {
	case stopped && !(waits && s.waitsForPeers()):
		return "the member is " + r.role.name()
	case leads:
		return "it leads: a majority answers, or has been asked to just now, as by one that slept; change the members instead, or ask again in an election timeout"
	case r.opts.Witness:
		return "it is a witness and has no state to go on from: ask a voter with state, or restore a backup"
	case r.hearsLeader():
		return "a leader was heard within the election timeout, or may have been before a restart: the majority is not lost, change the members instead"
	case len(r.configs) == 0:
		return "it knows of no members yet, and holds nothing to go on from"
	case r.memory.recovering:
		return "it has lost memory itself (" + r.memory.cause + "), and what it holds is not all that it had: restore a backup"
	case r.diskFull:
		return "its disk is full: make room first"
	case r.isRemoved():
		return "it was removed from the group: others go on with what it does not have"
	case !m.AcceptLoss:
		return r.whatMayBeLost()
	}
	return ""
}

func (r *raft) whatMayBeLost() string {
	last, doubtful := r.tail.last(), ""
	if last.Index > r.commit {
		doubtful = fmt.Sprintf(", those above, up to %d, will be applied whether or not they are", last.Index)
	}
	return fmt.Sprintf("acceptance of loss was not given. This member's log ends at entry %d of term %d. Entries up to %d are known to be committed and stay%s. "+
		"Whatever else the others have committed will be lost, and they must never run again under their ids and with their data", last.Index, last.Term, r.commit, doubtful)
}

// goOnAlone appends the configuration of this member alone, in a term that nobody else
// has, and stands. The LogWriter keeps the order: a vote in the term after is not on disk
// before the entry is. A crash between the two writes before leaves a high term, no more.
func (r *raft) goOnAlone(ctx actor.Context, c *core.Configuration) error {
	data, err := encodeConfiguration(c)
	if err != nil {
		return err
	}
	last := r.tail.last()
	r.logger.Warn("going on alone, by order: the other members are removed and what only they have is lost",
		"term", r.term, "last", last, "commit", r.commit, "removed", c.Removed)
	r.setHardState(ctx, r.term+resetTerms+core.Term(r.rand.Int64N(resetTermsMore)), r.opts.Node)
	w := messages.NewBlockWriter(messages.BlockHeader{
		Group: r.opts.Group, Incarnation: r.incarnation, Term: uint64(r.term),
		FirstIndex: uint64(last.Index) + 1, PrevTerm: uint64(last.Term), Time: r.tail.lastTime,
	}, messages.EntryBytes(len(data)))
	w.Add(messages.EntryView{Kind: messages.EntryKind_CONFIGURATION, Data: data})
	b := w.Finish()
	if err := r.appendBlock(ctx, CommittedBlock{Block: b}); err != nil {
		return err
	}
	r.persist(ctx, b, 0)
	r.becomePreCandidate(ctx)
	return nil
}

// ofOtherHistory drops what is said by a leader or candidate whose history does not go on
// from this member's, whatever its term: it has not got the entry with which that began.
// It is told, once that entry is certain.
func (r *raft) ofOtherHistory(ctx actor.Context, message any, sender *actor.PID) bool {
	var resets []uint64
	var from string
	tell := false
	switch m := message.(type) {
	case *messages.AppendEntries:
		resets, from = m.Resets, m.Leader
	case *messages.Heartbeat:
		resets, from, tell = m.Resets, m.Leader, true
	case *messages.RequestPreVote:
		resets, from, tell = m.Resets, m.Candidate, true
	case *messages.RequestVote:
		resets, from, tell = m.Resets, m.Candidate, true
	case *messages.OfferSnapshot:
		resets, from = m.Resets, m.Leader
	case *messages.TimeoutNow:
		resets, from = m.Resets, m.From
	case *messages.StateDiverged:
		resets, from = m.Resets, m.From
	case *messages.MemoryRestored:
		resets, from = m.Resets, m.From
	case *messages.MemberRemoved: // not told: two histories would tell each other for ever
		resets = m.Resets
	default:
		return false
	}
	if _, stopped := r.role.(standstill); stopped || core.Continues(resets, r.config().Resets) {
		return false
	}
	if id := core.NodeID(from); id != "" && id != r.stranger {
		r.stranger = id
		r.logger.Warn("refused: it is of a history of the group that was given up here", "from", id, "term", r.term)
	}
	if tell && sender != nil && r.commit >= r.configIndex() {
		r.sendRemoved(ctx, core.NodeID(from), sender)
	}
	return true
}

// leadsBack says whether the newest snapshot would replace a log, or a snapshot before it,
// of a history that it does not go on from: it was received and not taken over, and the
// member has gone on alone since.
func (s *starting) leadsBack(st *logstore.GroupState) bool {
	if s.snapshot == nil {
		return false
	}
	own := s.older
	if n := len(st.Configurations); n > 0 {
		c, err := decodeConfiguration(st.Configurations[n-1].Data)
		if err == nil && len(c.Resets) > len(own) { // else it is found out later
			own = c.Resets
		}
	}
	stored := newTail(st)
	reset, err := core.DecideStart(&stored.shape, positionOf(s.snapshot))
	return err == nil && reset && !core.Continues(s.snapshot.GetConfiguration().GetResets(), own)
}
