package cluster

import (
	"errors"
	"testing"
	"time"
)

// What was begun is looked at until it is given back, and no longer: what a flood has left
// costs nothing.
func TestSweepLooksAtWhatWaits(t *testing.T) {
	const second = int64(time.Second)
	table := &callTable{timeout: time.Second}
	table.all.Store(&[]*Call{})
	var u underSweep
	begin := func(n int) (calls []*Call) {
		for range n {
			calls = append(calls, table.begin(false))
		}
		return calls
	}
	expect := func(when string, want int) {
		t.Helper()
		if len(u.calls) != want {
			t.Fatalf("%s: %d calls are looked at, expected %d", when, len(u.calls), want)
		}
	}
	answer := func(calls []*Call) {
		said := *done
		for _, c := range calls {
			said.Request = c.id
			c.answered(&said)
		}
	}
	flood := begin(100)
	u.look(table, 0)
	expect("all wait", 100)
	answer(flood[1:])
	u.look(table, 0)
	expect("decided, not given back", 100)
	for _, c := range flood[1:] {
		if _, err := c.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	u.look(table, 0)
	expect("given back", 1)
	again := begin(10)
	answer(again[:5])
	for _, c := range again[:5] {
		c.Wait()
	}
	begin(5) // the same ones
	u.look(table, 0)
	expect("used again", 11)
	if made := len(*table.all.Load()); made != 100 {
		t.Errorf("%d calls were made, expected 100", made)
	}
	u.look(table, second+1)
	u.look(table, second+1)
	for i, c := range append(flood[:1:1], again[5:]...) {
		if !c.Decided() {
			t.Fatalf("call %d waits when its time is up", i)
		}
		if _, err := c.Wait(); !errors.Is(err, ErrTimeout) {
			t.Errorf("call %d: %v, expected that its time was up", i, err)
		}
	}
}
