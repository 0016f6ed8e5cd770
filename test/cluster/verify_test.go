package cluster

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/protoraft/protoraft/test/linearizability"
)

const readers = 4 // at a time, at the end of a test

// verify stops the load and holds what the clients saw against what is there: a
// linearizable read of every key joins the history, which must then be in order,
// and all nodes must hold the same.
func (l *load) verify(e *ensemble) linearizability.Report {
	l.t.Helper()
	l.end()
	var keys []string
	for _, op := range l.history.Operations() {
		keys = append(keys, op.Key)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	l.readAll(e, keys)
	e.awaitEqual()
	e.compare(keys)
	report := linearizability.Check(l.history.Operations(), linearizability.Options{})
	l.t.Log(report)
	for _, reason := range slices.Sorted(maps.Keys(l.doubts)) {
		l.t.Logf("unknown %d times: %s", l.doubts[reason], reason)
	}
	if err := report.Err(); err != nil {
		l.t.Error(err)
		l.describe(report)
	}
	return report
}

// describe logs the histories of keys that are not in order.
func (l *load) describe(report linearizability.Report) {
	shown := map[string]bool{}
	for _, v := range report.Violations {
		if shown[v.Key] || len(shown) == 3 {
			continue
		}
		shown[v.Key] = true
		for _, op := range l.history.Operations() {
			if op.Key == v.Key {
				l.t.Log(op)
			}
		}
	}
}

// eachKey calls f for every key, several at a time.
func eachKey(keys []string, f func(reader int, key string)) {
	queue := make(chan string)
	var done sync.WaitGroup
	for reader := range readers {
		done.Go(func() {
			for key := range queue {
				f(reader, key)
			}
		})
	}
	for _, key := range keys {
		queue <- key
	}
	close(queue)
	done.Wait()
}

// readAll reads every key, on any node.
func (l *load) readAll(e *ensemble, keys []string) {
	l.t.Helper()
	deadline := time.Now().Add(patience + time.Duration(len(keys))*10*time.Millisecond)
	var sessions [readers]*respSession
	var clients [readers]*linearizability.Client
	for i := range readers {
		sessions[i], clients[i] = &respSession{address: e.nodes[i%len(e.nodes)].resp}, l.history.Client()
		defer sessions[i].close()
	}
	eachKey(keys, func(reader int, key string) {
		for {
			var err error
			op := linearizability.Operation{Key: key, Kind: linearizability.Get}
			result := clients[reader].Do(op, func() (result linearizability.Result) {
				result, err = sessions[reader].do(op)
				return result
			})
			if result.Outcome == linearizability.Applied {
				return
			}
			if time.Now().After(deadline) {
				l.t.Errorf("final read of %s: %v", key, err)
				return
			}
		}
	})
}

// compare reports the keys of which two nodes hold different values, and keys that
// nobody wrote.
func (e *ensemble) compare(keys []string) {
	e.t.Helper()
	client := &http.Client{Timeout: clientTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: readers}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	present := map[string]bool{}
	eachKey(keys, func(_ int, key string) {
		var first string
		for i, n := range e.nodes {
			text, found, err := n.local(client, key)
			if err != nil {
				e.t.Error(err)
				return
			}
			here := fmt.Sprintf("%v %q", found, text)
			if i == 0 {
				first = here
				mu.Lock()
				present[key] = found
				mu.Unlock()
			} else if here != first {
				e.t.Errorf("key %s: %s holds %s, %s holds %s", key, e.nodes[0].id, first, n.id, here)
			}
		}
	})
	for _, key := range e.keys() {
		if !present[key] {
			e.t.Errorf("key %s is listed, but nobody wrote it", key)
		}
		delete(present, key)
	}
	for key, found := range present {
		if found {
			e.t.Errorf("key %s is there, but not listed", key)
		}
	}
}

// keys lists all keys there are, page by page.
func (e *ensemble) keys() (all []string) {
	e.t.Helper()
	s := &respSession{address: e.nodes[0].resp}
	defer s.close()
	for cursor := "0"; ; {
		v, err := s.call("SCAN", cursor, "COUNT", "1000")
		if err != nil || v.kind != '*' || len(v.items) != 2 {
			e.t.Fatalf("SCAN %s: %+v, %v", cursor, v, err)
		}
		for _, item := range v.items[1].items {
			all = append(all, item.text)
		}
		if cursor = v.items[0].text; cursor == "0" {
			return all
		}
	}
}

// summary logs how long something took, and returns the median.
func summary(t testing.TB, what string, times []time.Duration) time.Duration {
	t.Helper()
	if len(times) == 0 {
		t.Fatalf("%s: nothing was measured", what)
	}
	slices.Sort(times)
	at := func(q float64) time.Duration {
		return times[int(q*float64(len(times)-1)+0.5)].Round(time.Millisecond / 10)
	}
	t.Logf("%s: p50 %v, p99 %v, max %v of %d", what, at(.5), at(.99), at(1), len(times))
	return at(.5)
}
