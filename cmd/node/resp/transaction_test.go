package resp

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/redis/go-redis/v9"
)

// TestGoRedisTransactions: clients that add under WATCH lose no addition.
func TestGoRedisTransactions(t *testing.T) {
	for _, proto := range []int{2, 3} {
		t.Run("RESP"+strconv.Itoa(proto), func(t *testing.T) {
			_, addr := serve(t, newFake(), Options{})
			ctx := context.Background()
			const clients, each = 4, 25
			var all sync.WaitGroup
			for range clients {
				c := goRedis(t, addr, proto)
				all.Go(func() {
					for done := 0; done < each; {
						err := c.Watch(ctx, func(tx *redis.Tx) error {
							n, err := tx.Get(ctx, "n").Int()
							if err != nil && !errors.Is(err, redis.Nil) {
								return err
							}
							_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
								p.Set(ctx, "n", n+1, time.Hour)
								p.Incr(ctx, "times")
								return nil
							})
							return err
						}, "n")
						switch {
						case err == nil:
							done++
						case !errors.Is(err, redis.TxFailedErr):
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			c := goRedis(t, addr, proto)
			want := strconv.Itoa(clients * each)
			if got, err := c.MGet(ctx, "n", "times").Result(); err != nil || got[0] != want || got[1] != want {
				t.Errorf("%v, %v; want %s twice", got, err, want)
			}
			if ttl, err := c.PTTL(ctx, "n").Result(); err != nil || ttl <= 0 || ttl > time.Hour {
				t.Errorf("PTTL %v, %v", ttl, err)
			}
		})
	}
}

func TestTransactionIsOneEntry(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f, Options{})
	c := dial(t, addr)
	c.send(cmd("MULTI") + strings.Repeat(cmd("INCR", "n"), 100) + cmd("EXEC") + cmd("GET", "n"))
	c.expect("+OK\r\n" + strings.Repeat("+QUEUED\r\n", 100) + "*100\r\n:1\r\n")
	if n := f.proposed(); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}

// TestReadBeforeTransaction: a read must not see the transaction behind it.
func TestReadBeforeTransaction(t *testing.T) {
	_, addr := serve(t, newFake(), Options{})
	c := dial(t, addr)
	c.send(cmd("SET", "k", "old") + cmd("GET", "k") + cmd("MULTI") + cmd("SET", "k", "new") + cmd("EXEC") + cmd("GET", "k"))
	c.expect("+OK\r\n$3\r\nold\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n$3\r\nnew\r\n")
}

func TestTransactionThatIsTooLarge(t *testing.T) {
	_, addr := serve(t, newFake(), Options{})
	c := dial(t, addr)
	value := strings.Repeat("v", 400<<10)
	const large = "-ERR transaction is too large: more than 1047552 bytes\r\n"
	c.send(cmd("MULTI") + cmd("SET", "a", value) + cmd("SET", "b", value) + cmd("SET", "c", value) + cmd("EXEC") + cmd("EXISTS", "a"))
	c.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n" + large + "-EXECABORT Transaction discarded because of previous errors.\r\n:0\r\n")
	c.send(cmd("MULTI") + strings.Repeat(cmd("PING"), kv.MaxExecCommands+1) + cmd("EXEC"))
	c.expect("+OK\r\n" + strings.Repeat("+QUEUED\r\n", kv.MaxExecCommands) + "-ERR transaction is too large: more than 4096 commands\r\n-EXECABORT Transaction discarded because of previous errors.\r\n")
	key := strings.Repeat("k", 60<<10)
	for i := range 8 {
		c.send(cmd("WATCH", key+strconv.Itoa(i), key+strconv.Itoa(i)))
		c.expect("+OK\r\n")
	}
	c.send(cmd("WATCH", key+"8"))
	c.expect("-ERR too many keys are watched: more than 523776 bytes\r\n")
}

func TestTransactionThatFails(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f, Options{})
	c := dial(t, addr)
	for _, failure := range []struct {
		err  error
		want string
	}{
		{&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrTimeout}, "-UNCERTAIN the command may or may not have been applied: timed out\r\n"},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrNoLeader}, "-CLUSTERDOWN not applied: no leader known\r\n"},
	} {
		f.fail = func([]byte) error { return failure.err }
		c.send(cmd("MULTI") + cmd("INCR", "n") + cmd("EXEC") + cmd("EXEC"))
		c.expect("+OK\r\n+QUEUED\r\n" + failure.want + "-ERR EXEC without MULTI\r\n")
	}
	f.fail = nil
	c.send(cmd("MULTI") + cmd("INCR", "n") + cmd("RESET") + cmd("EXEC") + cmd("GET", "n"))
	c.expect("+OK\r\n+QUEUED\r\n+RESET\r\n-ERR EXEC without MULTI\r\n$-1\r\n")
}

// TestExpiryWithoutWrites: a key ends though nobody writes, by an entry of a read that
// comes late enough.
func TestExpiryWithoutWrites(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f, Options{})
	c := goRedis(t, addr, 3)
	ctx := context.Background()
	if err := c.Set(ctx, "k", "v", 20*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := c.Get(ctx, "k").Result()
		if errors.Is(err, redis.Nil) {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the key is still there: %v", err)
		}
	}
	if n := f.proposed(); n != 2 {
		t.Errorf("%d entries, want the SET and one for the reads", n)
	}
	if n, err := c.DBSize(ctx).Result(); err != nil || n != 0 {
		t.Errorf("DBSIZE %d, %v", n, err)
	}
}
