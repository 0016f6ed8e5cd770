package cluster

import (
	"errors"
	"testing"

	"github.com/protoraft/protoraft/messages"
)

// A command that was applied before, and whose reply is lost, is an error with a
// definite outcome: it is not sent again, and its index is known.
func TestLostReplyIsADefiniteOutcome(t *testing.T) {
	item := messages.ResultItem{Outcome: messages.Outcome_APPLIED, Reason: messages.Reason_REPLY_LOST, Index: 7}
	if worthAnother(&item) {
		t.Fatal("it would be sent again")
	}
	table := &callTable{}
	c := &Call{table: table, id: 8, item: item}
	reply, index, err := c.finish()
	if reply != nil || index != 7 || !errors.Is(err, ErrReplyLost) || OutcomeOf(err) != Applied {
		t.Fatalf("%q at %d, %v with outcome %v, expected no reply at 7 and ErrReplyLost with outcome applied", reply, index, err, OutcomeOf(err))
	}
}
