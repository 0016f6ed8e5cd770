package actors

import (
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// Operations on a group's members go the way of commands: to the leader, once.

// forwardMembers makes f carry an operation on members, meant for the leader of term,
// under its id here.
func forwardMembers(f *messages.ForwardedRequest, message any, id, term uint64) {
	switch m := message.(type) {
	case *messages.ChangeMembers:
		f.Request = &messages.ForwardedRequest_ChangeMembers{ChangeMembers: &messages.ChangeMembers{
			Group: m.Group, Request: id, LeaderTerm: term, ExpectedIndex: m.ExpectedIndex,
			Add: m.Add, Remove: m.Remove, Promote: m.Promote, Demote: m.Demote, Move: m.Move,
		}}
	case *messages.AbortChange:
		f.Request = &messages.ForwardedRequest_AbortChange{AbortChange: &messages.AbortChange{
			Group: m.Group, Request: id, LeaderTerm: term,
		}}
	case *messages.ListMembers:
		f.Request = &messages.ForwardedRequest_ListMembers{ListMembers: &messages.ListMembers{
			Group: m.Group, Request: id, LeaderTerm: term,
		}}
	}
}

// forwardedMembers reads what forwardMembers wrote; message is nil for anything else.
func forwardedMembers(f *messages.ForwardedRequest) (group, request uint64, message any) {
	switch r := f.Request.(type) {
	case *messages.ForwardedRequest_ChangeMembers:
		return r.ChangeMembers.GetGroup(), r.ChangeMembers.GetRequest(), r.ChangeMembers
	case *messages.ForwardedRequest_AbortChange:
		return r.AbortChange.GetGroup(), r.AbortChange.GetRequest(), r.AbortChange
	case *messages.ForwardedRequest_ListMembers:
		return r.ListMembers.GetGroup(), r.ListMembers.GetRequest(), r.ListMembers
	}
	return 0, 0, nil
}

// changesNothing: such an operation may be asked again, and is never unknown.
func changesNothing(message any) bool {
	switch message.(type) {
	case *messages.Query, *messages.ListMembers:
		return true
	}
	return false
}

func sizeOfChange(m *messages.ChangeMembers) int {
	if m == nil {
		return 0
	}
	return proto.Size(m)
}
