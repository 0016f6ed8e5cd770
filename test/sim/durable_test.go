package sim

import (
	"math/rand/v2"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// keeps gives the member a machine with a disk of its own, which holds up to an index.
func (x bad) keeps(index uint64) *durable {
	x.w.setup.durable, x.w.setup.keepEvery = true, 1
	x.w.machines = rand.New(rand.NewPCG(1, 1))
	d := newDurable(&machine{member: x.a}, x.a.n, 1)
	if d.index = index; index > 0 {
		d.keep()
	}
	return d
}

// brokenByDurables breaks the rules of machines with disks of their own.
var brokenByDurables = map[string][]func(x bad){
	"no machine is ahead of its log": {
		func(x bad) {
			x.keeps(3)
			x.keeps(0) // the next life
		},
		func(x bad) { _, _ = x.keeps(0).Apply(fsm.Entry{Index: 1}) },
	},
	"a machine that went backwards is refused": {func(x bad) {
		x.a.disk, x.a.hard.Machine = entries(1, 4), 4
		x.keeps(3)
		_, _ = x.keeps(0).Apply(fsm.Entry{Index: 4})
	}},
	"what a machine holds is not forgotten": {func(x bad) {
		x.a.asked.Machine = 4
		x.a.onPersistHardState(&actors.PersistHardState{Group: 1, State: logstore.HardState{Machine: 3}})
	}},
	"acknowledged means applied": {func(x bad) { // of one that nobody applied
		o := x.asks(x.a.n, opAppend)
		x.w.setup.durable = true
		x.c.history.answered(x.a.n, &messages.ResultItem{Request: o.request, Outcome: messages.Outcome_APPLIED, Reason: messages.Reason_REPLY_LOST, Index: 1})
	}},
	"members do not fail by themselves": {func(x bad) { // the machine holds what it should
		x.a.onMemberFailed("state machine of group 1 went backwards: it says it has applied 0, and said 0 in an earlier life, expected at least 0")
	}},
}
