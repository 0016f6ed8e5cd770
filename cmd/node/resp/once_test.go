package resp

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/cluster"
)

func TestOnce(t *testing.T) {
	_, addr := serve(t, newFake(), Options{})
	c := goRedis(t, addr, 3)
	ctx := context.Background()
	for _, k := range []struct {
		command string
		want    string
	}{
		{"raft.once me 1 incr n", "1"},
		{"RAFT.ONCE me 1 incr n", "1"},
		{"raft.once me 2 incrby n 5", "6"},
		{"raft.once me 1 incr n", "1"},
		{"raft.once you 1 get n", "6"},
		{"raft.once me 3 set n 9", "OK"},
		{"raft.once you 1 get n", "6"}, // as it was answered first
		{"get n", "9"},
		{"raft.once me 0 incr n", errOnceSequence},
		{"raft.once me -1 incr n", errOnceSequence},
		{"raft.once me x incr n", errOnceSequence},
		{"raft.once me 4 ping", errOnceCommand},
		{"raft.once me 4 raft.once me 5 incr n", errOnceCommand},
		{"raft.once me 4 incr", "ERR wrong number of arguments for 'incr' command"},
		{"raft.once me 4", "ERR wrong number of arguments for 'raft.once' command"},
		{"raft.once me 4 incrby n x", errNotInteger},
		{"raft.once " + strings.Repeat("n", cluster.MaxSessionIDBytes+1) + " 1 incr n", errOnceID + fmt.Sprint(cluster.MaxSessionIDBytes) + " bytes"},
	} {
		var args []any
		for _, word := range strings.Fields(k.command) {
			args = append(args, word)
		}
		got, err := c.Do(ctx, args...).Result()
		if err != nil {
			got = err.Error()
		}
		if fmt.Sprint(got) != k.want {
			t.Errorf("%s: %v, expected %s", k.command, got, k.want)
		}
	}
}

// A client that sees an expired session must not send the command again.
func TestExpiredSessionIsNamed(t *testing.T) {
	text := failureText(&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrSessionExpired}, false)
	if !strings.HasPrefix(text, "SESSIONEXPIRED ") {
		t.Fatal(text)
	}
}
