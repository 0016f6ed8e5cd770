package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	lib "github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
)

// TestOnce: clients count, each with commands that may be sent five times, while
// leaders are killed and all nodes at once, and the nodes take snapshots all the time and
// cut their logs behind them. What is counted is what was asked for: once through the Go
// client, once with RAFT.ONCE of a stock Redis client.
func TestOnce(t *testing.T) {
	const (
		counters = 4 // of each kind
		rounds   = 3
		tries    = 5
	)
	e := startEnsemble(t, 3, electionTimeout(), "--snapshot-entries", "150", "--keep-entries", "20")
	var stop atomic.Bool
	var all sync.WaitGroup
	var acked atomic.Int64
	asked := make([]atomic.Int64, 2*counters) // distinct requests that were answered
	doubt := make([]atomic.Int64, 2*counters) // and those that never were

	goClient := dialEnsemble(t, e)
	for i := range counters {
		key := []byte(fmt.Sprint("once-go-", i))
		all.Go(func() {
			for !stop.Load() {
				reply, err := goClient.Propose(t.Context(), 1, kv.IncrBy(key, 1))
				switch {
				case err == nil:
					acked.Add(1)
					if n := asked[i].Add(1); doubt[i].Load() == 0 {
						expectCount(t, reply, n)
					}
				case lib.OutcomeOf(err) == lib.Unknown:
					doubt[i].Add(1)
				}
			}
		})
	}
	for i := range counters {
		slot, key, id := counters+i, fmt.Sprint("once-redis-", i), fmt.Sprintf("client %d of %d", i, rand.Uint64())
		r := rand.New(rand.NewPCG(rand.Uint64(), 1))
		all.Go(func() {
			var clients []*redis.Client
			for _, n := range e.nodes {
				c := redis.NewClient(&redis.Options{Addr: n.resp, MaxRetries: -1, ReadTimeout: 6 * time.Second, PoolSize: 1})
				defer c.Close()
				clients = append(clients, c)
			}
			for sequence := int64(1); !stop.Load() || sequence == 1; sequence++ {
				for try := 1; ; try++ {
					c := clients[r.IntN(len(clients))]
					got, err := c.Do(context.Background(), "RAFT.ONCE", id, sequence, "INCR", key).Int64()
					if err == nil {
						acked.Add(1)
						asked[slot].Add(1)
						if got != sequence {
							t.Errorf("%s: sequence %d is answered %d", key, sequence, got)
						}
						// And once more, though it was answered.
						if r.IntN(4) == 0 {
							again, err := clients[r.IntN(len(clients))].Do(context.Background(), "RAFT.ONCE", id, sequence, "INCR", key).Int64()
							if err == nil && again != got {
								t.Errorf("%s: sequence %d is answered %d, and %d when it is repeated", key, sequence, got, again)
							}
						}
						break
					}
					if strings.HasPrefix(err.Error(), "SESSIONEXPIRED") || strings.HasPrefix(err.Error(), "ERR") {
						t.Errorf("%s: %v", key, err)
						return
					}
					if try >= tries && served(err) { // one that reached no node is no try
						doubt[slot].Add(1)
						return
					}
					if !served(err) {
						try--
						await(t, "a node answers", func() bool { return e.nodes[r.IntN(3)].ready() })
					}
				}
			}
		})
	}
	progress := func() {
		target := acked.Load() + 100
		await(t, "100 more are counted", func() bool { return acked.Load() >= target })
	}
	for range rounds {
		progress()
		leader := e.leader()
		leader.kill()
		progress()
		leader.start()
		e.awaitCaughtUp(leader)
	}
	progress()
	for _, n := range e.nodes {
		n.kill()
	}
	for _, n := range e.nodes {
		n.start()
	}
	e.awaitReady()
	progress()
	stop.Store(true)
	all.Wait()
	for _, n := range e.nodes {
		if s, err := n.status(); err != nil || s.SnapshotIndex == 0 || s.FirstIndex == 1 {
			t.Errorf("%s has a snapshot up to %d and a log from %d (%v), expected it to have taken snapshots", n.id, s.SnapshotIndex, s.FirstIndex, err)
		}
	}

	s := &respSession{address: e.nodes[0].resp}
	defer s.close()
	total, requests, open := int64(0), int64(0), int64(0)
	for i := range asked {
		key := fmt.Sprint("once-go-", i)
		if i >= counters {
			key = fmt.Sprint("once-redis-", i-counters)
		}
		v, err := s.call("GET", key)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(v.text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if low, high := asked[i].Load(), asked[i].Load()+doubt[i].Load(); n < low || n > high {
			t.Errorf("%s is %d, expected %d to %d", key, n, low, high)
		}
		total, requests, open = total+n, requests+asked[i].Load(), open+doubt[i].Load()
	}
	t.Logf("%d distinct requests answered, %d never, counted %d", requests, open, total)
	if open > 0 {
		t.Errorf("%d requests were never answered, though they were sent again", open)
	}
}

// served says whether the error is an answer of a node, or may hide one.
func served(err error) bool {
	return !strings.Contains(err.Error(), "connection refused") && !errors.Is(err, redis.ErrClosed)
}

func expectCount(t *testing.T, reply []byte, want int64) {
	r, err := kv.ParseReply(reply)
	if err != nil || r.Int != want {
		t.Errorf("counted %d (%v), expected %d", r.Int, err, want)
	}
}

func dialEnsemble(t *testing.T, e *ensemble) *lib.Client {
	t.Helper()
	var members []lib.Member
	for _, n := range e.nodes {
		members = append(members, lib.Member{ID: n.id, Address: n.peer})
	}
	c, err := lib.Dial(lib.NewSystem(nil), lib.ClientOptions{Members: members, RequestTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
