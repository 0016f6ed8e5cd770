package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/actors"
	"github.com/protoraft/protoraft/actors/core"
)

// startAt starts a node that was stopped again, at another address.
func (f *fleet) startAt(id, address string) {
	f.t.Helper()
	f.at[id] = address
	f.start(Member{ID: id}, f.first, false, f.dirs[id])
}

func (f *fleet) move(c *Client, id, address string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	m, err := c.MoveMember(ctx, 1, id, address)
	if err != nil {
		f.t.Fatalf("move %s: %v", id, err)
	}
	if at := addressBook(m.Voters)[id]; at != address {
		f.t.Fatalf("%s is at %s, expected %s", id, at, address)
	}
}

func (f *fleet) leader(c *Client) string {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	m, err := c.Leader(ctx, 1)
	if err != nil {
		f.t.Fatal(err)
	}
	return m.ID
}

// other is a node that does not lead.
func (f *fleet) other(leader string) string {
	return f.first[slices.IndexFunc(f.first, func(m Member) bool { return m.ID != leader })].ID
}

// TestMembersMove has all three nodes move, one after the other: one before the members
// are changed, one after, and one while it leads. A client that was told of the first
// addresses only works on, and nothing acknowledged is lost.
func TestMembersMove(t *testing.T) {
	f := newFleet(t)
	client := f.outside()
	load := startCounting(client, 4)
	load.await(t, 20)

	first := f.other(f.leader(client))
	to := freeAddress(t)
	f.move(client, first, to)
	load.await(t, 20)
	f.stop(first)
	f.startAt(first, to)
	add(t, f.nodes[first], 1, 1)

	second := f.other(first)
	if second == f.leader(client) {
		second = f.first[slices.IndexFunc(f.first, func(m Member) bool { return m.ID != first && m.ID != second })].ID
	}
	to = freeAddress(t)
	f.stop(second)
	f.startAt(second, to)
	load.await(t, 20)
	f.move(client, second, to)
	add(t, f.nodes[second], 1, 1)
	// While it works a client asks the leader now and then where the members are.
	for begin := time.Now(); time.Since(begin) < 2*time.Second; {
		load.await(t, 1)
	}

	third := f.first[slices.IndexFunc(f.first, func(m Member) bool { return m.ID != first && m.ID != second })].ID
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if f.leader(client) != third {
		if err := f.nodes[f.leader(client)].TransferLeadership(ctx, 1, third); err != nil && !errors.Is(err, ErrLeadershipKept) {
			t.Fatal(err)
		}
	}
	to = freeAddress(t)
	f.move(client, third, to)
	load.await(t, 20)
	f.stop(third)
	f.startAt(third, to)
	load.await(t, 20)
	close(load.stop)
	load.done.Wait()
	for id, n := range f.nodes {
		if got := add(t, n, 1, 0); got < load.acked.Load() || got > load.acked.Load()+load.unknown.Load()+2 {
			t.Errorf("%s counts %d, acknowledged were %d, unknown %d", id, got, load.acked.Load(), load.unknown.Load())
		}
	}
}

// What cannot be says why, and changes nothing.
func TestMovesThatAreRefused(t *testing.T) {
	f := newFleet(t)
	client := f.nodes["n1"].Client()
	f.leader(client)
	n2, n3 := f.first[1], f.first[2]
	for _, c := range []struct {
		change MembersChange
		want   string
	}{
		{MembersChange{Move: []Member{{ID: "n9", Address: "127.0.0.1:1"}}}, "not a member"},
		{MembersChange{Move: []Member{{ID: "n2", Address: n3.Address}}}, n3.Address + ` is the address of "n3"`},
		{MembersChange{Move: []Member{n2}}, "is its address already"},
		{MembersChange{Move: []Member{{ID: "n2", Address: ":1"}}}, "no host"},
		{MembersChange{Move: []Member{{ID: "n2", Address: "127.0.0.1:1"}}, Demote: []string{"n3"}}, "expected a move by itself"},
		{MembersChange{Move: []Member{{ID: "n1", Address: "127.0.0.1:1"}, {ID: "n2", Address: "127.0.0.1:2"}, {ID: "n3", Address: "127.0.0.1:3"}}}, "do not count until they run"},
	} {
		_, err := client.ChangeMembers(t.Context(), 1, c.change)
		if !errors.Is(err, ErrMembersKept) || OutcomeOf(err) != NotApplied || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, expected %q", c.change, err, c.want)
		}
	}
	m, err := client.Members(t.Context(), 1)
	if err != nil || m.Index != 1 {
		t.Errorf("%+v, %v, expected the members as they were", m, err)
	}
}

// configured is what a member tells of its configuration.
func configured(index core.Index, places ...string) *actors.ConfigurationChanged {
	m := &actors.ConfigurationChanged{Group: 1, Index: index}
	for _, place := range places {
		id, address, _ := strings.Cut(place, "=")
		m.Everyone = append(m.Everyone, core.Member{ID: core.NodeID(id), Address: address})
	}
	return m
}

// A member that moves is let in from where it was until it is heard where it is to be, and
// never again from then on.
func TestWhoMovesIsLetIn(t *testing.T) {
	g := newGuard(guardOptions{ClusterID: "c1", NodeID: "n1", Address: "a:1", Members: map[string]string{"n1": "a:1", "n2": "b:1", "n3": "c:1"}})
	lets := func(want bool, id, address string, by *listing) {
		t.Helper()
		c, err := g.assignRole(caller{node: id, address: address, listed: by})
		if got := err == nil && c.role == peerRole; got != want {
			t.Fatalf("%s at %s by %v: %v, %v; expected to be let in: %v", id, address, by, c, err, want)
		}
	}
	g.configured(configured(4, "n1=a:1", "n2=b:1", "n3=c:1"))
	lets(false, "n2", "b:2", nil)
	g.configured(configured(7, "n1=a:1", "n2=b:2", "n3=c:1"))
	if !g.reachable("b:1") || !g.reachable("b:2") {
		t.Error("n2 cannot be reached where it was and where it is to be")
	}
	lets(true, "n2", "b:1", nil)
	lets(true, "n2", "b:2", nil)
	lets(false, "n2", "b:1", nil)
	if g.reachable("b:1") {
		t.Error("what is where n2 was is reached")
	}

	// This node was away when n3 moved. A copy of n3's old disk names an older entry.
	lets(false, "n3", "c:2", &listing{1, 7})
	lets(false, "n3", "a:1", &listing{1, 8})
	lets(true, "n3", "c:2", &listing{1, 8})
	lets(false, "n3", "c:1", &listing{1, 4})
	lets(false, "n3", "c:1", nil)
	if !g.reachable("c:2") || g.reachable("c:1") {
		t.Error("n3 is not reached where it is, or is where it was")
	}
	g.configured(configured(9, "n1=a:1", "n2=c:1", "n3=c:2")) // n2 moves to where n3 was
	lets(true, "n2", "c:1", nil)
	lets(false, "n3", "c:1", nil)
	if _, err := g.assignRole(caller{node: "n1", address: "a:9", listed: &listing{1, 99}}); err == nil {
		t.Error("another passes for this node")
	}
}

// A node says by which configuration it is where it is, and no more when one has it
// elsewhere.
func TestListing(t *testing.T) {
	g := newGuard(guardOptions{ClusterID: "c1", NodeID: "n1", Address: "a:2", Members: map[string]string{"n1": "a:2"}})
	for _, c := range []struct {
		m    *actors.ConfigurationChanged
		want string
	}{
		{configured(3, "n1=a:1", "n2=b:1"), ""}, {configured(5, "n1=a:2"), "1@5"}, {configured(6, "n1=a:2", "n2=b:1"), "1@6"}, {configured(7, "n1=a:1"), ""},
	} {
		g.configured(c.m)
		if got := g.listed.Load().String(); got != c.want {
			t.Errorf("after the configuration of %d: %q, expected %q", c.m.Index, got, c.want)
		}
	}
	if l := parseListing("1@6"); l == nil || *l != (listing{1, 6}) || parseListing("") != nil || parseListing("yes") != nil {
		t.Errorf("%v", l)
	}
	if r := g.rules.Load(); r.members["n1"] != "a:2" {
		t.Errorf("the node itself was moved to %s", r.members["n1"])
	}
}

// A group that was deleted is nothing to go by: neither for who says that it is somewhere by
// the one that was made again, nor for this node itself.
func TestDeletedGroupSaysNothingOfAddresses(t *testing.T) {
	g := newGuard(guardOptions{ClusterID: "c1", NodeID: "n1", Address: "a:1", Members: map[string]string{"n1": "a:1", "n2": "b:1"}})
	other := configured(4, "n1=a:1")
	other.Group = 2
	g.configured(other)
	g.configured(configured(500, "n1=a:1", "n2=b:1"))
	moved := caller{node: "n2", address: "b:2", listed: &listing{1, 3}}
	if c, err := g.assignRole(moved); err == nil {
		t.Fatalf("%v is let in by an older configuration", c)
	}
	g.forget(1)
	if got := g.listed.Load().String(); got != "2@4" {
		t.Errorf("it is where it is by %q, expected 2@4", got)
	}
	if c, err := g.assignRole(moved); err != nil || c.role != peerRole {
		t.Errorf("%v, %v: refused by what a deleted group said", c, err)
	}
	g.forget(2)
	if got := g.listed.Load().String(); got != "" {
		t.Errorf("it is where it is by %q, expected no group", got)
	}
}

// inGroups is a guard whose node has members of so many groups, and what one of them, in
// the middle, says next.
func inGroups(groups uint64) (*guard, *actors.ConfigurationChanged) {
	g := newGuard(guardOptions{ClusterID: "c1", NodeID: "n1", Address: "a:1", Members: map[string]string{"n1": "a:1", "n2": "b:1", "n3": "c:1"}})
	for group := uint64(1); group <= groups; group++ {
		m := configured(4, "n1=a:1", "n2=b:1", "n3=c:1")
		m.Group = group
		g.configured(m)
	}
	next := configured(5, "n1=a:1", "n2=b:1", "n3=c:1")
	next.Group = groups / 2
	return g, next
}

// What a configuration costs the guard does not grow with the groups of the node: at a
// start each of them tells its own.
func TestGroupsDoNotAddUpInTheGuard(t *testing.T) {
	const changes = 200
	allocated := func(groups uint64) uint64 {
		g, next := inGroups(groups)
		least := uint64(math.MaxUint64)
		for range 5 { // others allocate meanwhile
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range changes {
				g.configured(next)
			}
			runtime.ReadMemStats(&after)
			least = min(least, (after.TotalAlloc-before.TotalAlloc)/changes)
		}
		return least
	}
	if few, many := allocated(16), allocated(16_384); many > 2*few+128 {
		t.Errorf("%d bytes a change of one in 16,384 groups, %d of one in 16: expected much the same", many, few)
	}
}

func BenchmarkConfigurationOfOneGroup(b *testing.B) {
	for _, groups := range []uint64{16, 1024, 16_384} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			g, next := inGroups(groups)
			b.ReportAllocs()
			for b.Loop() {
				g.configured(next)
			}
		})
	}
}
