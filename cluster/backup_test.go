package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/fsm/counter"
	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// backUp writes a backup of a node's group 1 to a file.
func backUp(t *testing.T, n *Node, newest bool) (string, BackupInfo) {
	t.Helper()
	b, err := n.Backup(t.Context(), 1, newest)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	path := filepath.Join(t.TempDir(), "backup")
	raw, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, b.Info()
}

// Three nodes write and are backed up; three others, of a new cluster, go on from there.
// Nodes of the old cluster and directories of theirs are refused.
func TestBackupIsRestoredIntoANewCluster(t *testing.T) {
	f := newFleet(t)
	add(t, f.nodes["n1"], 1, 40)
	add(t, f.nodes["n2"], 1, 2)
	leader := f.awaitLeader()
	path, info := backUp(t, leader, false)
	add(t, f.nodes["n3"], 1, 1000) // not in it
	inspected, err := InspectBackup(path)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(inspected) != fmt.Sprint(info) {
		t.Fatalf("%+v, was given as %+v", inspected, info)
	}
	if info.Cluster != f.cluster || info.Node != leader.ID() || info.Machine != counter.Format || len(info.Voters) != 3 || len(info.Sections) != 3 {
		t.Fatalf("%+v", info)
	}
	for id := range f.nodes {
		if id != "n3" {
			f.stop(id)
		}
	}

	// The same addresses but one: nodes of both clusters meet.
	o := RestoreOptions{
		Backups: []string{path}, ClusterID: NewClusterID(), Machine: counter.Format,
		Members: []Member{f.first[0], f.first[1], {ID: "n9", Address: freeAddress(t)}},
	}
	nodes := restoreAll(t, o)
	if sum := add(t, nodes["n9"], 1, 1); sum != 43 {
		t.Fatalf("%d, expected the 42 of the backup and 1", sum)
	}
	members, err := nodes["n1"].Client().Members(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	expectIDs(t, "members", members.Voters, "n1", "n2", "n9")
	s, err := nodes["n1"].Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if g := s.Groups[0]; g.FirstIndex != info.Index+1 || g.Term <= info.Term {
		t.Fatalf("%+v, expected a log behind %d, in a term above %d", g, info.Index, info.Term)
	}

	// n3 of the old cluster still runs, and looks for n1 and n2.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for nodes["n1"].Guard().Identity+nodes["n2"].Guard().Identity == 0 {
		if pause(ctx, membersPause) != nil {
			t.Fatal("the old node has not been refused")
		}
	}
	if sum := add(t, nodes["n2"], 1, 1); sum != 44 {
		t.Fatalf("%d, expected 44", sum)
	}
	dir := f.nodes["n3"].options.DataDir
	f.stop("n3")
	_, err = Start(NewSystem(hclog.NewNullLogger()), Options{ID: "n3", Members: f.first, ClusterID: o.ClusterID, DataDir: dir})
	if !errors.Is(err, ErrDataDirOfCluster) || !strings.Contains(err.Error(), f.cluster) || !strings.Contains(err.Error(), o.ClusterID) {
		t.Fatalf("%v, expected %v with both ids", err, ErrDataDirOfCluster)
	}
}

func (f *fleet) awaitLeader() *Node {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	for {
		for _, n := range f.nodes {
			if s, err := n.Status(ctx); err == nil && len(s.Groups) == 1 && s.Groups[0].Role == "leader" {
				return n
			}
		}
		if pause(ctx, 10*time.Millisecond) != nil {
			f.t.Fatal("no leader")
		}
	}
}

// single is a node that has counted to 5, with a snapshot.
func single(t *testing.T) *Node {
	t.Helper()
	n := startAlone(t, alone(t, t.TempDir(), freeAddress(t)))
	if _, err := n.StartGroup(1, counter.New(counter.Hooks{})); err != nil {
		t.Fatal(err)
	}
	add(t, n, 1, 5)
	return n
}

// The newest snapshot is given as it is; a new one is taken where that is wanted.
func TestBackupOfTheNewestSnapshot(t *testing.T) {
	n := single(t)
	if _, err := n.Backup(t.Context(), 1, true); !errors.Is(err, ErrNoSnapshot) {
		t.Fatalf("%v, expected %v", err, ErrNoSnapshot)
	}
	if _, err := n.Backup(t.Context(), 2, true); !errors.Is(err, ErrNoGroup) {
		t.Fatalf("%v, expected %v", err, ErrNoGroup)
	}
	_, first := backUp(t, n, false)
	add(t, n, 1, 5)
	if _, again := backUp(t, n, true); again.Index != first.Index {
		t.Fatalf("%+v, expected that of before, up to %d", again, first.Index)
	}
	if _, newer := backUp(t, n, false); newer.Index <= first.Index {
		t.Fatalf("%+v, expected one after %d", newer, first.Index)
	}
}

// A file in which any one byte is another, or that ends anywhere, is refused, with the
// place; nothing is restored from it.
func TestDamagedBackupIsRefused(t *testing.T) {
	path, info := backUp(t, single(t), false)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(whole)) != info.Size {
		t.Fatalf("%d bytes, said to be %d", len(whole), info.Size)
	}
	refused := func(what string, raw []byte) {
		t.Helper()
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := InspectBackup(path); !errors.Is(err, ErrBackup) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, expected %v and the file's name", what, err, ErrBackup)
		}
	}
	for i := range whole {
		raw := bytes.Clone(whole)
		raw[i] ^= 0x20
		refused(fmt.Sprintf("byte %d is another", i), raw)
	}
	for i := range whole {
		refused(fmt.Sprintf("it ends at %d", i), whole[:i])
	}
	refused("more follows", append(bytes.Clone(whole), 'x'))

	raw := bytes.Clone(whole)
	raw[len(raw)-60] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	o := RestoreOptions{Backups: []string{path}, ClusterID: "other", ID: "n1", DataDir: dir, Members: []Member{{ID: "n1", Address: "127.0.0.1:1"}}}
	if err := Restore(o); !errors.Is(err, ErrBackup) || !strings.Contains(err.Error(), "at byte") {
		t.Fatalf("%v, expected %v and where", err, ErrBackup)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%v: something was made", err)
	}
}

func TestRestoreIsRefused(t *testing.T) {
	path, info := backUp(t, single(t), false)
	members := []Member{{ID: "n1", Address: "127.0.0.1:1"}}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cutOff := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(cutOff+".restoring", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*RestoreOptions)
		why    string
	}{
		{func(o *RestoreOptions) { o.Machine = "another" }, fmt.Sprintf("machine of format %q, expected %q", counter.Format, "another")},
		{func(o *RestoreOptions) { o.ClusterID = info.Cluster }, "expected a new id"},
		{func(o *RestoreOptions) { o.ClusterID = "" }, "no cluster id"},
		{func(o *RestoreOptions) { o.ID = "n2" }, `"n2" is not among the members`},
		{func(o *RestoreOptions) { o.Members = nil }, "no members"},
		{func(o *RestoreOptions) { o.DataDir = "" }, "no data directory"},
		{func(o *RestoreOptions) { o.DataDir = full }, "nothing is ever overwritten"},
		{func(o *RestoreOptions) { o.DataDir = cutOff }, "left of a restore that was cut off"},
		{func(o *RestoreOptions) { o.Backups = nil }, "no backup"},
		{func(o *RestoreOptions) { o.Backups = []string{path, path} }, "are both of group 1"},
		{func(o *RestoreOptions) { o.Backups = []string{path + "-"} }, "no such file"},
		{func(o *RestoreOptions) { o.Backups = []string{filepath.Join(full, "mine")} }, "it begins with"},
	} {
		o := RestoreOptions{Backups: []string{path}, ClusterID: NewClusterID(), ID: "n1", Members: members, DataDir: filepath.Join(t.TempDir(), "new")}
		c.change(&o)
		if err := Restore(o); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v, expected %q", err, c.why)
		}
	}
	if left, err := os.ReadDir(full); err != nil || len(left) != 1 {
		t.Errorf("%v, %v: the directory that was not empty has changed", left, err)
	}
	// An empty directory is as good as none.
	o := RestoreOptions{Backups: []string{path}, ClusterID: NewClusterID(), ID: "n1", Members: members, DataDir: t.TempDir()}
	if err := Restore(o); err != nil {
		t.Fatal(err)
	}
	if err := Restore(o); !errors.Is(err, ErrForeignDataDir) {
		t.Fatalf("%v, expected %v the second time", err, ErrForeignDataDir)
	}
}

// other is the counter under another name.
type other struct{ *counter.Machine }

func (other) SnapshotFormat() string { return "other" }

// A program that has another machine refuses the snapshot when its group starts.
func TestSnapshotOfAnotherMachineIsRefused(t *testing.T) {
	path, _ := backUp(t, single(t), false)
	o := alone(t, filepath.Join(t.TempDir(), "data"), freeAddress(t))
	o.ClusterID = NewClusterID()
	if err := Restore(RestoreOptions{Backups: []string{path}, ClusterID: o.ClusterID, ID: o.ID, Members: o.Members, DataDir: o.DataDir}); err != nil {
		t.Fatal(err)
	}
	n := startAlone(t, o)
	if _, err := n.StartGroup(1, other{counter.New(counter.Hooks{})}); err != nil {
		t.Fatal(err)
	}
	awaitRole(t, n, "failed")
	s, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if why := s.Groups[0].Failure; !strings.Contains(why, fmt.Sprintf("%q, expected %q", counter.Format, "other")) {
		t.Fatalf("failed: %q", why)
	}
}

// What a node begins with is all on its disk: term, the place where the log goes on, and
// the snapshot with the new members and the old state.
func TestRestoredLogFollowsTheSnapshot(t *testing.T) {
	path, info := backUp(t, single(t), false)
	o := RestoreOptions{
		Backups: []string{path}, ClusterID: NewClusterID(), ID: "b", DataDir: filepath.Join(t.TempDir(), "new"),
		Members: []Member{{ID: "b", Address: "127.0.0.1:2", Priority: 3}, {ID: "a", Address: "127.0.0.1:1"}},
	}
	if err := Restore(o); err != nil {
		t.Fatal(err)
	}
	store, err := engine.Open(vfs.OS{}, filepath.Join(o.DataDir, logDir), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	s, err := store.Load(1)
	if err != nil {
		t.Fatal(err)
	}
	if s.HardState.Term != info.Term || s.HardState.Vote != "" || s.FirstIndex != info.Index+1 || s.PrevTerm != info.Term || len(s.Runs) != 0 {
		t.Errorf("%+v, expected an empty log behind %d of term %d", s, info.Index, info.Term)
	}
	kept, err := snapshots.Open(vfs.OS{}, filepath.Join(o.DataDir, snapshotsDir))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	list, err := kept.List(1)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v: expected one snapshot", list, err)
	}
	m := list[0].Meta
	c := m.Configuration
	if m.Index != info.Index || m.Term != info.Term || m.ConfigurationIndex != info.Index || len(c.Members) != 2 ||
		c.Members[0].Id != "a" || c.Members[1].Id != "b" || c.Members[1].Priority != 3 || len(c.Removed)+len(c.Outgoing)+len(c.Next)+len(c.Resets) != 0 {
		t.Errorf("%v", m)
	}
}
