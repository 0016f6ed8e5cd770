package cluster

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"github.com/protoraft/protoraft/test/linearizability"
)

// TestFreezeLeader stops the leader's process until another leads and has changed
// what it knew, and lets it go on with reads of every level waiting at its door: by its
// lease too, which has ended meanwhile.
func TestFreezeLeader(t *testing.T) {
	e := startEnsemble(t, 3, electionTimeout())
	l := startLoad(t, e.nodes, e.election) // clients of the frozen node soon go to another
	for round := range min(*killsFlag, 3) {
		l.awaitAcks(betweenFaults)
		old := e.leader()
		keys := make([]string, 8)
		for i := range keys {
			keys[i] = fmt.Sprintf("frozen-%d-%d", round, i)
			l.put(old, keys[i], "before")
		}
		old.freeze()
		next := e.leader(old)
		for _, key := range keys {
			l.put(next, key, "after")
		}
		answered, freshly := l.readThrough(old, keys), l.readFreshly(old, keys)
		l.awaitAcks(betweenFaults)
		thawed := time.Now()
		old.thaw()
		answered.Wait()
		freshly.Wait()
		e.awaitCaughtUp(old)
		t.Logf("freeze %d: %s, then %s led; caught up %v after the thaw", round+1, old.id, next.id, time.Since(thawed).Round(time.Millisecond))
	}
	l.verify(e)
}

// put writes a key on a node until that is acknowledged.
func (l *load) put(n *node, key, value string) {
	l.t.Helper()
	client, s := l.history.Client(), &respSession{address: n.resp}
	defer s.close()
	op := linearizability.Operation{Kind: linearizability.Put, Key: key, Value: value}
	await(l.t, "write of "+key+" on "+n.id, func() bool { return l.run(client, s, op, nil) == nil })
}

// fresh are the levels of reading that promise to see what was acknowledged before.
var fresh = []string{"linearizable", "lease", "member", "log"}

// readFreshly sends reads of every level that promises to see what was acknowledged
// before, over HTTP; otherwise as readThrough does.
func (l *load) readFreshly(n *node, keys []string) *sync.WaitGroup {
	l.t.Helper()
	var sent, answered sync.WaitGroup
	for _, key := range keys {
		for _, level := range fresh {
			sent.Add(1)
			written := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				WroteRequest: func(httptrace.WroteRequestInfo) { sent.Done() },
			})
			request, err := http.NewRequestWithContext(written, http.MethodGet, "http://"+n.http+"/v1/kv/"+key+"?consistency="+level, nil)
			if err != nil {
				l.t.Fatal(err)
			}
			answered.Go(func() {
				client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
				code, body, err := fetch(client, request)
				switch {
				case err != nil:
					l.t.Errorf("%s read of %s at frozen %s: %v", level, key, n.id, err)
				case code == http.StatusOK && string(body) != "after", code == http.StatusNotFound:
					l.t.Errorf("stale read: %s, thawed, answers %q for %s at level %s, expected \"after\"", n.id, body, key, level)
				}
			})
		}
	}
	sent.Wait()
	return &answered
}

// readThrough sends reads to a frozen node, and returns when they have been sent.
// They are answered, or refused, once it is thawed.
func (l *load) readThrough(n *node, keys []string) *sync.WaitGroup {
	l.t.Helper()
	var sent, answered sync.WaitGroup
	for _, key := range keys {
		client, s := l.history.Client(), &respSession{address: n.resp}
		op := linearizability.Operation{Kind: linearizability.Get, Key: key}
		sent.Add(1)
		answered.Add(1)
		l.clients.Go(func() {
			defer answered.Done()
			defer s.close()
			result := client.Do(op, func() (result linearizability.Result) {
				err := s.send(commandOf(op))
				sent.Done()
				if err != nil {
					l.t.Errorf("read of %s to frozen %s: %v", key, n.id, err)
					return result
				}
				v, err := s.receive()
				result, _ = resultOf(v, err)
				return result
			})
			if result.Outcome == linearizability.Applied && result.Text != "after" {
				l.t.Errorf("stale read: %s, thawed, answers %q for %s, expected \"after\"", n.id, result.Text, key)
			}
		})
	}
	sent.Wait()
	return &answered
}

// TestFreezeFollower stops a follower's process: the clients of the others must
// not notice.
func TestFreezeFollower(t *testing.T) {
	e := startEnsemble(t, 3, time.Second)
	leader := e.leader()
	frozen := e.others(leader)[0]
	l := startLoad(t, e.others(frozen), clientTimeout)
	before, err := leader.status()
	if err != nil {
		t.Fatal(err)
	}
	const writes = 500
	l.awaitAcks(writes)
	begin := l.history.Now()
	frozen.freeze()
	l.awaitAcks(writes)
	end := l.history.Now()
	frozen.thaw()
	after, err := leader.status()
	if err != nil {
		t.Fatal(err)
	}
	back := e.awaitCaughtUp(frozen)
	report := l.verify(e)
	if after.Term != before.Term || after.Role != "leader" {
		t.Errorf("%s was %s of term %d and is %s of term %d: a frozen follower deposed the leader",
			leader.id, before.Role, before.Term, after.Role, after.Term)
	}
	if report.Unknown > 0 || report.NotApplied > 0 {
		t.Errorf("%d writes of unknown outcome and %d refused operations, expected none", report.Unknown, report.NotApplied)
	}
	usual := summary(t, "writes before", l.latencies(0, begin))
	with := summary(t, "writes with a frozen follower", l.latencies(begin, end))
	if limit := 3*usual + e.election/20; with > limit {
		t.Errorf("half of the writes took more than %v with a frozen follower and %v before, expected at most %v", with, usual, limit)
	}
	t.Logf("caught up %v after the thaw", back.Round(time.Millisecond))
}

// TestFreezeMajority stops both followers: what the leader then takes in it cannot
// acknowledge, nor can it answer reads, and it must notice that by itself.
func TestFreezeMajority(t *testing.T) {
	e := startEnsemble(t, 3, electionTimeout())
	l := newLoad(t, e.nodes, clientTimeout)
	leader := e.leader()
	l.put(leader, "majority", "before")
	for _, n := range e.others(leader) {
		n.freeze()
	}
	for range 2 { // at first it still leads; then it must not
		l.askInVain(leader, "majority", 2*e.election)
	}
	await(t, leader.id+" steps down", func() bool {
		st, err := leader.status()
		return err == nil && st.Role != "leader"
	})
	for _, n := range e.others(leader) {
		n.thaw()
	}
	l.put(leader, "majority", "after")
	l.verify(e)
}

// askInVain reads and writes a key on a node that has no majority, for a while.
func (l *load) askInVain(n *node, key string, wait time.Duration) {
	l.t.Helper()
	var asked sync.WaitGroup
	for i := range 4 {
		client, s := l.history.Client(), &respSession{address: n.resp, timeout: wait}
		op := linearizability.Operation{Kind: linearizability.Get, Key: key}
		if i%2 == 1 {
			op.Kind, op.Value = linearizability.Put, fmt.Sprintf("in vain %d, at %d", i, l.history.Now())
		}
		asked.Go(func() {
			defer s.close()
			if err := l.run(client, s, op, nil); err == nil {
				l.t.Errorf("%s, alone, answered %v %s", n.id, op.Kind, op.Key)
			}
		})
	}
	asked.Wait()
}

// TestThawBehind freezes a follower while the others go on, kills the leader and
// thaws the follower: its election timer has long run out, and its log lacks what
// was acknowledged meanwhile.
func TestThawBehind(t *testing.T) {
	e := startEnsemble(t, 3, electionTimeout())
	l := startLoad(t, e.nodes, e.election)
	for round := range min(*killsFlag, 5) {
		leader := e.leader()
		behind := e.others(leader)[round%2]
		behind.freeze()
		l.awaitAcks(betweenFaults)
		leader.kill()
		behind.thaw()
		l.probe(e.others(leader), fmt.Sprintf("thaw %d of %s", round, behind.id))
		leader.start()
		e.awaitCaughtUp(leader)
	}
	l.verify(e)
}

// latencies of the writes begun within a span of the history.
func (l *load) latencies(from, to int64) (all []time.Duration) {
	for _, op := range l.history.Operations() {
		if op.Kind != linearizability.Get && op.Outcome == linearizability.Applied && op.Start >= from && op.Start < to {
			all = append(all, time.Duration(op.End-op.Start))
		}
	}
	return all
}
