package cluster

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTransactionsUnderKills moves amounts between counters in transactions, on all
// nodes, while the leader is killed again and again. Whoever reads all of them in one
// transaction sees the sum that there was at the beginning: none is executed in part,
// twice in part, or on some members only.
func TestTransactionsUnderKills(t *testing.T) {
	const kills = 3
	e := startEnsemble(t, 3, electionTimeout())
	accounts := []string{"acct-a", "acct-b", "acct-c", "acct-d"}
	var moved, watched, read atomic.Int64
	progress, stop := make(chan struct{}, 1), make(chan struct{})
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			s := &respSession{}
			defer s.close()
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if s.conn == nil {
					s.address = e.nodes[n%len(e.nodes)].resp
				}
				from, to, amount := accounts[rng.IntN(4)], accounts[rng.IntN(4)], rng.IntN(100)
				switch i {
				case 0:
					if sum, ok := sumOf(s, accounts); ok && sum != 0 {
						t.Errorf("the sum is %d, expected 0", sum)
						return
					} else if ok {
						read.Add(1)
					}
				case 1: // by hand what INCRBY does, under WATCH
					if moveWatched(s, from, to, amount) {
						watched.Add(1)
					}
				default:
					if v, err := transact(s, []string{"INCRBY", from, strconv.Itoa(-amount)}, []string{"INCRBY", to, strconv.Itoa(amount)}); err == nil && v.kind == '*' {
						moved.Add(1)
					}
				}
				select {
				case progress <- struct{}{}:
				default:
				}
			}
		})
	}
	await := func(n int64) {
		timeout := time.After(time.Minute)
		for moved.Load() < n || watched.Load() == 0 || read.Load() == 0 {
			select {
			case <-progress:
			case <-timeout:
				t.Fatalf("%d transfers, %d under WATCH and %d sums, expected more", moved.Load(), watched.Load(), read.Load())
			}
		}
	}
	for range kills {
		await(moved.Load() + 300)
		n := e.leader()
		n.kill()
		await(moved.Load() + 300)
		n.start()
		e.awaitCaughtUp(n)
	}
	close(stop)
	clients.Wait()
	e.awaitEqual()
	e.compare(accounts)
	s := &respSession{address: e.nodes[0].resp}
	defer s.close()
	if sum, ok := sumOf(s, accounts); !ok || sum != 0 {
		t.Errorf("the sum is %d (%v), expected 0", sum, ok)
	}
	t.Logf("%d transfers, %d under WATCH, %d sums read", moved.Load(), watched.Load(), read.Load())
}

// transact sends a whole transaction and returns the reply to its EXEC.
func transact(s *respSession, commands ...[]string) (v value, err error) {
	all := append([][]string{{"MULTI"}}, commands...)
	all = append(all, []string{"EXEC"})
	if err = s.send(all...); err == nil {
		for range all {
			if v, err = s.receive(); err != nil {
				break
			}
		}
	}
	if err != nil {
		s.close()
	}
	return v, err
}

// sumOf reads all counters at one moment.
func sumOf(s *respSession, keys []string) (sum int, ok bool) {
	var gets [][]string
	for _, k := range keys {
		gets = append(gets, []string{"GET", k})
	}
	v, err := transact(s, gets...)
	if err != nil || v.kind != '*' || len(v.items) != len(keys) {
		return 0, false
	}
	for _, item := range v.items {
		n, _ := strconv.Atoi(item.text)
		if !item.null {
			sum += n
		}
	}
	return sum, true
}

func moveWatched(s *respSession, from, to string, amount int) bool {
	if v, err := s.call("WATCH", from, to); err != nil || v.kind != '+' {
		return false
	}
	v, err := s.call("MGET", from, to)
	if err != nil || len(v.items) != 2 {
		if err == nil {
			_, _ = s.call("UNWATCH")
		}
		return false
	}
	a, _ := strconv.Atoi(v.items[0].text)
	b, _ := strconv.Atoi(v.items[1].text)
	if from == to {
		b, amount = a, 0
	}
	v, err = transact(s, []string{"SET", from, strconv.Itoa(a - amount)}, []string{"SET", to, strconv.Itoa(b + amount)})
	return err == nil && v.kind == '*' && v.n == 2
}

// TestDeadlinesAcrossLeaders: what has a deadline outlives the leader that set it, and
// ends under the next, though nobody writes; tokens of locks go on growing.
func TestDeadlinesAcrossLeaders(t *testing.T) {
	e := startEnsemble(t, 3, electionTimeout())
	old := e.leader()
	s := &respSession{address: old.resp}
	defer s.close()
	for _, c := range []struct{ command, want string }{
		{"SET brief v PX 1", "OK"}, {"SET long v EX 1000", "OK"}, {"LOCK.ACQUIRE l a 2000 0", ""}, {"LOCK.ACQUIRE l b 60000 60000", "-1"}, {"SEQ.NEXT ids 10", "1"},
	} {
		if v, err := s.call(words(c.command)...); err != nil || v.kind == '-' || c.want != "" && v.text != c.want {
			t.Fatalf("%s: %+v, %v; want %q", c.command, v, err, c.want)
		}
	}
	first, err := s.call("LOCK.INSPECT", "l")
	if err != nil || len(first.items) != 4 {
		t.Fatalf("LOCK.INSPECT: %+v, %v", first, err)
	}
	old.kill()
	e.leader(old)
	other := &respSession{address: e.others(old)[0].resp}
	defer other.close()
	eventually := func(command string, done func(v value) bool) (v value) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; {
			v, err := other.call(words(command)...)
			if err == nil && done(v) {
				return v
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v, %v", command, v, err)
			}
		}
	}
	eventually("GET brief", func(v value) bool { return v.null })
	eventually("TTL long", func(v value) bool { return v.kind == ':' && v.n > 900 && v.n <= 1000 })
	eventually("SEQ.NEXT ids", func(v value) bool { return v.kind == ':' && v.n == 11 })
	second := eventually("LOCK.ACQUIRE l b 60000 60000", func(v value) bool { return v.kind == ':' })
	if second.n <= first.items[1].n {
		t.Errorf("token %d after %d, expected it to grow", second.n, first.items[1].n)
	}
	if v, err := other.call("LOCK.RELEASE", "l", fmt.Sprint(first.items[1].n)); err != nil || v.n != 0 {
		t.Errorf("the first holder's token still releases: %+v, %v", v, err)
	}
	old.start()
	e.awaitCaughtUp(old)
	e.awaitEqual()
	e.compare([]string{"brief", "long", "ids"})
}

func words(command string) []string { return strings.Fields(command) }
