package sim

import (
	"fmt"
	"strings"

	"github.com/protoraft/protoraft/messages"
)

// Spares makes the last n nodes no members in the beginning. It comes before the
// first Start.
func (s *Script) Spares(n int) { s.w.setup.spares = n }

// Witness makes the last member a witness, and the last spare. It comes before the first
// Start.
func (s *Script) Witness() { s.w.setup.witness = true }

// Sleep has beats go by way of the Pulse, and groups sleep in which nothing has happened
// for ScriptSleepAfter. It comes before the first Start.
func (s *Script) Sleep() { s.w.setup.pulse, s.w.setup.sleepAfter = true, ScriptSleepAfter }

// MemberChange is what a script asks for, by node ids; a learner's has "?" behind it, a
// witness's "!".
type MemberChange struct {
	Add, Remove, Promote, Demote []string
	Move                         []string // to addresses that they have not had
	Expected                     uint64
}

// ChangeMembers has a client on a node ask for a change of a group's members.
func (s *Script) ChangeMembers(id string, group uint64, c MemberChange) error {
	m := &messages.ChangeMembers{
		Group: group, Request: s.memberRequest(group), ExpectedIndex: c.Expected,
		Remove: c.Remove, Promote: c.Promote, Demote: c.Demote,
	}
	for _, name := range c.Add {
		name, learner := strings.CutSuffix(name, "?")
		name, witness := strings.CutSuffix(name, "!")
		n, err := s.node(name)
		if err != nil {
			return err
		}
		one := &messages.Member{Id: n.id, Address: n.address}
		if learner {
			one.Role = messages.Role_LEARNER
		}
		if witness {
			one.Role = messages.Role_WITNESS
		}
		m.Add = append(m.Add, one)
	}
	for _, name := range c.Move {
		n, err := s.node(name)
		if err != nil {
			return err
		}
		m.Move = append(m.Move, &messages.Member{Id: n.id, Address: s.newPlace(n)})
	}
	return s.askMembers(id, group, m)
}

// newPlace is where a node that moves is to be looked for: where it is, if that is elsewhere
// than it is looked for now, else where it was not.
func (s *Script) newPlace(n *node) string {
	s.w.operator()
	if s.listedElsewhere(n) != "" {
		return n.address
	}
	at := n.id + ":7001"
	if n.address == at {
		at = n.home
	}
	if s.w.byAddress[at] == nil {
		s.w.byAddress[at] = n
	}
	return at
}

// listedElsewhere is where a member has the node when that is not where it is.
func (s *Script) listedElsewhere(n *node) (at string) {
	s.w.eachConfiguration(func(_ *groupModel, c *members) {
		if place := c.place(n.id); place != n.address {
			at = place
		}
	})
	return at
}

// Relocate has a node that is down start at another address: where it is looked for, or at
// a new one.
func (s *Script) Relocate(id string) error {
	n, err := s.node(id)
	if err == nil && n.up {
		err = fmt.Errorf("%s is up", id)
	}
	if err == nil {
		if n.moves = s.listedElsewhere(n); n.moves == "" {
			n.moves = s.newPlace(n)
		}
	}
	return err
}

// AbortChange has a client on a node ask for the change under way to be undone.
func (s *Script) AbortChange(id string, group uint64) error {
	return s.askMembers(id, group, &messages.AbortChange{Group: group, Request: s.memberRequest(group)})
}

func (s *Script) memberRequest(group uint64) uint64 {
	s.w.memberRequest++
	return memberRequests + s.w.memberRequest*memberGroups + group
}

func (s *Script) askMembers(id string, group uint64, message any) error {
	n, err := s.running(id)
	if err == nil {
		n.host.system.Root.RequestWithCustomSender(n.memberPID(group), message, s.pid(n))
		s.settle()
	}
	return err
}

// membersAnswered tells how requests about members ended.
func (s *Script) membersAnswered(m *messages.Results) bool {
	if !s.w.checks.memberAnswers(m) {
		return false
	}
	for i := range m.Items {
		item := &m.Items[i]
		if item.Outcome == messages.Outcome_APPLIED {
			s.tell("members are %v, by entry %d", s.configuration(digest(item.Data)), item.Index)
			continue
		}
		reason := strings.ToLower(strings.ReplaceAll(item.Reason.String(), "_", " "))
		outcome := strings.ToLower(strings.ReplaceAll(item.Outcome.String(), "_", " "))
		s.tell("change of members: %s, %s", outcome, strings.TrimSuffix(reason+": "+string(item.Data), ": "))
	}
	return true
}

// configuration says in words what an entry of that digest says; the one that groups
// begin with is just the members.
func (s *Script) configuration(data uint64) string {
	for _, g := range s.w.checks.groups {
		if c := g.configs[data]; c != nil {
			return c.String()
		}
	}
	return "unknown"
}

// memberWords says what the wire carries about members, empty for anything else.
func (s *Script) memberWords(message any) string {
	switch m := message.(type) {
	case *messages.MemberRemoved:
		return s.group(m.Group) + fmt.Sprintf("removed by entry %d", m.Index)
	case *messages.ForwardRequests:
		for _, r := range m.Requests {
			if r.GetChangeMembers() != nil || r.GetAbortChange() != nil {
				return "forward a change of members"
			}
		}
	}
	return ""
}
