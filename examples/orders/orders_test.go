package orders_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/examples/orders"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/fsmtest"
)

func encode(m proto.Message) []byte {
	b, err := fsm.Encode(m)
	if err != nil {
		panic(err)
	}
	return b
}

// TestShop tries the actor alone, and replicated in simulated clusters under faults.
func TestShop(t *testing.T) {
	item := func(rng *rand.Rand) string { return fmt.Sprint("item", rng.IntN(4)) }
	fsmtest.Run(t, fsmtest.Kit{
		New: orders.Machine,
		Command: func(rng *rand.Rand) []byte {
			switch rng.IntN(10) {
			case 0:
				return []byte("nonsense")
			case 1, 2, 3:
				return encode(&orders.Restock{Item: item(rng), Pieces: rng.Uint32N(9)})
			}
			return encode(&orders.Place{Item: item(rng), Pieces: rng.Uint32N(4), Customer: fmt.Sprint("c", rng.IntN(9))})
		},
		Query: func(rng *rand.Rand) []byte { return encode(&orders.Show{Item: item(rng)}) },
	})
}

// TestShopOnANode: what a client sees.
func TestShopOnANode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	node, err := cluster.Start(cluster.NewSystem(nil), cluster.Options{
		ID: "n1", Members: []cluster.Member{{ID: "n1", Address: address}}, DataDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer func() {
		if err := node.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	if _, err := node.StartGroup(1, orders.Machine()); err != nil {
		t.Fatal(err)
	}
	propose := func(m proto.Message) (proto.Message, error) {
		r, err := node.Client().Propose(ctx, 1, encode(m))
		if err != nil {
			t.Fatal(err)
		}
		return fsm.Decode(r)
	}
	if _, err := propose(&orders.Restock{Item: "tea", Pieces: 3}); err != nil {
		t.Fatal(err)
	}
	r, err := propose(&orders.Place{Item: "tea", Pieces: 2, Customer: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	if o := r.(*orders.Order); o.Customer != "ada" || o.Number == 0 || o.Placed == 0 {
		t.Fatalf("ordered %v", o)
	}
	var refused *fsm.RefusedError
	if _, err := propose(&orders.Place{Item: "tea", Pieces: 2, Customer: "bob"}); !errors.As(err, &refused) {
		t.Fatalf("%v, expected a refusal: one is left", err)
	}
	answer, err := node.Client().Query(ctx, 1, encode(&orders.Show{Item: "tea"}), cluster.Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	stock, err := fsm.Decode(answer)
	if err != nil {
		t.Fatal(err)
	}
	if s := stock.(*orders.Stock); s.Pieces != 1 || s.Ordered != 2 {
		t.Fatalf("stock %v, expected one piece left and two ordered", s)
	}
}
