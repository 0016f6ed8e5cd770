package sim

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// Members: the configuration that counts is the last one of a log, and what is
// counted here owes nothing to the code that is being watched. Whoever leads was
// granted the votes of a majority, of both majorities where it is joint. A leader
// appends a configuration only when an entry of its own term and the configuration
// before are committed, and any majority of the one before meets any of the next. An
// id that was removed does not come back.

// members is a configuration.
type members struct {
	*messages.Configuration
	voters []string
}

func readMembers(data []byte) (*members, error) {
	c := &messages.Configuration{}
	if err := proto.Unmarshal(data, c); err != nil {
		return nil, err
	}
	m := &members{Configuration: c}
	for _, one := range c.Members {
		if one.Role != messages.Role_LEARNER {
			m.voters = append(m.voters, one.Id)
		}
	}
	return m, nil
}

// decide says whether those who say yes are enough.
func (c *members) decide(yes func(id string) bool) bool {
	return c != nil && most(c.voters, yes) && (len(c.Outgoing) == 0 || most(c.Outgoing, yes))
}

func most(ids []string, yes func(id string) bool) bool {
	n := 0
	for _, id := range ids {
		if yes(id) {
			n++
		}
	}
	return 2*n > len(ids)
}

func (c *members) changing() bool { return len(c.Next)+len(c.Outgoing) > 0 }

// has says whether id is a member for good.
func (c *members) has(id string) bool {
	return c != nil && slices.ContainsFunc(c.Members, func(m *messages.Member) bool { return m.Id == id })
}

// peers counts whom a member sends its log to.
func (c *members) peers(id string) (n int) {
	ids := map[string]bool{}
	if c != nil {
		for _, m := range slices.Concat(c.Members, c.Leaving, c.Next) {
			ids[m.Id] = true
		}
	}
	delete(ids, id)
	return len(ids)
}

func (c *members) removed() []string {
	if c == nil {
		return nil
	}
	return c.Removed
}

func (c *members) votes(id string) bool {
	return slices.Contains(c.voters, id) || slices.Contains(c.Outgoing, id)
}

func (c *members) String() string {
	if c == nil {
		return "nobody"
	}
	say := func(members []*messages.Member) (ids []string) {
		for _, m := range members {
			id := m.Id
			if m.Role == messages.Role_LEARNER {
				id += "?"
			}
			if m.Role == messages.Role_WITNESS {
				id += "!"
			}
			ids = append(ids, id)
		}
		return ids
	}
	text := fmt.Sprint(say(c.Members))
	if len(c.Next) > 0 {
		text += fmt.Sprintf(" to be %v", say(c.Next))
	}
	if len(c.Outgoing) > 0 {
		text += fmt.Sprintf(" and %v", c.Outgoing)
	}
	return text
}

// current is the configuration a member goes by, nil for none.
func (m *memberModel) current() *members {
	if n := len(m.configs); n > 0 {
		return m.g.configs[m.log[m.configs[n-1]-1].data]
	}
	return m.g.unwritten
}

// counting is the configuration by which an entry is committed when it is first acted
// on: the last one, or, for an entry before that one which has just been appended, the
// one before, by which it may have been counted in the same turn.
func (m *memberModel) counting(i uint64) *members {
	now, n := m.current(), len(m.configs)
	holds := func(o *memberModel) bool {
		disk := o.held()
		return i <= uint64(len(disk)) && disk[i-1].chain == m.log[i-1].chain
	}
	if n < 2 || i >= uint64(m.configs[n-1]) || m.g.counts(now, holds) {
		return now
	}
	return m.g.configs[m.log[m.configs[n-2]-1].data]
}

// findConfigs looks for the configurations of a log from an index on.
func (m *memberModel) findConfigs(from int) {
	for len(m.configs) > 0 && m.configs[len(m.configs)-1] >= from {
		m.configs = m.configs[:len(m.configs)-1]
	}
	for i := from; i <= len(m.log); i++ {
		if m.log[i-1].kind == messages.EntryKind_CONFIGURATION {
			m.configs = append(m.configs, i)
		}
	}
}

// settled is the last committed configuration of a group, nil for none.
func (g *groupModel) settled() (c *members, index int) {
	for i := len(g.committed); i > 0; i-- {
		if e := g.committed[i-1]; e.kind == messages.EntryKind_CONFIGURATION {
			return g.configs[e.data], i
		}
	}
	return nil, 0
}

// byID is the member on a node.
func (g *groupModel) byID(id string) *memberModel {
	for _, m := range g.members {
		if m.n.id == id {
			return m
		}
	}
	return nil
}

// learnConfigs reads the configurations of a block that a member appends.
func (m *memberModel) learnConfigs(b *messages.Block, first int) {
	w, g := m.c.w, m.g
	if b.Count == 1 {
		err := b.Entries(func(_ uint64, e messages.EntryView) error {
			if e.Kind != messages.EntryKind_CONFIGURATION {
				return nil
			}
			c, err := readMembers(e.Data)
			g.configs[digest(e.Data)] = c
			return err
		})
		if err != nil {
			w.violate("members", "group %d: %s appends a configuration that cannot be read: %v", g.id, m.n.id, err)
			return
		}
	}
	before := m.current()
	m.findConfigs(first)
	if n := len(m.configs); m.leads != 0 && n > 0 && m.configs[n-1] >= first {
		m.changesMembers(before, m.current())
	}
}

func (m *memberModel) changesMembers(before, after *members) {
	w, g := m.c.w, m.g
	// The leader may know of a commit that it has not acted on yet: so it is the disks
	// that count here.
	held := func(i uint64) bool {
		return g.counts(before, func(o *memberModel) bool {
			disk := o.held()
			return i <= uint64(len(disk)) && disk[i-1].chain == m.log[i-1].chain
		})
	}
	n := len(m.configs)
	switch {
	case before == nil || n < 2:
		w.violate("members", "group %d: %s leads without a configuration and appends %v", g.id, m.n.id, after)
		return
	case !held(m.termStart):
		w.violate("members", "group %d: %s appends %v before entry %d, the first of its term, is committed", g.id, m.n.id, after, m.termStart)
	case !held(uint64(m.configs[n-2])):
		w.violate("members", "group %d: %s appends %v while the configuration of %d is not committed", g.id, m.n.id, after, m.configs[n-2])
	case !meet(before, after):
		w.violate("members", "group %d: %s goes from %v to %v, whose majorities need not meet", g.id, m.n.id, before, after)
	case slices.ContainsFunc(after.Members, func(one *messages.Member) bool { return slices.Contains(before.Removed, one.Id) }):
		w.violate("members", "group %d: %s goes from %v to %v, where one comes back that was removed", g.id, m.n.id, before, after)
	}
	switch {
	case len(after.Next) > 0:
		w.cover.add("members: new voters catch up")
	case len(after.Outgoing) > 0:
		w.cover.add("members: joint")
		m.checkJoins(before, after)
		for _, id := range after.voters {
			if o := g.byID(id); !before.votes(id) && o != nil && o.snapshots.joined {
				w.cover.add("members: newcomer caught up by snapshot")
			}
		}
		if !after.has(m.n.id) {
			w.cover.add("members: joint under a leader that leaves")
		}
	case len(before.Next) > 0:
		w.cover.add("members: change rolled back")
	default:
		w.cover.add("members: changed")
	}
}

// meet says whether no two majorities can pass each other by: the voters are the
// same, or those of the one side are one half of the other.
func meet(a, b *members) bool {
	halves := func(c *members) [][]string {
		if len(c.Outgoing) == 0 {
			return [][]string{c.voters}
		}
		return [][]string{c.voters, c.Outgoing}
	}
	for _, x := range halves(a) {
		for _, y := range halves(b) {
			if len(x) == len(y) && !slices.ContainsFunc(x, func(id string) bool { return !slices.Contains(y, id) }) {
				return true
			}
		}
	}
	return false
}

// coverElected notes under which configurations leaders are elected.
func (m *memberModel) coverElected() {
	w, c := m.c.w, m.current()
	switch {
	case len(c.Outgoing) > 0:
		w.cover.add("members: leader elected while joint")
	case len(c.Next) > 0:
		w.cover.add("members: leader elected while new voters catch up")
	case !c.has(m.n.id):
		w.cover.add("members: leader elected without a voice")
	}
}

// counts says whether an entry's holders are enough for this configuration.
func (g *groupModel) counts(c *members, has func(*memberModel) bool) bool {
	return c.decide(func(id string) bool {
		m := g.byID(id)
		return m != nil && has(m)
	})
}

// memberAnswer hears how a request about members ended.
func (c *checks) memberAnswer(group uint64, item *messages.ResultItem) {
	w, g := c.w, c.group(group)
	w.trace.printf("answer about members: %v %v at %d: %.80q", item.Outcome, item.Reason, item.Index, item.Data)
	if item.Outcome != messages.Outcome_APPLIED {
		w.cover.add("members: answered " + item.Reason.String())
		return
	}
	w.cover.add("members: change answered")
	held := g.counts(g.configs[digest(item.Data)], func(m *memberModel) bool {
		i, disk := item.Index, m.held()
		return i > 0 && i <= uint64(len(disk)) && disk[i-1].data == digest(item.Data) && disk[i-1].kind == messages.EntryKind_CONFIGURATION
	})
	if !held {
		w.violate("members", "group %d: a change is said to have ended with the configuration of %d, which is not committed, or another", g.id, item.Index)
	}
}
