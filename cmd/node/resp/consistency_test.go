package resp

import (
	"testing"
	"time"

	"github.com/protoraft/protoraft/cluster"
)

// WaitIndex makes the fake tell indexes: how much was applied when it answered.
func (op *fakeOp) WaitIndex() (reply []byte, index uint64, err error) {
	reply, err = op.Wait()
	op.f.mu.Lock()
	defer op.f.mu.Unlock()
	return reply, uint64(op.f.applied), err
}

// TestConsistency: the level is the connection's, for its reads, until it is RESET.
func TestConsistency(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f, Options{})
	c := dial(t, addr)
	within := cluster.Within(2 * time.Second)
	for _, test := range []struct {
		send, reply string
		want        cluster.Consistency
	}{
		{"RAFT.CONSISTENCY", "$12\r\nlinearizable\r\n", cluster.Linearizable},
		{"RAFT.CONSISTENCY lease", "+OK\r\n", cluster.Lease},
		{"raft.consistency MEMBER", "+OK\r\n", cluster.OnMember},
		{"RAFT.CONSISTENCY log", "+OK\r\n", cluster.ThroughLog},
		{"RAFT.CONSISTENCY stale", "+OK\r\n", cluster.Stale},
		{"RAFT.CONSISTENCY", "$5\r\nstale\r\n", cluster.Stale},
		{"RAFT.CONSISTENCY at-least 7", "+OK\r\n", cluster.AtLeast(7)},
		{"RAFT.CONSISTENCY within 2s", "+OK\r\n", within},
		{"RAFT.CONSISTENCY", "$9\r\nwithin 2s\r\n", within},
		{"RAFT.CONSISTENCY fresh", "-ERR consistency \"fresh\" is unknown, expected " + cluster.ConsistencyNames + "\r\n", within},
		{"RAFT.CONSISTENCY at-least", "-ERR consistency at-least \"\", expected an index: a number from 0\r\n", within},
		{"RAFT.CONSISTENCY within 2s now", "-ERR wrong number of arguments for 'raft.consistency' command\r\n", within},
		{"MULTI\r\nRAFT.CONSISTENCY stale\r\nDISCARD", "+OK\r\n-ERR Command not allowed inside a transaction\r\n+OK\r\n", within},
		{"RESET", "+RESET\r\n", cluster.Linearizable},
	} {
		c.send(test.send + "\r\nGET k\r\n")
		c.expect(test.reply + "$-1\r\n")
		if got := f.lastLevel(); got != test.want {
			t.Errorf("%s: read at %v, expected %v", test.send, got, test.want)
		}
	}
	// What is watched is compared with the log.
	c.send("RAFT.CONSISTENCY stale\r\nWATCH k\r\n")
	c.expect("+OK\r\n+OK\r\n")
	if got := f.lastLevel(); got != cluster.Linearizable {
		t.Errorf("WATCH at %v, expected %v", got, cluster.Linearizable)
	}
}

func (f *fake) lastLevel() cluster.Consistency {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.level
}

// TestIndex: what a connection was told last is the token for a read elsewhere.
func TestIndex(t *testing.T) {
	_, addr := serve(t, newFake(), Options{})
	c := dial(t, addr)
	c.send("RAFT.INDEX\r\n")
	c.expect(":0\r\n")
	c.send("SET k v\r\nINCR n\r\nRAFT.INDEX\r\nGET k\r\n") // in one go: it waits for those before it
	c.expect("+OK\r\n:1\r\n:2\r\n$1\r\nv\r\n")
	c.send("MULTI\r\nRAFT.INDEX\r\n")
	c.expect("+OK\r\n-ERR Command not allowed inside a transaction\r\n")
}
