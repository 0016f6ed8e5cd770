package actors

import "reflect"

// ignored names the messages that a role may receive and has nothing to do with.
// Every message is either routed or ignored on purpose; a test compares the two
// with the catalogue.
func ignored(examples ...any) map[reflect.Type]bool {
	set := make(map[reflect.Type]bool, len(examples))
	for _, e := range examples {
		set[reflect.TypeOf(e)] = true
	}
	return set
}

// ignore drops a message. One that is not in the set has come to the wrong actor.
func (r *raft) ignore(message any, set map[reflect.Type]bool) {
	if !set[reflect.TypeOf(message)] {
		r.logger.Warn("unexpected message", "role", r.role.name(), "type", reflect.TypeOf(message))
	}
}
