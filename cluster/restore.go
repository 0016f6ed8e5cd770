package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/actors/core"
	"github.com/protoraft/protoraft/fsm"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/level"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// RestoreOptions say which node of which new cluster a directory is made for.
type RestoreOptions struct {
	// Backups are files, each of another group. All of their clusters' groups that the
	// program starts must be among them: one that is not begins empty.
	Backups []string

	// ClusterID is the new cluster's: see NewClusterID. The same for all of its nodes, and
	// not that of a cluster that was backed up.
	ClusterID string
	// Members are those the new cluster begins with, all voters, the same for all nodes. ID
	// is the one of them that the directory is for. That of a witness begins where the
	// others do, and is given no state.
	Members []Member
	ID      string

	// DataDir must not exist, or be empty.
	DataDir string

	// Machine is the format of the state machine that is to read the backups, see
	// fsm.Formatted. Empty: not checked here, but when the group starts.
	Machine string
}

// NewClusterID draws an id that no other cluster has.
func NewClusterID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // it never fails: crypto/rand ends the program first
	return hex.EncodeToString(b)
}

// Restore makes the data directory of one node of a new cluster from backups. Every group
// begins there with the state of its backup, sessions of clients included, at its index and
// in its term, and with Members in place of the members it had. Nodes of the old cluster,
// and directories of theirs, are refused by the new one, for its id is another.
//
// The directory appears whole and durable, or not at all; every backup was read and checked
// to its end before. Errors wrap ErrBackup, ErrForeignDataDir where the directory is not
// empty, or one of the disk.
//
// Indexes above the backup's, of versions and fencing tokens too, are given anew: what the
// old cluster gave out after the backup must not be held against the new one.
func Restore(o RestoreOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	files, err := o.open()
	defer func() {
		for _, b := range files {
			b.Close()
		}
	}()
	if err != nil {
		return err
	}
	target := filepath.Clean(o.DataDir)
	if err := checkNothingThere(target); err != nil {
		return err
	}
	if err := makeDir(filepath.Dir(target)); err != nil {
		return err
	}
	temp := target + ".restoring"
	if err := os.Mkdir(temp, 0o700); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("restore: %s is left of a restore that was cut off, or one is under way: remove it when none is", temp)
	} else if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := o.fill(temp, files); err != nil {
		return errors.Join(fmt.Errorf("restore: %w", err), os.RemoveAll(temp))
	}
	if err := putInPlace(temp, target); err != nil {
		return errors.Join(fmt.Errorf("restore: %w", err), os.RemoveAll(temp))
	}
	return nil
}

func (o *RestoreOptions) check() error {
	if err := checkMembers(o.Members); err != nil {
		return err
	}
	if err := core.CheckWitness(bootstrapOf(o.Members).Members); err != nil {
		return fmt.Errorf("restore: members: %w", err)
	}
	switch {
	case addressBook(o.Members)[o.ID] == "":
		return fmt.Errorf("restore: id %q is not among the members %s", o.ID, memberList(o.Members))
	case o.ClusterID == "":
		return errors.New("restore: no cluster id, expected a new one, the same for all nodes")
	case o.DataDir == "":
		return errors.New("restore: no data directory, expected one that does not exist yet, or is empty")
	case len(o.Backups) == 0:
		return errors.New("restore: no backup, expected a file of each group")
	}
	return nil
}

// open opens the backups and refuses those that cannot be restored together.
func (o *RestoreOptions) open() (files []*Backup, err error) {
	of := map[uint64]string{}
	for _, path := range o.Backups {
		b, err := openBackup(path)
		if err != nil {
			return files, err
		}
		files = append(files, b)
		switch other := of[b.info.Group]; {
		case other != "":
			return files, fmt.Errorf("restore: %s and %s are both of group %d, expected one of each group", other, path, b.info.Group)
		case b.info.Cluster == o.ClusterID:
			return files, fmt.Errorf("restore: %s is of cluster %q itself, expected a new id: two histories of one cluster must never meet", path, o.ClusterID)
		}
		if err := fsm.CheckSnapshotFormat(b.info.Machine, o.Machine); err != nil {
			return files, fmt.Errorf("restore: %s: %w", path, err)
		}
		of[b.info.Group] = path
	}
	return files, nil
}

// checkNothingThere refuses a place where anything is.
func checkNothingThere(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("restore: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("%w: %s has %d entries (%s, …), expected none: nothing is ever overwritten", ErrForeignDataDir, path, len(entries), entries[0].Name())
	}
	return nil
}

// fill writes everything a node begins with. The identity comes last: a directory without
// one is nobody's.
func (o *RestoreOptions) fill(dir string, files []*Backup) error {
	if err := makeDir(filepath.Join(dir, logDir)); err != nil {
		return err
	}
	if err := o.writeSnapshots(filepath.Join(dir, snapshotsDir), files); err != nil {
		return err
	}
	if err := writeLogs(filepath.Join(dir, logDir), files); err != nil {
		return err
	}
	return writeIdentity(dir, identity{Format: dataDirFormat, ClusterID: o.ClusterID, NodeID: o.ID})
}

func (o *RestoreOptions) writeSnapshots(dir string, files []*Backup) (err error) {
	store, err := snapshots.Open(vfs.OS{}, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for _, b := range files {
		meta := proto.Clone(b.file.Meta()).(*messages.SnapshotMeta)
		meta.Configuration, meta.ConfigurationIndex = o.configuration(), meta.Index
		if err := writeSnapshot(store, meta, b.file, isWitness(o.Members, o.ID)); err != nil {
			return fmt.Errorf("group %d: %w", meta.Group, err)
		}
	}
	return nil
}

// writeSnapshot copies the state; bare leaves it out, for a witness.
func writeSnapshot(store *snapshots.Store, meta *messages.SnapshotMeta, from *snapshots.Reader, bare bool) error {
	w, err := store.Create(meta)
	if err != nil {
		return err
	}
	if !bare {
		if err := w.Copy(from); err != nil {
			w.Abort()
			return err
		}
	}
	if _, err := w.Commit(); err != nil {
		return err
	}
	written, err := store.Open(meta.Group, meta.Index)
	if err != nil {
		return err
	}
	return errors.Join(written.Verify(), written.Close())
}

// configuration is what a new group of the members would begin with.
func (o *RestoreOptions) configuration() *messages.Configuration {
	c := &messages.Configuration{}
	for _, m := range byID(o.Members) {
		c.Members = append(c.Members, m.message(m.voterRole()))
	}
	return c
}

// writeLogs has every group's log begin behind its snapshot, in that one's term.
func writeLogs(dir string, files []*Backup) error {
	store, err := level.Open(vfs.OS{}, dir, level.Options{})
	if err != nil {
		return err
	}
	var updates []logstore.Update
	for _, b := range files {
		m := b.file.Meta()
		updates = append(updates, logstore.Update{
			Group: m.Group, Incarnation: m.Incarnation, HardState: &logstore.HardState{Term: m.Term},
			CompactTo: m.Index, CompactTerm: m.Term,
		})
	}
	return errors.Join(store.Write(updates), store.Close())
}

// putInPlace renames a directory that is whole. What is in the way may only be empty.
func putInPlace(temp, target string) error {
	if err := syncDir(temp); err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(temp, target); err != nil {
		return err
	}
	return syncDir(filepath.Dir(target))
}
