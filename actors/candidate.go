package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// candidate stands for election in a new term (paper §5.2). Its own vote is
// counted, and asked for elsewhere, only when term and vote are durable.
type candidate struct {
	*raft
	ballot *core.Ballot
}

func (r *raft) becomeCandidate(ctx actor.Context, transfer bool) {
	was := r.role
	was.exit(ctx)
	c := &candidate{raft: r, ballot: core.NewBallot(r.config().Quorum())}
	r.role = c
	r.setHardState(ctx, r.term+1, r.opts.Node)
	r.setLeader(ctx, "")
	r.armElection(ctx)
	r.logger.Info("role changed", "role", "candidate", "was", was.name(), "term", r.term, "index", r.tail.last().Index)
	last := r.tail.last()
	r.eachVoter(func(_ core.NodeID, pid *actor.PID) {
		r.ask(ctx, pid, &messages.RequestVote{
			Group: r.opts.Group, Term: uint64(r.term), Candidate: string(r.opts.Node),
			LastIndex: uint64(last.Index), LastTerm: uint64(last.Term), Transfer: transfer, Resets: r.config().Resets,
		})
	})
}

func (c *candidate) name() string          { return "candidate" }
func (c *candidate) endTurn(actor.Context) {}
func (c *candidate) exit(actor.Context)    {}

func (c *candidate) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *messages.VoteGranted:
		c.record(ctx, core.NodeID(m.From), true)
	case *messages.VoteRejected:
		c.record(ctx, core.NodeID(m.From), false)
	case *messages.ElectionTimeout:
		if m.Generation == c.election.generation {
			c.becomePreCandidate(ctx) // ask first: the others may have a leader by now
		}
	case *messages.Propose, *messages.Query, *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers:
		c.onClient(ctx, m, sender)
	case *ReturnedOperation:
		c.onClient(ctx, m.Message, m.Asker)
	case *messages.TransferLeadership:
		c.refuseTransfer(ctx, sender)
	default:
		c.ignore(message, candidateIgnores)
	}
}

// candidateIgnores: AppendEntries and Heartbeat of this term or a later one have
// made it a follower before they get here; it stands already, so TimeoutNow asks
// nothing new.
var candidateIgnores = ignored(
	&messages.AppendEntries{}, &messages.Heartbeat{}, &messages.OfferSnapshot{}, &messages.TimeoutNow{}, &messages.MemoryRestored{},
	&messages.PreVoteGranted{}, &messages.PreVoteRejected{},
	&messages.StateDiverged{}, &messages.HeartbeatAcked{}, &messages.HeartbeatTimeout{}, &messages.ConfirmReadIndex{},
	&messages.PeerAdvanced{}, &messages.ProgressReported{}, &FetchEntries{}, &GatewayCaughtUp{}, &GroupLoaded{}, &SnapshotFound{}, &MemberAdmitted{}, &MemberRefused{},
)

// onOwnVoteDurable counts the candidate's vote for itself.
func (c *candidate) onOwnVoteDurable(ctx actor.Context) {
	c.record(ctx, c.opts.Node, true)
}

func (c *candidate) record(ctx actor.Context, voter core.NodeID, granted bool) {
	c.ballot.Record(voter, granted)
	switch {
	case c.ballot.Won():
		c.becomeLeader(ctx)
	case c.ballot.Lost():
		c.becomeFollower(ctx, c.term, "")
	}
}
