package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/logstore/engine"
)

// paddingBytes is what stands before each command of a padded machine: enough for sectors
// that hold nothing else, and for the blocks of 32 KiB that goleveldb checks as a whole to be
// of one group in the midst of its log.
const paddingBytes = 8000

// padded is a counter whose commands are large, and like no other's.
type padded struct{ *counter.Machine }

func (p padded) Apply(e fsm.Entry) ([]byte, error) {
	e.Data = e.Data[paddingBytes:]
	return p.Machine.Apply(e)
}

// paddingOf is told from that of every other command at any place.
func paddingOf(group uint64, n int) []byte {
	word := fmt.Sprintf("<group %d, number %d>", group, n)
	return []byte(strings.Repeat(word, paddingBytes/len(word)+1)[:paddingBytes])
}

// addPadded adds 1 until it is surely applied, and returns the sum.
func addPadded(t *testing.T, n *Node, group uint64, number int) int64 {
	t.Helper()
	command := append(paddingOf(group, number), counter.Add(1)...)
	var refused *Error
	reply, err := n.Client().Propose(t.Context(), group, command)
	for end := time.Now().Add(patience); errors.As(err, &refused) && refused.Outcome == NotApplied && time.Now().Before(end); {
		reply, err = n.Client().Propose(t.Context(), group, command)
	}
	if err != nil {
		t.Fatalf("group %d: %v", group, err)
	}
	sum, err := counter.Parse(reply)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// damageLog writes over a range of bytes in the midst of a command, wherever the log in dir
// has it, and returns the file.
func damageLog(t *testing.T, dir string, group uint64, number int, with byte) string {
	t.Helper()
	word := paddingOf(group, number)[:bytes.IndexByte(paddingOf(group, number), '>')+1]
	names, err := filepath.Glob(filepath.Join(dir, logDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := ""
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(raw, word)
		if at < 0 {
			continue
		}
		if damaged != "" {
			t.Fatalf("command %d of group %d is in %s and in %s", number, group, damaged, name)
		}
		damaged = name
		const skip, length = 600, 700 // of the bytes that are the command's alone
		for i := range length {
			raw[at+skip+i] = with
		}
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if damaged == "" {
		t.Fatalf("command %d of group %d is nowhere in %s", number, group, dir)
	}
	return damaged
}

// spoken is a log that can be asked what was said.
type spoken struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *spoken) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// line returns one that has all of these words.
func (s *spoken) line(words ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
next:
	for line := range strings.Lines(s.text.String()) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		return line
	}
	return ""
}

// startPadded starts a node and tells of the members that fail on it.
func startPadded(t *testing.T, o Options) (*Node, *spoken, chan actors.MemberFailed) {
	t.Helper()
	onlyRemote(t)
	said, failed := &spoken{}, make(chan actors.MemberFailed, 8)
	o.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: said})
	system := NewSystem(hclog.NewNullLogger())
	system.EventStream.Subscribe(func(e any) {
		if m, ok := e.(*actors.MemberFailed); ok {
			failed <- *m
		}
	})
	n, err := Start(system, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutDown(t, n) })
	return n, said, failed
}

// TestDamagedRangeStopsItsGroup: bytes in the midst of one group's log go bad on the disk,
// whichever engine keeps it. That group stops, and is named with its file in the status and
// in the node's log; the others go on, also after more starts. With the journal it can then
// be made again. Of goleveldb the damaged table stays; each start adds another one, and the
// compaction of four fails on the damage and stops the node.
func TestDamagedRangeStopsItsGroup(t *testing.T) {
	for keptBy, starts := range map[string]int{engine.Goleveldb: 2, engine.Journal: 4} {
		for what, with := range map[string]byte{"garbage": 0xa5, "zeros": 0} {
			t.Run(keptBy+", "+what, func(t *testing.T) { testDamagedRange(t, keptBy, with, starts) })
		}
	}
}

func testDamagedRange(t *testing.T, keptBy string, with byte, starts int) {
	const groups, bad, commands = 3, 2, 12
	o := aloneWithGroups(t)
	o.LogEngine = keptBy
	o.Machines["counter"] = func(uint64) (fsm.StateMachine, error) { return padded{counter.New(counter.Hooks{})}, nil }
	n, _, _ := startPadded(t, o)
	for group := uint64(1); group <= groups; group++ {
		make1(t, n, group)
	}
	for i := range commands {
		for group := uint64(1); group <= groups; group++ {
			addPadded(t, n, group, i)
		}
	}
	shutDown(t, n)
	n, _, _ = startPadded(t, o) // with goleveldb the log is in tables from here on
	if got := sum(t, n, bad); got != commands {
		t.Fatalf("group %d counts to %d, expected %d", bad, got, commands)
	}
	shutDown(t, n)

	file := damageLog(t, o.DataDir, bad, commands/2, with)
	for start := range starts {
		n, said, failed := startPadded(t, o)
		select {
		case m := <-failed:
			if m.Group != bad || !strings.Contains(m.Reason, file) {
				t.Fatalf("group %d has stopped: %s; expected group %d, and %s", m.Group, m.Reason, bad, file)
			}
		case <-time.After(patience):
			t.Fatalf("no group has stopped for the damage in %s", file)
		}
		if said.line("[ERROR]", "damaged log", fmt.Sprintf("group=%d", bad), file) == "" {
			t.Errorf("the node's log does not name group %d and %s:\n%s", bad, file, said.text.String())
		}
		for group := uint64(1); group <= groups; group++ {
			if group == bad {
				continue
			}
			want := int64(commands + start + 1)
			if got := addPadded(t, n, group, commands+start); got != want || sum(t, n, group) != want {
				t.Errorf("start %d: group %d counts to %d, expected %d", start, group, got, want)
			}
		}
		expectOnlyFailed(t, n, bad, file)
		if keptBy == engine.Journal && start == starts-1 {
			if err := n.DeleteGroup(t.Context(), bad); err != nil {
				t.Fatal(err)
			}
			make1(t, n, bad)
			if got := addPadded(t, n, bad, 0); got != 1 {
				t.Errorf("made again it counts to %d, expected 1", got)
			}
		}
		shutDown(t, n)
	}
}

// expectOnlyFailed: the status says that this group has stopped, for a file, and no other.
func expectOnlyFailed(t *testing.T, n *Node, bad uint64, file string) {
	t.Helper()
	status, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range status.Groups {
		if (g.Role == "failed") != (g.Group == bad) || g.Group == bad && !strings.Contains(g.Failure, file) {
			t.Errorf("group %d is %s: %q, expected only group %d to have stopped, for %s", g.Group, g.Role, g.Failure, bad, file)
		}
	}
	if status.StorageFailure != "" {
		t.Errorf("storage failed: %s", status.StorageFailure)
	}
}

// TestDamagedRangeIsFetchedAgain: where there are others, the group's member fetches from
// them what it cannot read, and counts again; the other group's never stopped to.
func TestDamagedRangeIsFetchedAgain(t *testing.T) {
	for _, keptBy := range engine.Names() {
		t.Run(keptBy, func(t *testing.T) {
			const commands = 12
			c := newTrio(t)
			c.change = func(_ int, o *Options) { o.LogEngine = keptBy }
			begin := func(i int) *Node {
				n := c.start(i)
				for group := uint64(1); group <= 2; group++ {
					if _, err := n.StartGroup(group, padded{counter.New(counter.Hooks{})}); err != nil {
						t.Fatal(err)
					}
				}
				return n
			}
			for i := range c.nodes {
				begin(i)
			}
			for i := range commands {
				addPadded(t, c.nodes[1], 1, i)
				addPadded(t, c.nodes[1], 2, i)
			}
			awaitGroups(t, c.nodes[0], func(g GroupStatus) bool { return g.AppliedIndex >= commands })
			c.stop(0)
			begin(0) // into tables
			awaitGroups(t, c.nodes[0], func(g GroupStatus) bool { return g.AppliedIndex >= commands })
			c.stop(0)
			damageLog(t, c.dirs[0], 2, commands/2, 0xa5)
			begin(0)
			addPadded(t, c.nodes[1], 2, commands) // a barrier is committed without it
			awaitGroups(t, c.nodes[0], func(g GroupStatus) bool {
				return g.Role != "failed" && g.Recovering == "" && g.AppliedIndex > commands
			})
			c.stop(1) // from here on there is no quorum without it
			for group := uint64(1); group <= 2; group++ {
				want := int64(commands + 1)
				if group == 2 {
					want++
				}
				if got := addPadded(t, c.nodes[0], group, 2*commands); got != want {
					t.Errorf("group %d counts to %d, expected %d", group, got, want)
				}
			}
			if keptBy == engine.Goleveldb {
				return // its table is damaged until it is compacted, which fails
			}
			c.stop(0)
			begin(0) // nothing of the damage is left
			awaitGroups(t, c.nodes[0], func(g GroupStatus) bool { return g.Recovering == "" && g.AppliedIndex > commands })
		})
	}
}

// awaitGroups asks a node until all its groups are as they should be.
func awaitGroups(t *testing.T, n *Node, is func(GroupStatus) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		s, err := n.Status(ctx)
		if err != nil {
			t.Fatalf("not within %v: %v", patience, err)
		}
		all := len(s.Groups) > 0
		for _, g := range s.Groups {
			all = all && is(g)
		}
		if all {
			return
		}
	}
}
