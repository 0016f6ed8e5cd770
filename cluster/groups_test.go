package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/messages"
)

func counters() map[string]MachineFactory {
	return map[string]MachineFactory{"counter": func(uint64) (fsm.StateMachine, error) { return counter.New(counter.Hooks{}), nil }}
}

func aloneWithGroups(t *testing.T) Options {
	o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
	o.Machines = counters()
	return o
}

func make1(t *testing.T, n *Node, group uint64) {
	t.Helper()
	if err := n.CreateGroup(t.Context(), GroupSpec{Group: group, Kind: "counter"}); err != nil {
		t.Fatal(err)
	}
}

func expectGroups(t *testing.T, n *Node, want string) {
	t.Helper()
	var got []string
	for _, g := range n.Groups() {
		got = append(got, fmt.Sprintf("%d.%d %s", g.Group, g.Incarnation, g.State))
	}
	if s := strings.Join(got, ", "); s != want {
		t.Fatalf("groups %s, expected %s", s, want)
	}
}

func sum(t *testing.T, n *Node, group uint64) int64 {
	t.Helper()
	reply, err := n.Client().Query(t.Context(), group, counter.Read(), Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	v, err := counter.Parse(reply)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestGroupsOutliveTheProcess: what was made runs after a restart, what was stopped stays
// so, and what was deleted stays gone.
func TestGroupsOutliveTheProcess(t *testing.T) {
	o := aloneWithGroups(t)
	n := startAlone(t, o)
	for group := uint64(1); group <= 4; group++ {
		make1(t, n, group)
		add(t, n, group, int64(group))
	}
	if err := n.StopGroup(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err := n.DeleteGroup(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	expectGroups(t, n, "1.1 running, 2.1 stopped, 3.1 deleted, 4.1 running")
	shutDown(t, n)

	n = startAlone(t, o)
	expectGroups(t, n, "1.1 running, 2.1 stopped, 3.1 deleted, 4.1 running")
	if a, b := sum(t, n, 1), sum(t, n, 4); a != 1 || b != 4 {
		t.Errorf("groups 1 and 4 hold %d and %d, expected 1 and 4", a, b)
	}
	if _, err := n.Client().Query(t.Context(), 2, counter.Read(), Linearizable); !errors.Is(err, ErrNoGroup) {
		t.Errorf("a stopped group answers %v, expected %v", err, ErrNoGroup)
	}
	if err := n.ResumeGroup(2); err != nil {
		t.Fatal(err)
	}
	if got := sum(t, n, 2); got != 2 {
		t.Errorf("group 2 holds %d, expected 2", got)
	}
}

// TestDeletedGroupLeavesNothing: nothing of its log and snapshots is left, and nothing of
// another group's is gone.
func TestDeletedGroupLeavesNothing(t *testing.T) {
	o := aloneWithGroups(t)
	n := startAlone(t, o)
	for group := uint64(1); group <= 2; group++ {
		make1(t, n, group)
		add(t, n, group, 7)
		if _, err := n.TakeSnapshot(t.Context(), group); err != nil {
			t.Fatal(err)
		}
		add(t, n, group, 1)
	}
	if err := n.DeleteGroup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if stored, err := n.store.Groups(); err != nil || len(stored) != 1 || stored[0] != 2 {
		t.Errorf("logs of groups %v, %v; expected that of 2 alone", stored, err)
	}
	if _, known := n.remote.guard.known.Load(uint64(1)); known {
		t.Error("the guard goes by its configuration")
	}
	names, err := filepath.Glob(filepath.Join(o.DataDir, snapshotsDir, "0*"))
	if err != nil || len(names) != 1 || !strings.HasSuffix(names[0], "2") {
		t.Errorf("snapshots in %v, %v; expected those of group 2 alone", names, err)
	}
	shutDown(t, n)
	n = startAlone(t, o)
	if got := sum(t, n, 2); got != 8 {
		t.Errorf("group 2 holds %d, expected 8", got)
	}
}

// TestGroupMadeAgain: a group of the same number is another one. It holds nothing of the
// one before; what was meant for that reaches nobody; its terms, and the sessions of its
// clients, are no one's of before.
func TestGroupMadeAgain(t *testing.T) {
	o := aloneWithGroups(t)
	n := startAlone(t, o)
	make1(t, n, 7)
	add(t, n, 7, 5)
	first := n.client.member(7)
	before, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.DeleteGroup(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	if err := n.CreateGroup(t.Context(), GroupSpec{Group: 7, Kind: "counter", Incarnation: 1}); !errors.Is(err, ErrGroupDeleted) {
		t.Fatalf("the incarnation that was deleted is made again: %v, expected %v", err, ErrGroupDeleted)
	}
	if _, err := n.StartGroup(7, counter.New(counter.Hooks{})); !errors.Is(err, ErrGroupExists) {
		t.Fatalf("a program starts it as of before: %v, expected %v", err, ErrGroupExists)
	}
	make1(t, n, 7)
	expectGroups(t, n, "7.2 running")
	if got := sum(t, n, 7); got != 0 {
		t.Errorf("it holds %d, expected 0", got)
	}
	second := n.client.member(7)
	if second.Id == first.Id {
		t.Errorf("both incarnations' members are %s", second.Id)
	}
	after, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := before.Groups[0].Term, after.Groups[0].Term; b <= a+1<<32 {
		t.Errorf("its term is %d after %d: a late message could be of either", b, a)
	}
	// A session of the first incarnation is none of the second's.
	late := n.client.calls.begin(false)
	n.client.send(late, 7, &messages.Propose{Group: 7, Request: late.id, Command: counter.Add(100), Session: 2, Sequence: 1})
	if _, err := late.WaitContext(t.Context()); !errors.Is(err, ErrSessionExpired) {
		t.Errorf("a command of a session of before: %v, expected %v", err, ErrSessionExpired)
	}
	if got := add(t, n, 7, 1); got != 1 {
		t.Errorf("it counts to %d, expected 1", got)
	}
	shutDown(t, n)
	n = startAlone(t, o)
	if got := sum(t, n, 7); got != 1 {
		t.Errorf("after a restart it holds %d, expected 1", got)
	}
}

// TestDeletionIsFinishedAtStart: one that was cut off goes on before anything else does.
func TestDeletionIsFinishedAtStart(t *testing.T) {
	o := aloneWithGroups(t)
	n := startAlone(t, o)
	make1(t, n, 1)
	make1(t, n, 2)
	add(t, n, 1, 1)
	add(t, n, 2, 2)
	record, _ := n.groups.record(1)
	record.State = GroupDeleting
	if err := n.groups.put(record); err != nil {
		t.Fatal(err)
	}
	shutDown(t, n)
	n = startAlone(t, o)
	expectGroups(t, n, "1.1 deleted, 2.1 running")
	if stored, err := n.store.Groups(); err != nil || len(stored) != 1 {
		t.Errorf("logs of groups %v, %v; expected that of 2 alone", stored, err)
	}
	if got := sum(t, n, 2); got != 2 {
		t.Errorf("group 2 holds %d, expected 2", got)
	}
}

// TestGroupRefusals: what cannot be is refused by name, and changes nothing.
func TestGroupRefusals(t *testing.T) {
	o := aloneWithGroups(t)
	o.Machines["broken"] = func(uint64) (fsm.StateMachine, error) { return nil, errors.New("its disk is gone") }
	n := startAlone(t, o)
	if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	make1(t, n, 2)
	other := []Member{{ID: "n8", Address: "127.0.0.1:7008"}}
	for _, c := range []struct {
		spec GroupSpec
		want error
	}{
		{GroupSpec{Group: 0, Kind: "counter"}, ErrGroupSpec},
		{GroupSpec{Group: 3, Kind: "counter", Incarnation: actors.IncarnationMax + 1}, ErrGroupSpec},
		{GroupSpec{Group: 3, Kind: "counter", Members: other}, ErrGroupSpec},
		{GroupSpec{Group: 3, Kind: "lock"}, ErrGroupKind},
		{GroupSpec{Group: 1, Kind: "counter"}, ErrGroupExists},
		{GroupSpec{Group: 2, Kind: "counter", Incarnation: 2}, ErrGroupExists},
		{GroupSpec{Group: 2, Kind: "broken"}, ErrGroupExists},
		{GroupSpec{Group: 2, Kind: "counter"}, nil}, // as it is
	} {
		if err := n.CreateGroup(t.Context(), c.spec); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, expected %v", c.spec, err, c.want)
		}
	}
	for name, f := range map[string]func(uint64) error{
		"stop":   func(g uint64) error { return n.StopGroup(t.Context(), g) },
		"resume": n.ResumeGroup,
		"delete": func(g uint64) error { return n.DeleteGroup(t.Context(), g) },
	} {
		for _, group := range []uint64{1, 9} { // the program's own, and none
			if err := f(group); !errors.Is(err, ErrNoGroup) {
				t.Errorf("%s group %d: %v, expected %v", name, group, err, ErrNoGroup)
			}
		}
	}
	expectGroups(t, n, "1.0 running, 2.1 running")

	// A machine that cannot be made is its own group's trouble.
	if err := n.CreateGroup(t.Context(), GroupSpec{Group: 4, Kind: "broken"}); err == nil {
		t.Error("a machine that cannot be made was")
	}
	if g := n.Groups()[2]; g.Group != 4 || g.Failure != "make its machine: its disk is gone" {
		t.Errorf("%+v, expected why it has no member", g)
	}
	shutDown(t, n)
	n = startAlone(t, o)
	add(t, n, 2, 1)
	shutDown(t, n)
	delete(o.Machines, "broken")
	if _, err := Start(NewSystem(nil), o); !errors.Is(err, ErrGroupKind) {
		t.Errorf("started without a kind that it needs: %v, expected %v", err, ErrGroupKind)
	}
}

// TestGroupRegistryFile: a torn last line is cut off, damage elsewhere is named, and a file
// that has grown is written anew.
func TestGroupRegistryFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, groupsFile)
	open := func() *groupRegistry {
		t.Helper()
		r, err := openGroups(dir)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := open()
	one := groupRecord{Group: 5, Incarnation: 1, State: GroupRunning, Kind: "kv", Members: []memberLine{{ID: "n1", Address: "a:1"}}}
	for i := range 3 * groupsSlack {
		one.Incarnation = uint64(i + 1)
		if err := r.put(one); err != nil {
			t.Fatal(err)
		}
	}
	r.close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := strings.LastIndexByte(strings.TrimSuffix(string(whole), "\n"), '\n') + 1
	for cut := last; cut < len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		r := open()
		if got := r.records[5].Incarnation; got != 3*groupsSlack-1 || r.lines != 2 {
			t.Fatalf("cut at %d: incarnation %d in %d lines, expected the one before the last, in a file of two", cut, got, r.lines)
		}
		r.close()
	}
	whole[last/2] ^= 1
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openGroups(dir); !errors.Is(err, ErrDataDirGroups) {
		t.Errorf("damaged in its midst: %v, expected %v", err, ErrDataDirGroups)
	}
	newer, err := sealLine(groupsHeader{groupsFormat + 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openGroups(dir); !errors.Is(err, ErrNewerDataDir) {
		t.Errorf("of a later version: %v, expected %v", err, ErrNewerDataDir)
	}
}

// TestGroupsOfThreeNodes: a group begins when all of its nodes have been told, and what is
// stopped or deleted on one of them goes on on the others.
func TestGroupsOfThreeNodes(t *testing.T) {
	onlyRemote(t)
	onlyRemote(t)
	nodes := startThree(t)
	spec := GroupSpec{Group: 4, Kind: "counter"}
	for _, n := range nodes {
		if err := n.CreateGroup(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range nodes {
		add(t, n, 4, int64(i+1))
	}
	if err := nodes[0].StopGroup(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if got := add(t, nodes[1], 4, 10); got != 16 {
		t.Errorf("two of three count to %d, expected 16", got)
	}
	if err := nodes[0].ResumeGroup(4); err != nil {
		t.Fatal(err)
	}
	if got := sum(t, nodes[0], 4); got != 16 {
		t.Errorf("it holds %d, expected 16", got)
	}
	for _, n := range nodes {
		if err := n.DeleteGroup(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
	}
	spec.Incarnation = 2
	for _, n := range nodes {
		if err := n.CreateGroup(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	if got := add(t, nodes[2], 4, 1); got != 1 {
		t.Errorf("made again it counts to %d, expected 1", got)
	}
}

// TestGroupWithWitness: a group made at run time has the witness it was made with, whatever
// its nodes are in others, and goes on without either of its two voters with state.
func TestGroupWithWitness(t *testing.T) {
	nodes := startThree(t)
	members := slices.Clone(nodes[0].options.Members)
	members[1].Witness = true
	spec := GroupSpec{Group: 4, Kind: "counter", Members: members}
	for _, n := range nodes {
		if err := n.CreateGroup(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	if got := add(t, nodes[0], 4, 3); got != 3 {
		t.Errorf("it counts to %d, expected 3", got)
	}
	for i, role := range []bool{false, true, false} {
		status, err := nodes[i].Status(t.Context())
		if err != nil || len(status.Groups) != 1 || (status.Groups[0].Role == "witness") != role {
			t.Fatalf("%s: %+v, %v; expected a witness: %v", nodes[i].ID(), status, err, role)
		}
	}
	if _, err := nodes[1].Backup(t.Context(), 4, false); !errors.Is(err, ErrNoSnapshot) {
		t.Errorf("backed up by the witness: %v, expected %v", err, ErrNoSnapshot)
	}
	shutDown(t, nodes[0])
	if got := add(t, nodes[1], 4, 4); got != 7 {
		t.Errorf("without one of two it counts to %d, expected 7", got)
	}
	shutDown(t, nodes[1])
	again := nodes[1].options
	n, err := Start(NewSystem(nil), again)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutDown(t, n) })
	if got := add(t, n, 4, 1); got != 8 {
		t.Errorf("with its witness started again it counts to %d, expected 8", got)
	}
	members[2].Witness = true
	if err := n.CreateGroup(t.Context(), GroupSpec{Group: 5, Kind: "counter", Members: members}); !errors.Is(err, ErrGroupSpec) || !strings.Contains(err.Error(), "witnesses: 2") {
		t.Errorf("two witnesses: %v, expected %v", err, ErrGroupSpec)
	}
}

func startThree(t *testing.T, change ...func(*Options)) []*Node {
	t.Helper()
	var members []Member
	for i := range 3 {
		members = append(members, Member{ID: fmt.Sprintf("n%d", i+1), Address: freeAddress(t)})
	}
	var nodes []*Node
	for _, m := range members {
		o := alone(t, filepath.Join(t.TempDir(), m.ID), m.Address)
		o.ID, o.Members, o.Machines = m.ID, members, counters()
		for _, f := range change {
			f(&o)
		}
		n, err := Start(NewSystem(nil), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { shutDown(t, n) })
		nodes = append(nodes, n)
	}
	return nodes
}
