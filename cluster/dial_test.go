package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/fsm/counter"
)

// dial makes a client of the trio that closes with the test.
func (c *trio) dial(change ...func(*ClientOptions)) *Client {
	c.t.Helper()
	onlyRemote(c.t)
	logger := hclog.New(&hclog.LoggerOptions{Name: "client", Level: hclog.Info, Output: testWriter{c.t}})
	o := ClientOptions{Members: c.members, Logger: logger}
	for _, f := range change {
		f(&o)
	}
	client, err := Dial(NewSystem(logger), o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// kill ends a node as SIGKILL would look to the others: its streams break first,
// and nothing is handed over.
func (c *trio) kill(i int) {
	c.t.Helper()
	n := c.nodes[i]
	c.nodes[i] = nil
	if err := n.remote.Stop(false); err != nil {
		c.t.Error(err)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.Shutdown(gone); err != nil {
		c.t.Error(err)
	}
}

func (c *trio) index(id string) int {
	for i, m := range c.members {
		if m.ID == id {
			return i
		}
	}
	c.t.Fatalf("%q is no member", id)
	return -1
}

func (c *trio) leader(client *Client) int {
	c.t.Helper()
	m, err := client.Leader(c.t.Context(), 1)
	if err != nil {
		c.t.Fatal(err)
	}
	if i := c.index(m.ID); c.members[i] == m {
		return i
	}
	c.t.Fatalf("leader %+v, expected one of %+v", m, c.members)
	return -1
}

// tally counts a client's increments by what became of them.
type tally struct{ acked, unknown, notApplied int }

func (c *trio) add(client *Client, sums *tally) {
	c.t.Helper()
	_, err := client.Propose(c.t.Context(), 1, counter.Add(1))
	switch OutcomeOf(err) {
	case Applied:
		sums.acked++
	case Unknown:
		sums.unknown++
	case NotApplied:
		sums.notApplied++
	}
	if err != nil {
		c.t.Logf("after %d acknowledged: %v", sums.acked, err)
	}
}

// addUntil adds until that many were acknowledged.
func (c *trio) addUntil(client *Client, sums *tally, acked int) {
	c.t.Helper()
	for start := time.Now(); sums.acked < acked; {
		c.add(client, sums)
		if time.Since(start) > patience {
			c.t.Fatalf("%+v within %v, expected %d acknowledged", *sums, patience, acked)
		}
	}
}

// check reads the sum at every level that promises it.
func (c *trio) check(client *Client, sums tally) {
	c.t.Helper()
	for _, level := range []Consistency{Linearizable, ThroughLog, Lease, OnMember, Within(0)} {
		answer, err := client.Query(c.t.Context(), 1, counter.Read(), level)
		if err != nil {
			c.t.Fatal(err)
		}
		got, err := counter.Parse(answer)
		if err != nil || got < int64(sums.acked) || got > int64(sums.acked+sums.unknown) {
			c.t.Errorf("level %d: counter is %d (%v) after %+v", level, got, err, sums)
		}
	}
}

func TestDial(t *testing.T) {
	c := newTrio(t)
	for i := range 3 {
		c.start(i, 1)
	}
	client := c.dial()
	leader := c.leader(client)
	st, err := c.nodes[leader].Status(t.Context())
	if err != nil || st.Groups[0].Role != "leader" {
		t.Errorf("%s is named leader and says %+v (%v)", c.members[leader].ID, st.Groups, err)
	}
	// Operations begun one after the other, over one stream, keep their order.
	var calls []*Call
	for range 1000 {
		calls = append(calls, client.StartPropose(1, counter.Add(1)))
	}
	after := client.StartQuery(1, counter.Read(), Linearizable, true)
	for i, call := range calls {
		reply, err := call.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := counter.Parse(reply); err != nil || got != int64(i+1) {
			t.Fatalf("add %d answered %d (%v)", i+1, got, err)
		}
	}
	if answer, err := after.Wait(); err != nil {
		t.Error(err)
	} else if got, err := counter.Parse(answer); err != nil || got != 1000 {
		t.Errorf("query after 1000 adds: %d (%v)", got, err)
	}
	if _, err := client.Query(t.Context(), 1, counter.Read(), Stale); err != nil {
		t.Error(err)
	}
	c.check(client, tally{acked: 1000})
}

func TestDialLimits(t *testing.T) {
	c := newTrio(t)
	for i := range 3 {
		c.start(i, 1)
	}
	client := c.dial()
	c.leader(client)

	// Large commands at once are more than one message takes. On a machine under load
	// they may cost a leader its office.
	err := largeAtOnce(client)
	for attempt := 0; attempt < 3 && OutcomeOf(err) == Unknown; attempt++ {
		err = largeAtOnce(client)
	}
	if err != nil {
		t.Error(err)
	}
	_, err = client.Propose(t.Context(), 1, make([]byte, MaxCommandBytes+1))
	if !errors.Is(err, ErrTooLarge) || OutcomeOf(err) != NotApplied {
		t.Errorf("command above the limit: %v", err)
	}
	_, err = client.Query(t.Context(), 1, []byte("what?"), Linearizable)
	var e *Error
	if !errors.As(err, &e) || e.Reason != ErrRefused || !strings.Contains(e.Detail, "a query of 5 bytes") {
		t.Errorf("query the machine refuses: %v", err)
	}
	brief := c.dial(func(o *ClientOptions) { o.RequestTimeout = 300 * time.Millisecond })
	_, err = brief.Propose(t.Context(), 99, counter.Add(1))
	if !errors.Is(err, ErrNoLeader) || OutcomeOf(err) != NotApplied {
		t.Errorf("group that is nowhere: %v", err)
	}
	if g := guardTotal(c); g != 0 {
		t.Errorf("the guards refused %d messages of a client's ordinary traffic", g)
	}
}

func largeAtOnce(client *Client) (last error) {
	var calls []*Call
	for range 4 {
		calls = append(calls, client.StartPropose(1, bytes.Repeat([]byte{0xff}, MaxCommandBytes)))
	}
	for _, call := range calls {
		if _, err := call.Wait(); err != nil {
			last = err
		}
	}
	return last
}

// guardTotal is what the nodes' guards kept out, but for what came too early.
func guardTotal(c *trio) (n uint64) {
	for _, node := range c.nodes {
		s := node.Guard()
		n += s.Unary + s.Identity + s.Protocol + s.Hello + s.Streams + s.Type + s.Target + s.Sender + s.Envelope + s.Size + s.Payload + s.Panics + s.Unsent
	}
	return n
}

// TestDialFirst begins operations while no node is there.
func TestDialFirst(t *testing.T) {
	c := newTrio(t)
	client := c.dial(func(o *ClientOptions) { o.RequestTimeout = patience })
	write := client.StartPropose(1, counter.Add(3))
	read := client.StartQuery(1, counter.Read(), Linearizable, true)
	named := make(chan error, 1)
	go func() {
		_, err := client.Leader(t.Context(), 1)
		named <- err
	}()
	for i := range 3 {
		c.start(i, 1)
	}
	if _, err := write.Wait(); err != nil {
		t.Errorf("command begun before the nodes: %v", err)
	}
	answer, err := read.Wait()
	if err != nil {
		t.Fatalf("query begun before the nodes: %v", err)
	}
	if got, err := counter.Parse(answer); err != nil || got != 3 {
		t.Errorf("counter is %d (%v), expected 3", got, err)
	}
	if err := <-named; err != nil {
		t.Errorf("leader asked for before the nodes: %v", err)
	}
}

// TestDialLeaderKilled kills leader after leader under a client that adds.
func TestDialLeaderKilled(t *testing.T) {
	for _, timeout := range []time.Duration{defaultRequestTimeout, 400 * time.Millisecond} {
		t.Run(timeout.String(), func(t *testing.T) {
			c := newTrio(t)
			for i := range 3 {
				c.start(i, 1)
			}
			client := c.dial(func(o *ClientOptions) { o.RequestTimeout = timeout })
			var sums tally
			for round := range 2 {
				c.addUntil(client, &sums, sums.acked+50)
				i := c.leader(client)
				killed := time.Now()
				c.kill(i)
				c.addUntil(client, &sums, sums.acked+1)
				t.Logf("round %d: %s killed, next acknowledgement after %v", round, c.members[i].ID, time.Since(killed).Round(time.Millisecond))
				c.start(i, 1)
			}
			if sums.unknown > 2 {
				t.Errorf("%+v: expected at most the one in flight at each kill unknown", sums)
			}
			c.check(client, sums)
		})
	}
}

// TestDialManyUnderKill has a leader killed with hundreds of operations in flight:
// each gets an outcome, and the sum agrees with them.
func TestDialManyUnderKill(t *testing.T) {
	c := newTrio(t)
	for i := range 3 {
		c.start(i, 1)
	}
	client := c.dial()
	leader := c.leader(client)
	var sums tally
	var mu sync.Mutex
	var wg sync.WaitGroup
	half := make(chan struct{})
	for range 64 {
		wg.Go(func() {
			for range 100 {
				_, err := client.Propose(t.Context(), 1, counter.Add(1))
				mu.Lock()
				switch OutcomeOf(err) {
				case Applied:
					sums.acked++
				case Unknown:
					sums.unknown++
				case NotApplied:
					sums.notApplied++
				}
				if sums.acked+sums.unknown+sums.notApplied == 3200 {
					close(half)
				}
				mu.Unlock()
			}
		})
	}
	<-half
	c.kill(leader)
	wg.Wait()
	t.Logf("%+v", sums)
	if sums.unknown > 64 || sums.notApplied > 0 {
		t.Errorf("%+v: expected at most the 64 in flight unknown, and none refused", sums)
	}
	c.check(client, sums)
}

// TestDialRollingRestart shuts each node down in good order: a client sees nothing
// of it but a pause.
func TestDialRollingRestart(t *testing.T) {
	c := newTrio(t)
	for i := range 3 {
		c.start(i, 1)
	}
	client := c.dial()
	var sums tally
	for range 3 {
		c.addUntil(client, &sums, sums.acked+20)
		i := c.leader(client)
		down := make(chan struct{})
		go func() {
			defer close(down)
			c.stop(i)
		}()
		for stopping := true; stopping; {
			select {
			case <-down:
				stopping = false
			default:
				c.add(client, &sums)
			}
		}
		c.addUntil(client, &sums, sums.acked+1)
		c.start(i, 1)
	}
	// One may be lost to an election that the load of the machine brought about.
	if sums.unknown > 1 || sums.notApplied > 0 {
		t.Errorf("%+v: expected every addition acknowledged", sums)
	}
	c.check(client, sums)
}

// TestDialNoLeader asks the one node of three that runs.
func TestDialNoLeader(t *testing.T) {
	c := newTrio(t)
	c.start(0, 1)
	client := c.dial(func(o *ClientOptions) { o.RequestTimeout = 300 * time.Millisecond })
	for _, asked := range []*Client{client, c.nodes[0].Client()} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if m, err := asked.Leader(ctx, 1); OutcomeOf(err) != NotApplied {
			t.Errorf("leader %+v (%v), expected none known", m, err)
		}
		cancel()
	}
	if _, err := c.nodes[0].Client().Leader(t.Context(), 99); !errors.Is(err, ErrNoGroup) {
		t.Errorf("leader of a group the node is not in: %v", err)
	}
	_, err := client.Query(t.Context(), 1, counter.Read(), Linearizable)
	if !errors.Is(err, ErrNoLeader) || strings.Contains(err.Error(), "n1 at") || !strings.Contains(err.Error(), "n2 at") {
		t.Errorf("got %v, expected that no leader is known and that n2 and n3, and only they, cannot be reached", err)
	}
}

// TestDialUnreachable wants the reason told when nobody answers.
func TestDialUnreachable(t *testing.T) {
	for _, k := range []struct {
		name   string
		nodes  int
		change func(*ClientOptions)
		detail []string
	}{
		{"nobody there", 0, func(*ClientOptions) {}, []string{"n1 at 127.0.0.1:", "n2 at", "n3 at", "no connection"}},
		{"another list", 3, func(o *ClientOptions) { o.Members = o.Members[:2] }, []string{"n1 at", "n2 at", "wrong cluster"}},
		{"ids exchanged", 3, func(o *ClientOptions) {
			o.ClusterID = deriveClusterID(o.Members)
			m := append([]Member(nil), o.Members...)
			m[0].ID, m[1].ID, m[2].ID = "n2", "n3", "n1"
			o.Members = m
		}, []string{"wrong node", "looks for node \"n2\""}},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := newTrio(t)
			for i := range k.nodes {
				c.start(i, 1)
			}
			client := c.dial(k.change, func(o *ClientOptions) { o.RequestTimeout = 700 * time.Millisecond })
			_, err := client.Propose(t.Context(), 1, counter.Add(1))
			if !errors.Is(err, ErrNoLeader) || OutcomeOf(err) != NotApplied {
				t.Fatalf("got %v, expected that no leader is known", err)
			}
			for _, want := range k.detail {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not mention %q", err, want)
				}
			}
		})
	}
}

func TestDialClose(t *testing.T) {
	c := newTrio(t)
	client := c.dial(func(o *ClientOptions) { o.RequestTimeout, o.NoSessions = patience, true })
	write := client.StartPropose(1, counter.Add(1))
	read := client.StartQuery(1, counter.Read(), Linearizable, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Leader(ctx, 1); !errors.Is(err, ErrTimeout) {
		t.Errorf("Leader with a context that has ended: %v", err)
	}
	client.Close()
	client.Close()
	if _, err := write.Wait(); !errors.Is(err, ErrStopped) || OutcomeOf(err) != Unknown {
		t.Errorf("command under way at Close: %v, expected it unknown, stopped", err)
	}
	if _, err := read.Wait(); !errors.Is(err, ErrStopped) || OutcomeOf(err) != NotApplied {
		t.Errorf("query under way at Close: %v, expected it not applied, stopped", err)
	}
	if _, err := client.Propose(t.Context(), 1, counter.Add(1)); !errors.Is(err, ErrStopped) || OutcomeOf(err) != NotApplied {
		t.Errorf("command after Close: %v, expected it not applied, stopped", err)
	}
}

func TestDialOptions(t *testing.T) {
	two := []Member{{ID: "n1", Address: freeAddress(t)}, {ID: "n2", Address: freeAddress(t)}}
	for _, k := range []struct {
		name string
		o    ClientOptions
		want string
	}{
		{"no members", ClientOptions{}, "no members"},
		{"an address twice", ClientOptions{Members: []Member{two[0], {ID: "n2", Address: two[0].Address}}}, "same address"},
		{"no port", ClientOptions{Members: []Member{{ID: "n1", Address: "127.0.0.1"}}}, "expected host:port"},
		{"a member's address", ClientOptions{Members: two, Listen: two[0].Address}, "belongs to both"},
		{"beyond loopback", ClientOptions{Members: two, Listen: "0.0.0.0:0"}, "without TLS"},
		{"negative timeout", ClientOptions{Members: two, RequestTimeout: -1}, "RequestTimeout"},
	} {
		t.Run(k.name, func(t *testing.T) {
			client, err := Dial(NewSystem(nil), k.o)
			if err == nil {
				client.Close()
				t.Fatal("accepted")
			}
			if !strings.Contains(fmt.Sprint(err), k.want) {
				t.Errorf("error %q does not mention %q", err, k.want)
			}
		})
	}
}
