package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/messages"
)

// preCandidate asks whether it would be elected before it raises its term, so that
// a member which was cut off does not depose a leader that works (thesis §9.6).
type preCandidate struct {
	*raft
	ballot *core.Ballot
}

func (r *raft) becomePreCandidate(ctx actor.Context) {
	was := r.role
	was.exit(ctx)
	r.campaign++
	p := &preCandidate{raft: r, ballot: core.NewBallot(r.config().Quorum())}
	r.role = p
	r.setLeader(ctx, "")
	r.refuseReads(ctx, messages.Reason_NO_LEADER)
	r.handedTo(ctx, "")
	r.expireQueries(ctx)
	r.armElection(ctx)
	if _, again := was.(*preCandidate); !again {
		r.logger.Info("role changed", "role", "pre-candidate", "was", was.name(), "term", r.term, "index", r.tail.last().Index)
	}
	last := r.tail.last()
	r.eachVoter(func(_ core.NodeID, pid *actor.PID) {
		r.ask(ctx, pid, &messages.RequestPreVote{
			Group: r.opts.Group, Term: uint64(r.term) + 1, Candidate: string(r.opts.Node),
			LastIndex: uint64(last.Index), LastTerm: uint64(last.Term), Campaign: r.campaign, Resets: r.config().Resets,
		})
	})
	p.record(ctx, r.opts.Node, true)
}

func (p *preCandidate) name() string          { return "pre-candidate" }
func (p *preCandidate) endTurn(actor.Context) {}
func (p *preCandidate) exit(actor.Context)    {}

func (p *preCandidate) receive(ctx actor.Context, message any, sender *actor.PID) {
	switch m := message.(type) {
	case *messages.PreVoteGranted:
		if m.Campaign == p.campaign && core.Term(m.Term) == p.term+1 {
			p.record(ctx, core.NodeID(m.From), true)
		}
	case *messages.PreVoteRejected:
		if m.Campaign == p.campaign {
			p.record(ctx, core.NodeID(m.From), false)
		}
	case *messages.ElectionTimeout:
		if m.Generation == p.election.generation {
			p.becomePreCandidate(ctx)
		}
	case *messages.Propose, *messages.Query, *messages.ChangeMembers, *messages.AbortChange, *messages.ListMembers:
		p.onClient(ctx, m, sender)
	case *ReturnedOperation:
		p.onClient(ctx, m.Message, m.Asker)
	case *messages.TransferLeadership:
		p.refuseTransfer(ctx, sender)
	default:
		p.ignore(message, preCandidateIgnores)
	}
}

// preCandidateIgnores: AppendEntries and Heartbeat of this term or a later one have
// made it a follower before they get here; TimeoutNow comes from a leader that this
// member has given up.
var preCandidateIgnores = ignored(
	&messages.AppendEntries{}, &messages.Heartbeat{}, &messages.OfferSnapshot{}, &messages.TimeoutNow{}, &messages.MemoryRestored{},
	&messages.VoteGranted{}, &messages.VoteRejected{},
	&messages.StateDiverged{}, &messages.HeartbeatAcked{}, &messages.HeartbeatTimeout{}, &messages.ConfirmReadIndex{},
	&messages.PeerAdvanced{}, &messages.ProgressReported{}, &FetchEntries{}, &GatewayCaughtUp{}, &GroupLoaded{}, &SnapshotFound{}, &MemberAdmitted{}, &MemberRefused{},
)

func (p *preCandidate) record(ctx actor.Context, voter core.NodeID, granted bool) {
	p.ballot.Record(voter, granted)
	switch {
	case p.ballot.Won():
		p.becomeCandidate(ctx, false)
	case p.ballot.Lost():
		p.becomeFollower(ctx, p.term, "")
	}
}
