package link

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/messages"
)

// kinds are the messages a link carries: what Raft's members say to each other all day
// long, and the answers to what was forwarded. None of it minds another order, or a
// loss: each has a term, a session, a round or a number that makes it stale. Snapshots
// keep to the remote, where they hold up nothing here.
var kinds = [256]func() proto.Message{
	16: func() proto.Message { return new(messages.AppendEntries) },
	17: func() proto.Message { return new(messages.AppendAccepted) },
	18: func() proto.Message { return new(messages.AppendRejected) },
	19: func() proto.Message { return new(messages.Heartbeat) },
	20: func() proto.Message { return new(messages.HeartbeatAcked) },
	21: func() proto.Message { return new(messages.RequestPreVote) },
	22: func() proto.Message { return new(messages.PreVoteGranted) },
	23: func() proto.Message { return new(messages.PreVoteRejected) },
	24: func() proto.Message { return new(messages.RequestVote) },
	25: func() proto.Message { return new(messages.VoteGranted) },
	26: func() proto.Message { return new(messages.VoteRejected) },
	27: func() proto.Message { return new(messages.TimeoutNow) },
	28: func() proto.Message { return new(messages.ConfirmReadIndex) },
	29: func() proto.Message { return new(messages.ReadIndexConfirmed) },
	30: func() proto.Message { return new(messages.ResultsFrame) },
	31: func() proto.Message { return new(messages.Beats) },
	32: func() proto.Message { return new(messages.Stir) },
}

const kindAppend, kindResults Kind = 16, 30

// Messages returns one of each message that a link carries, by kind.
func Messages() map[Kind]proto.Message {
	all := map[Kind]proto.Message{}
	for k, produce := range kinds {
		if produce != nil {
			all[Kind(k)] = produce()
		}
	}
	return all
}

// kindOf is 0 for a message that a link does not carry.
func kindOf(message any) Kind {
	switch message.(type) {
	case *messages.AppendEntries:
		return kindAppend
	case *messages.AppendAccepted:
		return 17
	case *messages.AppendRejected:
		return 18
	case *messages.Heartbeat:
		return 19
	case *messages.HeartbeatAcked:
		return 20
	case *messages.RequestPreVote:
		return 21
	case *messages.PreVoteGranted:
		return 22
	case *messages.PreVoteRejected:
		return 23
	case *messages.RequestVote:
		return 24
	case *messages.VoteGranted:
		return 25
	case *messages.VoteRejected:
		return 26
	case *messages.TimeoutNow:
		return 27
	case *messages.ConfirmReadIndex:
		return 28
	case *messages.ReadIndexConfirmed:
		return 29
	case *messages.Results:
		return kindResults
	case *messages.Beats:
		return 31
	case *messages.Stir:
		return 32
	}
	return 0
}

// wireForm is what goes into the body, and what is attached to it.
func wireForm(message any) (body proto.Message, attachment []byte, err error) {
	switch m := message.(type) {
	case *messages.AppendEntries:
		return m.WithoutBlock(), m.Block, nil
	case *messages.Results:
		f, err := m.Serialize()
		if err != nil {
			return nil, nil, err
		}
		return f.(*messages.ResultsFrame), nil, nil
	}
	return message.(proto.Message), nil, nil
}

// decode is the message in a frame; a block aliases the frame's attachment.
func decode(f *frame) (any, error) {
	produce := kinds[f.kind]
	if produce == nil {
		return nil, fmt.Errorf("%w: kind %d, which is no message", ErrFrame, f.kind)
	}
	m := produce()
	if f.attachment != nil && f.kind != kindAppend {
		return nil, fmt.Errorf("%w: %d bytes attached to %s, which has none", ErrFrame, len(f.attachment), proto.MessageName(m))
	}
	// What a later version says besides is passed over: nothing is passed on.
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(f.body, m); err != nil {
		return nil, fmt.Errorf("%w: %s does not decode: %v", ErrFrame, proto.MessageName(m), err)
	}
	switch m := m.(type) {
	case *messages.AppendEntries:
		if len(m.Block) != 0 {
			return nil, fmt.Errorf("%w: a block of %d bytes in the body of AppendEntries, expected it attached", ErrFrame, len(m.Block))
		}
		m.Block = f.attachment
	case *messages.ResultsFrame:
		return m.Deserialize()
	}
	return m, nil
}
