package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// MembersChange says how a group's members are to change: all of it happens, or
// nothing. Nodes to be added run already, with Options.Join and the group started.
type MembersChange struct {
	// ExpectedIndex is Membership.Index as the caller has seen it; the change is
	// refused when it is another by now. 0 for any.
	ExpectedIndex uint64

	Add         []Member // as voters, or witnesses, once they have caught up
	AddLearners []Member // they get the log and never vote
	Remove      []string // for good: an id does not come back
	Promote     []string // learners that are to vote
	Demote      []string // voters that are to be learners
}

// Membership is who belongs to a group.
type Membership struct {
	Index    uint64   // of the configuration in the log, for MembersChange.ExpectedIndex
	Leader   string   // as whoever tells of the members knows it, empty for none
	Voters   []Member // with the witness, if there is one
	Learners []Member
	Removed  []string      // ids that may not come back
	Change   *MemberMotion // the change under way, nil for none
}

// MemberMotion is a change of members under way.
type MemberMotion struct {
	Phase     string // catching up, joint
	Voters    []Member
	Learners  []Member
	Newcomers []Newcomer // while they catch up, on the leader
}

// Newcomer is a new voter that catches up.
type Newcomer struct {
	ID         string
	MatchIndex uint64
	Lag        uint64 // entries it lacks
	CaughtUp   bool
	Patience   time.Duration // until the change is rolled back, unless it advances
}

// ChangeMembers changes a group's members by joint consensus. New voters catch up
// first; the change is rolled back when one of them does not advance for
// Options.CatchUpTimeout. One change at a time. Nothing bounds it but ctx: RequestTimeout
// does not.
//
// When it returns nil, the new members alone decide, and their configuration is
// durable on a majority of them. It is tried again while it surely has not begun. Of
// an *Error with ErrMembersKept the Detail says why; with another and the outcome
// Unknown, as when ctx ends, the change may be going on: see Members.
func (c *Client) ChangeMembers(ctx context.Context, group uint64, change MembersChange) (Membership, error) {
	if err := change.check(); err != nil {
		return Membership{}, &Error{Outcome: NotApplied, Reason: ErrMembersKept, Detail: err.Error()}
	}
	for {
		call := c.calls.begin(false)
		c.send(call, group, change.message(group, call.id))
		data, index, err := call.waitIndexContext(ctx)
		switch {
		case err == nil:
			return decodeMembership(data, index)
		case OutcomeOf(err) == Unknown:
			return c.awaitMembers(ctx, group, err, change.done)
		case !mayPass(err), pause(ctx, membersPause) != nil:
			return Membership{}, err
		}
	}
}

// AbortChange undoes the change of members under way, while its new voters still
// catch up. When it returns nil, the members before it are durable on a majority.
// Nothing bounds it but ctx, as with ChangeMembers. Of an *Error with ErrMembersKept the
// Detail says why it cannot be undone; with another and the outcome Unknown the change may
// have been undone, or be going on: see Members.
func (c *Client) AbortChange(ctx context.Context, group uint64) (Membership, error) {
	before, err := c.leaderStatus(ctx, group)
	if err != nil {
		return Membership{}, err
	}
	call := c.calls.begin(false)
	c.send(call, group, &messages.AbortChange{Group: group, Request: call.id})
	data, index, err := call.waitIndexContext(ctx)
	switch {
	case err == nil:
		return decodeMembership(data, index)
	case OutcomeOf(err) == Unknown:
		return c.awaitMembers(ctx, group, err, undone(membershipOf(before)))
	default:
		return Membership{}, err
	}
}

// undone tells whether a change has come to nothing: its own configuration has been
// followed by one of the members before it, which are not those it was to lead to.
func undone(before Membership) func(Membership) bool {
	return func(now Membership) bool {
		return before.Change != nil && now.Index > before.Index &&
			slices.Equal(now.Voters, before.Voters) && slices.Equal(now.Learners, before.Learners)
	}
}

// Members asks the group's leader for its members and how far a change of them is. A
// leader that has just been replaced unknowingly may tell what was before.
func (c *Client) Members(ctx context.Context, group uint64) (Membership, error) {
	status, err := c.leaderStatus(ctx, group)
	if err != nil {
		return Membership{}, err
	}
	return membershipOf(status), nil
}

func (c *Client) leaderStatus(ctx context.Context, group uint64) (*messages.GroupStatus, error) {
	call := c.calls.begin(true)
	c.send(call, group, &messages.ListMembers{Group: group, Request: call.id})
	data, _, err := call.waitIndexContext(ctx)
	if err != nil {
		return nil, err
	}
	status := &messages.GroupStatus{}
	if err := proto.Unmarshal(data, status); err != nil {
		return nil, fmt.Errorf("group %d: the leader's status cannot be read: %w", group, err)
	}
	return status, nil
}

// AddMember adds a voter. See ChangeMembers.
func (c *Client) AddMember(ctx context.Context, group uint64, m Member) (Membership, error) {
	return c.ChangeMembers(ctx, group, MembersChange{Add: []Member{m}})
}

// AddLearner adds a member that gets the log and never votes. See ChangeMembers.
func (c *Client) AddLearner(ctx context.Context, group uint64, m Member) (Membership, error) {
	return c.ChangeMembers(ctx, group, MembersChange{AddLearners: []Member{m}})
}

// AddWitness adds a voter without state: a group has one at most, and two voters with
// state beside it. The node runs with Options.Join, and with Witness set in its own
// Options.Members. See ChangeMembers.
func (c *Client) AddWitness(ctx context.Context, group uint64, m Member) (Membership, error) {
	m.Witness = true
	return c.AddMember(ctx, group, m)
}

// RemoveMember removes a member for good; the leader hands over when it is the one.
// See ChangeMembers.
func (c *Client) RemoveMember(ctx context.Context, group uint64, id string) (Membership, error) {
	return c.ChangeMembers(ctx, group, MembersChange{Remove: []string{id}})
}

// ReplaceMember puts one voter in the place of another, in one step. See
// ChangeMembers.
func (c *Client) ReplaceMember(ctx context.Context, group uint64, id string, by Member) (Membership, error) {
	return c.ChangeMembers(ctx, group, MembersChange{Add: []Member{by}, Remove: []string{id}})
}

// PromoteMember makes a learner a voter. See ChangeMembers.
func (c *Client) PromoteMember(ctx context.Context, group uint64, id string) (Membership, error) {
	return c.ChangeMembers(ctx, group, MembersChange{Promote: []string{id}})
}

// membersPause is between two looks at a change, or two attempts to begin one.
const membersPause = 50 * time.Millisecond

// awaitMembers follows a change, or its end, whose answer did not come. That the members
// are as was asked for is certain when they are; that they are not proves nothing, since
// the one who says so may lead no more.
func (c *Client) awaitMembers(ctx context.Context, group uint64, cause error, done func(Membership) bool) (Membership, error) {
	for pause(ctx, membersPause) == nil {
		status, err := c.leaderStatus(ctx, group)
		if err != nil || status.Change != nil || status.ConfigurationIndex > status.CommitIndex {
			continue
		}
		if m := membershipOf(status); done(m) {
			return m, nil
		}
		return Membership{}, cause
	}
	return Membership{}, cause
}

// mayPass: a refusal for which another attempt may find other circumstances.
func mayPass(err error) bool {
	for _, reason := range []error{ErrBusy, ErrNoLeader, ErrNotLeader, ErrLeadershipLost, ErrTimeout} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check says which of those to be added no member can be.
func (m *MembersChange) check() error {
	for _, one := range slices.Concat(m.Add, m.AddLearners) {
		if err := CheckMember(one); err != nil {
			return err
		}
	}
	return nil
}

func (m Member) voterRole() messages.Role {
	if m.Witness {
		return messages.Role_WITNESS
	}
	return messages.Role_VOTER
}

// message of a member that CheckMember has found nothing wrong with.
func (m Member) message(role messages.Role) *messages.Member {
	return &messages.Member{Id: m.ID, Address: m.Address, Role: role, Priority: int32(m.Priority)}
}

func (m *MembersChange) message(group, request uint64) *messages.ChangeMembers {
	out := &messages.ChangeMembers{
		Group: group, Request: request, ExpectedIndex: m.ExpectedIndex,
		Remove: m.Remove, Promote: m.Promote, Demote: m.Demote,
	}
	for _, one := range m.Add {
		out.Add = append(out.Add, one.message(one.voterRole()))
	}
	for _, one := range m.AddLearners {
		out.Add = append(out.Add, one.message(messages.Role_LEARNER))
	}
	return out
}

// done says whether the members have come to be what was asked for.
func (m *MembersChange) done(now Membership) bool {
	voters, learners := addressBook(now.Voters), addressBook(now.Learners)
	for _, one := range m.Add {
		if voters[one.ID] != one.Address {
			return false
		}
	}
	for _, one := range m.AddLearners {
		if learners[one.ID] != one.Address {
			return false
		}
	}
	lacks := func(book map[string]string) func(string) bool {
		return func(id string) bool { return book[id] == "" }
	}
	return !slices.ContainsFunc(m.Remove, func(id string) bool { return !slices.Contains(now.Removed, id) }) &&
		!slices.ContainsFunc(m.Promote, lacks(voters)) && !slices.ContainsFunc(m.Demote, lacks(learners))
}

func decodeMembership(data []byte, index uint64) (Membership, error) {
	c := &messages.Configuration{}
	if err := proto.Unmarshal(data, c); err != nil {
		return Membership{}, fmt.Errorf("the configuration of index %d cannot be read: %w", index, err)
	}
	return membershipOf(&messages.GroupStatus{Configuration: c, ConfigurationIndex: index}), nil
}

func membershipOf(s *messages.GroupStatus) Membership {
	m := Membership{Index: s.ConfigurationIndex, Leader: s.Leader, Removed: s.GetConfiguration().GetRemoved()}
	m.Voters, m.Learners = byRole(s.GetConfiguration().GetMembers())
	if s.Change == nil {
		return m
	}
	m.Change = &MemberMotion{Phase: s.Change.Phase}
	m.Change.Voters, m.Change.Learners = byRole(s.Change.Target)
	for _, n := range s.Change.Newcomers {
		m.Change.Newcomers = append(m.Change.Newcomers, Newcomer{
			ID: n.Id, MatchIndex: n.MatchIndex, Lag: n.Lag, CaughtUp: n.CaughtUp,
			Patience: time.Duration(n.PatienceMs) * time.Millisecond,
		})
	}
	return m
}

func byRole(members []*messages.Member) (voters, learners []Member) {
	for _, m := range members {
		one := Member{ID: m.Id, Address: m.Address, Priority: int(m.Priority), Witness: m.Role == messages.Role_WITNESS}
		if m.Role == messages.Role_LEARNER {
			learners = append(learners, one)
		} else {
			voters = append(voters, one)
		}
	}
	return voters, learners
}
