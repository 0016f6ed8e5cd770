package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// InspectedDir is a node's data directory that is looked at: nothing in it is changed,
// and no node can start on it before Close.
type InspectedDir struct {
	Path         string
	NodeID       string // empty for a log without its data directory
	ClusterID    string
	Format       int
	LogDir       string
	SnapshotsDir string // empty where there is none

	locks []*flock.Flock
}

// InspectDataDir holds a data directory that no node runs on, or a directory that is
// only a node's log. Errors wrap ErrDataDirLocked, ErrDataDirNotADir, ErrForeignDataDir,
// ErrDataDirLogLost, ErrDataDirIdentity or ErrNewerDataDir, or fs.ErrNotExist.
func InspectDataDir(path string) (_ *InspectedDir, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%w: %s is a %s", ErrDataDirNotADir, path, kindOf(info.Mode()))
	}
	d := &InspectedDir{Path: path, LogDir: path}
	id, err := readIdentity(path)
	switch {
	case err == nil:
		d.NodeID, d.ClusterID, d.Format = id.NodeID, id.ClusterID, id.Format
		d.LogDir = logPath(path)
		if err := checkLog(path, id.NodeID); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case !holdsLog(path):
		return nil, fmt.Errorf("%w: %s has neither a file %s, as a node's directory has, nor CURRENT or JOURNAL, as its log has", ErrForeignDataDir, path, identityFile)
	}
	if at := filepath.Join(path, snapshotsDir); isDir(at) {
		d.SnapshotsDir = at
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.LogDir != path {
		if err := d.hold(path); err != nil {
			return nil, err
		}
	}
	return d, d.hold(d.LogDir)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// holdsLog says whether a directory has what a log has.
func holdsLog(path string) bool {
	found, err := engine.Detect(vfs.OS{}, path)
	return found != "" || err != nil
}

// hold shares a directory's lock, where it has one, with others that look.
func (d *InspectedDir) hold(dir string) error {
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetFlag(os.O_RDONLY))
	held, err := lock.TryRLock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // nobody has ever opened it: a copy, say
	case err != nil:
		return fmt.Errorf("data directory %s: cannot lock it: %w", dir, err)
	case !held:
		return fmt.Errorf("%w: %s (a node is running on it: stop it, or look at a copy)", ErrDataDirLocked, d.Path)
	}
	d.locks = append(d.locks, lock)
	return nil
}

// Close lets a node start on the directory.
func (d *InspectedDir) Close() error {
	var errs []error
	for _, lock := range d.locks {
		errs = append(errs, lock.Close())
	}
	d.locks = nil
	return errors.Join(errs...)
}
