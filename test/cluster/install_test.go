package cluster

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	bytesFlag    = flag.Int("cluster.bytes", 24<<20, "how many bytes behind a follower is that is sent a snapshot")
	rateFlag     = flag.String("cluster.rate", "16MiB", "how much of a snapshot is sent in a second, as --transfer-rate has it")
	installsFlag = flag.Int("cluster.installs", 2, "how often the sending of a snapshot is cut short by a kill")
)

const (
	bulkValueBytes = 64 << 10
	paceClients    = 8
)

// bulk writes so many bytes, in values that are all kept, through a node.
func bulk(t testing.TB, n *node, prefix string, bytes int) {
	t.Helper()
	s := &respSession{address: n.resp, timeout: patience}
	defer s.close()
	r := rand.New(rand.NewPCG(1, uint64(bytes)))
	value := make([]byte, bulkValueBytes)
	const batch = 16
	for i := 0; i < bytes/bulkValueBytes; i += batch {
		var commands [][]string
		for k := range batch {
			for j := range value {
				value[j] = 'a' + byte(r.Uint32N(26))
			}
			commands = append(commands, []string{"SET", fmt.Sprintf("%s-%d", prefix, i+k), string(value)})
		}
		if err := s.pipeline(commands); err != nil {
			t.Fatalf("writing %s: %v", prefix, err)
		}
	}
}

// pace is clients that write small values all the time, and how long each took.
type pace struct {
	stop    atomic.Bool
	clients sync.WaitGroup
	mu      sync.Mutex
	times   []time.Duration
}

func startPace(t testing.TB, n *node) *pace {
	p := &pace{}
	for c := range paceClients {
		p.clients.Go(func() {
			s := &respSession{address: n.resp, timeout: patience}
			defer s.close()
			for i := 0; !p.stop.Load(); i++ {
				begin := time.Now()
				if _, err := s.call("SET", fmt.Sprintf("pace-%d-%d", c, i%1000), "small"); err != nil {
					t.Errorf("write %d of client %d: %v", i, c, err)
					return
				}
				p.mu.Lock()
				p.times = append(p.times, time.Since(begin))
				p.mu.Unlock()
			}
		})
	}
	return p
}

// taken returns the times since it was last asked.
func (p *pace) taken() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	times := p.times
	p.times = nil
	return times
}

func (p *pace) end() {
	p.stop.Store(true)
	p.clients.Wait()
}

// tellsOf is what a leader says of another node.
func (n *node) tellsOf(of *node) peerStatus {
	s, err := n.status()
	if err != nil {
		return peerStatus{}
	}
	i := slices.IndexFunc(s.Peers, func(p peerStatus) bool { return p.Node == of.id })
	if i < 0 {
		return peerStatus{}
	}
	return s.Peers[i]
}

// leaveBehind has a node miss so much that its leader's log no longer has it.
func (e *ensemble) leaveBehind(lags *node, bytes int) {
	e.t.Helper()
	had, err := lags.status()
	if err != nil {
		e.t.Fatal(err)
	}
	lags.kill()
	leader := e.leader(lags)
	bulk(e.t, leader, "bulk", bytes)
	for _, n := range e.others(lags) { // whoever will lead
		reply, err := http.Post("http://"+n.http+"/v1/admin/snapshot", "application/json", nil)
		if err != nil {
			e.t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != http.StatusOK {
			e.t.Fatalf("snapshot of %s: %s", n.id, reply.Status)
		}
		await(e.t, "the log of "+n.id+" is cut beyond what "+lags.id+" has", func() bool {
			s, err := n.status()
			return err == nil && s.FirstIndex > had.LastIndex+1
		})
	}
}

// TestInstall: a follower that has missed more than the leader's log holds is sent a
// snapshot, while clients write, and nobody stands for election. How long the writes take
// meanwhile is told, not judged.
func TestInstall(t *testing.T) {
	e := startEnsemble(t, 3, electionTimeout(), "--snapshot-entries", "0", "--snapshot-bytes", "0", "--keep-entries", "10", "--transfer-rate", *rateFlag)
	leader := e.leader()
	lags := e.others(leader)[0]
	e.leaveBehind(lags, *bytesFlag)
	before, err := leader.status()
	if err != nil {
		t.Fatal(err)
	}
	p := startPace(t, leader)
	defer p.end()
	const enough = 4000
	await(t, "writes to compare with", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.times) >= enough })
	usual := p.taken()
	begin := time.Now()
	lags.start()
	e.awaitCaughtUp(lags)
	took := time.Since(begin)
	during := p.taken()
	p.end()
	after, err := leader.status()
	if err != nil {
		t.Fatal(err)
	}
	if after.Role != "leader" || after.Term != before.Term {
		t.Errorf("%s led in term %d, and is %s in term %d when %s has caught up: somebody stood for election", leader.id, before.Term, after.Role, after.Term, lags.id)
	}
	if s, err := lags.status(); err != nil || s.SnapshotIndex == 0 {
		t.Errorf("%s has caught up without a snapshot (%v)", lags.id, err)
	}
	t.Logf("%s caught up %d MiB in %v", lags.id, *bytesFlag>>20, took.Round(time.Millisecond))
	summary(t, "writes before", usual)
	summary(t, "writes during", during)
	e.awaitEqual()
}

// TestInstallCutShort kills who receives a snapshot and who sends it in its midst, in
// turn. What was received is not sent again by the same leader.
func TestInstallCutShort(t *testing.T) {
	e := startEnsemble(t, 3, electionTimeout(), "--snapshot-entries", "0", "--snapshot-bytes", "0", "--keep-entries", "10",
		"--transfer-rate", fmt.Sprint(*bytesFlag/4))
	lags := e.others(e.leader())[0]
	e.leaveBehind(lags, *bytesFlag)
	lags.start()
	for round := range *installsFlag {
		var leader *node
		var at peerStatus
		await(t, lags.id+" is sent a snapshot", func() bool {
			leader = e.leader(lags)
			at = leader.tellsOf(lags)
			return at.State == "snapshot" && at.SnapshotSent > at.SnapshotSize/8
		})
		victim := lags
		if round%2 == 1 {
			victim = leader
		}
		victim.kill()
		t.Logf("round %d: %s killed, %d of %d bytes were sent", round+1, victim.id, at.SnapshotSent, at.SnapshotSize)
		if victim == leader {
			e.leader(lags, leader)
		}
		victim.start()
		if victim != lags {
			await(t, victim.id+" ready", victim.ready)
			continue
		}
		await(t, lags.id+" goes on receiving", func() bool {
			now := leader.tellsOf(lags)
			return now.State == "snapshot" && now.SnapshotSent > 0
		})
		if now := leader.tellsOf(lags); now.SnapshotSize == at.SnapshotSize && now.SnapshotSent < at.SnapshotSent/2 {
			t.Errorf("%s had %d bytes of %d, and begins again at %d", lags.id, at.SnapshotSent, at.SnapshotSize, now.SnapshotSent)
		}
	}
	e.awaitCaughtUp(lags)
	e.awaitEqual()
	var keys []string
	for i := range *bytesFlag / bulkValueBytes {
		keys = append(keys, fmt.Sprint("bulk-", i))
	}
	e.compare(keys)
}
