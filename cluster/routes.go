package cluster

import (
	"slices"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// routeShards keeps those who ask about different groups out of each other's way.
const routeShards = 64

// routes are the members of this process, by group. Every operation looks here, and a node
// may have ten thousand groups: nothing is copied when one more comes.
type routes [routeShards]struct {
	mu      sync.RWMutex
	members map[uint64]route
}

// route is a member, and its door where that is known.
type route struct {
	pid  *actor.PID
	door doorSign
}

// doorSign is an *actors.Door: what to know of a member before it is asked.
type doorSign interface {
	Leads() bool
	Shut() bool
}

// find returns no PID where the group has no member here.
func (r *routes) find(group uint64) route {
	s := &r[group%routeShards]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.members[group]
}

// learn: a member started again under its name takes the place of the one that ended,
// whose end may not have been heard of yet.
func (r *routes) learn(group uint64, pid *actor.PID, door doorSign) {
	s := &r[group%routeShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members == nil {
		s.members = map[uint64]route{}
	}
	if known := s.members[group].pid; known == nil || known.Equal(pid) {
		s.members[group] = route{pid, door}
	}
}

// forget forgets this very member, not one of its name.
func (r *routes) forget(group uint64, pid *actor.PID) {
	s := &r[group%routeShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members[group].pid == pid {
		delete(s.members, group)
	}
}

// groups are in order.
func (r *routes) groups() (groups []uint64) {
	for i := range r {
		s := &r[i]
		s.mu.RLock()
		for group := range s.members {
			groups = append(groups, group)
		}
		s.mu.RUnlock()
	}
	slices.Sort(groups)
	return groups
}
