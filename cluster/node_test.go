package cluster

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/messages"
)

// alone is the options of a cluster of one.
func alone(t *testing.T, dir, address string) Options {
	return Options{
		ID: "n1", Members: []Member{{ID: "n1", Address: address}}, DataDir: dir,
		ElectionTimeout: 60 * time.Millisecond, HeartbeatInterval: 20 * time.Millisecond,
		Logger: testLogger(t),
	}
}

func startAlone(t *testing.T, o Options) *Node {
	t.Helper()
	onlyRemote(t)
	n, err := Start(NewSystem(hclog.NewNullLogger()), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutDown(t, n) })
	return n
}

func shutDown(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func add(t *testing.T, n *Node, group uint64, delta int64) int64 {
	t.Helper()
	var refused *Error
	reply, err := n.Client().Propose(t.Context(), group, counter.Add(delta))
	for end := time.Now().Add(patience); errors.As(err, &refused) && refused.Outcome == NotApplied && time.Now().Before(end); {
		reply, err = n.Client().Propose(t.Context(), group, counter.Add(delta)) // on a busy machine elections take a while
	}
	if err != nil {
		t.Fatal(err)
	}
	sum, err := counter.Parse(reply)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestRestartKeepsData: starting again with the same options continues the log, and
// does not begin another.
func TestRestartKeepsData(t *testing.T) {
	o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
	for round := int64(1); round <= 3; round++ {
		n := startAlone(t, o)
		if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
			t.Fatal(err)
		}
		if got := add(t, n, 1, 5); got != 5*round {
			t.Errorf("round %d: sum %d, expected %d", round, got, 5*round)
		}
		shutDown(t, n)
	}
}

// TestAskedTooLate: who asks when its time is over is told so, and does not wait.
func TestAskedTooLate(t *testing.T) {
	n := startAlone(t, alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t)))
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := n.Status(late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("status asked too late: %v, expected %v", err, context.DeadlineExceeded)
	}
}

// TestAskedForLong: how long an actor is waited for is the caller's to say, also when
// that is longer than is usual.
func TestAskedForLong(t *testing.T) {
	long, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if got := askLimit(long); got > time.Hour || got < time.Hour-time.Minute {
		t.Errorf("%v for a context of an hour", got)
	}
	if got := askLimit(t.Context()); got != askTimeout {
		t.Errorf("%v for a context without a deadline, expected %v", got, askTimeout)
	}

	system := NewSystem(nil)
	t.Cleanup(system.Shutdown)
	deaf := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, asked := ctx.Message().(*messages.DescribeGroup); asked {
			cancel()
		}
	}))
	if _, err := ask[any](long, system, deaf, &messages.DescribeGroup{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, expected %v", err, context.Canceled)
	}
}

// TestLeaderDoesNotStand: who leads has no election to stand for.
func TestLeaderDoesNotStand(t *testing.T) {
	n := startAlone(t, alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t)))
	if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	add(t, n, 1, 5)
	if err := n.StandForElection(t.Context(), 1); !errors.Is(err, ErrNotStanding) {
		t.Errorf("%v, expected %v", err, ErrNotStanding)
	}
}

// TestDirectoryIsRefused: nothing of a node is left behind by a start that fails.
func TestDirectoryIsRefused(t *testing.T) {
	dir, address := filepath.Join(t.TempDir(), "data"), freeAddress(t)
	n := startAlone(t, alone(t, dir, address))
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   error
	}{
		{"in use", func(*Options) {}, ErrDataDirLocked},
		{"another cluster", func(o *Options) { o.ClusterID = "other" }, ErrDataDirOfCluster},
		{"another node", func(o *Options) {
			o.ID, o.Members, o.ClusterID = "n2", []Member{{ID: "n2", Address: freeAddress(t)}}, n.ClusterID()
		}, ErrDataDirOfNode},
	} {
		o := alone(t, dir, address)
		c.change(&o)
		if _, err := Start(NewSystem(hclog.NewNullLogger()), o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, expected %v", c.name, err, c.want)
		}
	}
}

// TestLostLogIsRefused: an empty log in the place of the one a node had would let it
// vote twice.
func TestLostLogIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	o := alone(t, dir, freeAddress(t))
	shutDown(t, startAlone(t, o))
	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(NewSystem(hclog.NewNullLogger()), o); !errors.Is(err, ErrDataDirLogLost) {
		t.Errorf("%v, expected %v", err, ErrDataDirLogLost)
	}
}

// TestFirstStartThatWasCutOff: what a start leaves that ended before the identity was
// written belongs to nobody.
func TestFirstStartThatWasCutOff(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	startAlone(t, alone(t, dir, freeAddress(t)))
}

// TestStartThatEndsWithoutAClient: what was started before is stopped again.
func TestStartThatEndsWithoutAClient(t *testing.T) {
	n := startAlone(t, alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t)))
	n.client.Close()
	n.client = nil
	if err := n.close(false); err != nil {
		t.Error(err)
	}
	n.stopOnce.Do(func() {}) // nothing is left for the clean-up
}

func TestPortInUseIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := Start(NewSystem(hclog.NewNullLogger()), alone(t, dir, l.Addr().String())); !errors.Is(err, ErrPortInUse) {
		t.Fatalf("%v, expected %v", err, ErrPortInUse)
	}
	l.Close()
	startAlone(t, alone(t, dir, l.Addr().String())) // the failed start has let go of the directory
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{ID: "a", Members: []Member{{ID: "a", Address: "127.0.0.1:1"}, {ID: "b", Address: "127.0.0.1:2"}}, DataDir: "d"}
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.ID = "" }, "Options.ID is empty"},
		{func(o *Options) { o.ID = "c" }, `Options.ID "c" is not among the members a=127.0.0.1:1,b=127.0.0.1:2`},
		{func(o *Options) { o.Members = nil }, "no members"},
		{func(o *Options) {
			o.Members = []Member{{ID: "a", Address: "127.0.0.1:1"}, {ID: "a", Address: "127.0.0.1:2"}}
		}, `"a" appears twice`},
		{func(o *Options) {
			o.Members = []Member{{ID: "a", Address: "127.0.0.1:1"}, {ID: "b", Address: "127.0.0.1:1"}}
		}, "the same address"},
		{func(o *Options) { o.Members = []Member{{ID: "a", Address: "nowhere"}} }, "expected host:port"},
		{func(o *Options) { o.Members = []Member{{ID: "a b", Address: "127.0.0.1:1"}} }, "expected a name"},
		{func(o *Options) { o.DataDir = "" }, "Options.DataDir is empty"},
		{func(o *Options) { o.ElectionTimeout = -1 }, "Options.ElectionTimeout -1ns"},
		{func(o *Options) { o.HeartbeatInterval = time.Second }, "at least three heartbeats"},
		{func(o *Options) { o.RequestTimeout = -1 }, "Options.RequestTimeout -1ns"},
	} {
		o := good
		c.change(&o)
		if err := o.fill(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, expected it to say %q", err, c.want)
		}
	}
	if err := good.fill(); err != nil {
		t.Errorf("good options refused: %v", err)
	}
}

// TestMemberIsAnActor: a member is spawned by its user and answers messages to its
// PID, and a second one of its group on a node stops at once.
func TestMemberIsAnActor(t *testing.T) {
	n := startAlone(t, alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t)))
	props, err := n.Props(7, counter.New(counter.Hooks{}))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := n.System().Root.SpawnNamed(props, "my-counter")
	if err != nil {
		t.Fatal(err)
	}
	propose := &messages.Propose{Group: 7, Request: 42, Command: counter.Add(3)}
	results, err := ask[*messages.Results](t.Context(), n.System(), pid, propose)
	if err != nil {
		t.Fatal(err)
	}
	if len(results.Items) != 1 || results.Items[0].Request != 42 || results.Items[0].Outcome != messages.Outcome_APPLIED {
		t.Fatalf("results %+v, expected request 42 applied", results)
	}

	failed := make(chan *actors.MemberFailed, 1)
	n.System().EventStream.Subscribe(func(e any) {
		if m, ok := e.(*actors.MemberFailed); ok {
			failed <- m
		}
	})
	again, err := n.Props(7, counter.New(counter.Hooks{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.System().Root.SpawnNamed(again, "my-second"); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-failed:
		if m.Group != 7 || !strings.Contains(m.Reason, "my-counter") {
			t.Errorf("%+v, expected group 7 to name my-counter", m)
		}
	case <-time.After(patience):
		t.Fatal("the second member was not refused")
	}
	if got := add(t, n, 7, 1); got != 4 {
		t.Errorf("sum %d, expected 4: the first member must go on", got)
	}
}

// bomb fails at the command that says so.
type bomb struct{ *counter.Machine }

func (b bomb) Apply(e fsm.Entry) ([]byte, error) {
	switch string(e.Data) {
	case "panic":
		panic("told to")
	case "error":
		return nil, errors.New("told to")
	}
	return b.Machine.Apply(e)
}

// TestFailingMachineStopsItsGroupOnly: the entry is not skipped, its proposer is
// told that the outcome is unknown, others that the member has stopped, and the
// other group on the same log goes on.
func TestFailingMachineStopsItsGroupOnly(t *testing.T) {
	n := startAlone(t, alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t)))
	how := map[uint64]string{1: "panic", 2: "error"}
	for group := range how {
		if _, err := n.StartGroup(group, bomb{counter.New(counter.Hooks{})}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.StartGroup(3, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	for group, command := range how {
		add(t, n, group, 1)
		_, err := n.Client().Propose(t.Context(), group, []byte(command))
		if OutcomeOf(err) != Unknown || !errors.Is(err, ErrStopped) {
			t.Errorf("%s: %v, expected unknown, stopped", command, err)
		}
		_, err = n.Client().Propose(t.Context(), group, counter.Add(1))
		if OutcomeOf(err) != NotApplied || !errors.Is(err, ErrStopped) {
			t.Errorf("after %s: %v, expected not applied, stopped", command, err)
		}
	}
	if got := add(t, n, 3, 9); got != 9 {
		t.Errorf("group 3: %d, expected 9", got)
	}
	status, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range status.Groups {
		if wantFailed := g.Group != 3; (g.Role == "failed") != wantFailed || (g.Failure != "") != wantFailed {
			t.Errorf("group %d: role %s, failure %q", g.Group, g.Role, g.Failure)
		}
	}
}

// TestClientErrors: bad input is refused before it costs anything.
func TestClientErrors(t *testing.T) {
	n := startAlone(t, alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t)))
	if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	add(t, n, 1, 1)
	_, err := n.Client().Propose(t.Context(), 1, make([]byte, MaxCommandBytes+1))
	if OutcomeOf(err) != NotApplied || !errors.Is(err, ErrTooLarge) {
		t.Errorf("large command: %v", err)
	}
	_, err = n.Client().Propose(t.Context(), 99, counter.Add(1))
	if OutcomeOf(err) != NotApplied || !errors.Is(err, ErrNoGroup) {
		t.Errorf("no such group: %v", err)
	}
	_, err = n.Client().Query(t.Context(), 1, []byte("nonsense"), Linearizable)
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrRefused) || !strings.Contains(e.Detail, "expected none") {
		t.Errorf("refused query: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = n.Client().Query(ctx, 1, counter.Read(), Linearizable); err != nil && OutcomeOf(err) != NotApplied {
		t.Errorf("cancelled query: %v", err)
	}
	if _, err := n.Props(0, counter.New(counter.Hooks{})); err == nil {
		t.Error("group 0 was accepted")
	}
	if err := n.TransferLeadership(t.Context(), 1, ""); err == nil || !strings.Contains(err.Error(), "no other voter") {
		t.Errorf("transfer in a group of one: %v", err)
	}
}
