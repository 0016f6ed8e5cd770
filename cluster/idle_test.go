package cluster

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/messages"
)

var (
	idleGroups = flag.Int("cluster.groups", 300, "groups a node of TestIdleGroups")
	idleFor    = flag.Duration("cluster.idle", time.Second, "how long TestIdleGroups watches them idle")
	idleNodes  = flag.Int("cluster.nodes", 3, "nodes of TestIdleGroups, all in this process")
)

// usage is what this process has used so far.
type usage struct {
	heap, stacks uint64
	goroutines   int
	cpu, spent   time.Duration // after and before what measuring takes
	at           time.Time
}

func measure(t testing.TB) usage {
	t.Helper()
	spent := cpuTime(t)
	for range 2 { // what a sync.Pool has outlives the first
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{
		heap: m.HeapAlloc, stacks: m.StackInuse, goroutines: runtime.NumGoroutine(),
		spent: spent, cpu: cpuTime(t), at: time.Now(),
	}
}

// cpuTime is what this process has had, of users and of the system.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// idleBytesMax is the most heap that one more sleeping group may take on a node, with what
// the store and Proto.Actor's registry keep of it. Among 300 it is 10,100 to 10,300 bytes,
// and 11,400 where the pools of goroutines filled up meanwhile; it was 12,500 when a sleeping
// member had a Snapshotter, and the registry a map for everybody. Among 600 it is 9,800.
const idleBytesMax = 12_000

// TestIdleGroups shows what groups cost that nobody uses, in memory and in CPU, and bounds
// the memory: what the last two thirds of them add, so that what comes once is not in it. The
// figures that are published come from -cluster.groups=10000 -cluster.idle=20s -v.
func TestIdleGroups(t *testing.T) {
	onlyRemote(t)
	if *idleNodes > 1 {
		onlyRemote(t)
	}
	var members []Member
	for i := range *idleNodes {
		members = append(members, Member{ID: fmt.Sprintf("n%d", i+1), Address: freeAddress(t)})
	}
	var nodes []*Node
	dir := t.TempDir()
	t.Cleanup(func() { // at once: groups that lose one node after the other elect all the while
		var all sync.WaitGroup
		for _, n := range nodes {
			all.Go(func() { shutDown(t, n) })
		}
		all.Wait()
	})
	for _, m := range members {
		o := Options{
			ID: m.ID, Members: members, DataDir: filepath.Join(dir, m.ID),
			SleepAfter: 2 * time.Second,
			Logger:     hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: io.Discard}), // members keep loggers of their own
		}
		n, err := Start(NewSystem(o.Logger), o)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	before := measure(t)
	third := before
	for first := 1; first <= *idleGroups; first += idleBatch {
		last := min(first+idleBatch-1, *idleGroups)
		for group := first; group <= last; group++ {
			for _, n := range nodes {
				if _, err := n.StartGroup(uint64(group), counter.New(counter.Hooks{})); err != nil {
					t.Fatal(err)
				}
			}
		}
		awaitIdle(t, nodes, first, last)
		if first == 1 {
			awaitAsleep(t, nodes)
			third = measure(t)
		}
	}
	awaitAsleep(t, nodes)
	started := measure(t)
	<-time.After(*idleFor) // idle is what they are to be
	after := measure(t)

	each := float64(*idleGroups * len(nodes))
	t.Logf("%d groups on %d nodes: started in %v", *idleGroups, len(nodes), started.at.Sub(before.at).Round(time.Millisecond))
	t.Logf("memory of one node: %.1f MB heap, %.1f MB stacks: %.0f bytes a group; %d goroutines in all, %d before",
		float64(after.heap-before.heap)/1e6/float64(len(nodes)), float64(after.stacks)/1e6/float64(len(nodes)),
		float64(after.heap-before.heap)/each, after.goroutines, before.goroutines)
	if *idleGroups >= 3*idleBatch {
		more := int64(after.heap-third.heap) / int64((*idleGroups-idleBatch)*len(nodes))
		t.Logf("one more group takes %d bytes of heap on a node", more)
		if more > idleBytesMax && !raceDetector { // which takes room of its own
			t.Errorf("one more sleeping group takes %d bytes of heap on a node, expected at most %d", more, idleBytesMax)
		}
	}
	busy := (after.spent - started.cpu).Seconds() / after.at.Sub(started.at).Seconds() / float64(len(nodes))
	t.Logf("CPU of one node, idle for %v: %.2f %% of a core, %.2f µs a group and second", *idleFor, 100*busy, busy*1e6/float64(*idleGroups))
}

// idleBatch is how many groups begin at a time: while they elect their leaders they are
// anything but idle.
const idleBatch = 100

// awaitIdle waits until each of these groups has a leader that has applied all of its log.
func awaitIdle(t testing.TB, nodes []*Node, first, last int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for group := first; group <= last; group++ {
		for {
			_, err := nodes[group%len(nodes)].Client().Query(ctx, uint64(group), counter.Read(), Linearizable)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("group %d: %v", group, err)
			}
		}
	}
}

// awaitAsleep waits until every member sleeps. To look at one wakes nobody.
func awaitAsleep(t testing.TB, nodes []*Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, n := range nodes {
		for _, pid := range n.client.members() {
			for {
				g, err := ask[*messages.GroupStatus](ctx, n.system, pid, &messages.DescribeGroup{})
				if err != nil {
					t.Fatal(err)
				}
				if g.Asleep {
					break
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					t.Fatalf("still awake: %v", g)
				}
			}
		}
	}
}
