package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/cmd/node/web"
)

// groups runs a command about groups on every node and expects its exit code.
func (w *town) groups(code int, args ...string) string {
	w.t.Helper()
	got, out, errs := execute(w.t, append([]string{"groups"}, append(args, "--http", w.addresses())...)...)
	if got != code {
		w.t.Fatalf("groups %v: exit code %d, expected %d: %s%s", args, got, code, out, errs)
	}
	return out + errs
}

func (w *town) expectGroup(group, line string) {
	w.t.Helper()
	for _, n := range w.nodes {
		_, out, _ := execute(w.t, "groups", "list", "--http", n.http)
		found := ""
		for _, l := range strings.Split(out, "\n") {
			if f := strings.Fields(l); len(f) > 1 && f[1] == group {
				found = strings.Join(f[2:], " ")
			}
		}
		if found != line {
			w.t.Fatalf("%s shows group %s as %q, expected %q:\n%s", n.id, group, found, line, out)
		}
	}
}

// TestGroupsByCommand: an operator makes a group on all nodes, stops, starts and deletes
// it, and makes another in its place; a node that starts again has what it had.
func TestGroupsByCommand(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	w.expectGroup("1", "- - running -")
	w.groups(exitOK, "create", "7")
	w.expectGroup("7", "1 kv running n1,n2,n3")
	w.groups(exitOK, "create", "7") // nothing more to do
	if out := w.groups(exitUsage, "create", "8", "--kind", "lock"); !strings.Contains(out, `no such kind of machine "lock"`) {
		t.Errorf("a kind that is not there: %s", out)
	}
	w.groups(exitOK, "stop", "7")
	w.expectGroup("7", "1 kv stopped n1,n2,n3")
	n := w.nodes[0]
	n.process.signal(syscall.SIGTERM)
	if code := n.process.exit(); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	w.start(n, "--cluster", w.first)
	w.expectGroup("7", "1 kv stopped n1,n2,n3")
	w.groups(exitOK, "start", "7")
	w.groups(exitOK, "delete", "7")
	w.expectGroup("7", "1 - deleted -")
	w.groups(exitFailed, "start", "7")
	w.groups(exitFailed, "delete", "1") // it is the program's own
	w.groups(exitOK, "create", "7")
	w.expectGroup("7", "2 kv running n1,n2,n3")
}

// TestNextIncarnation: an unfinished creation is completed, what was deleted is not made
// again.
func TestNextIncarnation(t *testing.T) {
	list := func(incarnation uint64, state string) web.GroupList {
		return web.GroupList{Groups: []web.Group{{Group: 6, Incarnation: 9, State: "running"}, {Group: 7, Incarnation: incarnation, State: state}}}
	}
	for _, c := range []struct {
		lists []web.GroupList
		want  uint64
	}{
		{nil, 1},
		{[]web.GroupList{list(1, "deleted"), {}}, 2},
		{[]web.GroupList{list(1, "deleted"), list(2, "running")}, 2},
		{[]web.GroupList{list(3, "deleted"), list(2, "running")}, 4},
		{[]web.GroupList{list(3, "stopped"), list(2, "deleted")}, 3},
	} {
		if got := nextIncarnation(c.lists, 7); got != c.want {
			t.Errorf("%+v: %d, expected %d", c.lists, got, c.want)
		}
	}
}
