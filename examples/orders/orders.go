// Package orders is a shop whose state machine is an actor: it receives its own
// protobuf commands as ordinary messages and responds. See orders_test.go for the test
// that tries it, and for the shop on a real node.
package orders

import (
	"fmt"
	"io"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/fsm"
)

// Machine is what a group replicates.
func Machine() fsm.StateMachine {
	return fsm.FromProps(actor.PropsFromProducer(func() actor.Actor { return &shop{} }),
		fsm.Commands(&Restock{}, &Place{}), fsm.Queries(&Show{}))
}

// shop is the actor. Everything in it comes from commands, log time and the entry's own
// chance, so that it is the same on every replica.
type shop struct {
	state Shop
}

// Receive implements actor.Actor.
func (s *shop) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		s.state.Shelf = map[string]uint64{}
	case *Restock:
		s.state.Shelf[m.Item] += uint64(m.Pieces)
		ctx.Respond(s.stock(m.Item))
	case *Place:
		s.place(ctx, m)
	case *Show:
		ctx.Respond(s.stock(m.Item))
	case *fsm.SaveSnapshot:
		ctx.Respond(&s.state) // encoded at once; a large state answers with an fsm.View
	case *fsm.LoadSnapshot:
		ctx.Respond(s.load(m.Reader))
	}
}

// place refuses by an error: an ordinary reply, the same everywhere. A panic would stop
// the group.
func (s *shop) place(ctx actor.Context, m *Place) {
	if have := s.state.Shelf[m.Item]; m.Pieces == 0 || uint64(m.Pieces) > have {
		ctx.Respond(fmt.Errorf("%d of %q ordered, there are %d", m.Pieces, m.Item, have))
		return
	}
	e := fsm.EntryOf(ctx)
	o := &Order{
		Number: e.Index, Item: m.Item, Pieces: m.Pieces, Customer: m.Customer,
		Placed: e.Time.Unix(), Lottery: e.Rand().Uint32N(1000),
	}
	s.state.Shelf[m.Item] -= uint64(m.Pieces)
	s.state.Orders = append(s.state.Orders, o)
	ctx.Respond(o)
}

func (s *shop) stock(item string) *Stock {
	stock := &Stock{Item: item, Pieces: s.state.Shelf[item]}
	for _, o := range s.state.Orders {
		if o.Item == item {
			stock.Ordered += uint64(o.Pieces)
		}
	}
	return stock
}

func (s *shop) load(r io.Reader) any {
	b, err := io.ReadAll(r)
	if err == nil {
		err = proto.Unmarshal(b, &s.state) // which begins with nothing
	}
	if err != nil {
		return err
	}
	if s.state.Shelf == nil {
		s.state.Shelf = map[string]uint64{}
	}
	return nil
}
