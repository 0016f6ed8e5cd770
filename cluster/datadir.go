package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// Why a data directory was not opened. The error that wraps one of these names
// the directory, what was found there and what was expected. A directory that
// may not be read or written gives an error wrapping fs.ErrPermission.
var (
	ErrDataDirLocked    = errors.New("data directory in use by another process")
	ErrDataDirNotADir   = errors.New("data directory is not a directory")
	ErrForeignDataDir   = errors.New("data directory holds files that are not a node's")
	ErrNewerDataDir     = errors.New("data directory written by a newer version")
	ErrDataDirIdentity  = errors.New("data directory's identity is unreadable")
	ErrDataDirOfCluster = errors.New("data directory belongs to another cluster")
	ErrDataDirOfNode    = errors.New("data directory belongs to another node")
	ErrDataDirLogLost   = errors.New("data directory has lost its log")
)

const (
	lockFile      = "LOCK"
	identityFile  = "IDENTITY"
	identityTemp  = "IDENTITY.tmp"
	logDir        = "log"
	snapshotsDir  = "snapshots"
	identityBytes = 64 << 10 // no identity is larger
)

// identity says whose data a directory holds.
type identity struct {
	Format    int    `json:"format"`
	ClusterID string `json:"cluster_id"`
	NodeID    string `json:"node_id"`
}

// dataDir is a node's directory, locked while it is open.
type dataDir struct {
	path string
	lock *flock.Flock
}

// openDataDir opens path for the node that id names, its format left 0, and makes
// the directory where there is none. When it returns, the identity is durable, its format
// that of the engine that is to keep the log, and no other process can open the directory
// until this one closes it or ends. logEngine is as Options.LogEngine; an error wraps
// ErrLogEngine where another one keeps the log.
//
// Opening it again later with the same identity changes nothing. On an error
// nothing was changed in a directory that existed, but for the file LOCK in one
// that is, or could have become, this node's.
func openDataDir(path string, id identity, logEngine string) (*dataDir, error) {
	if path == "" || id.ClusterID == "" || id.NodeID == "" {
		return nil, fmt.Errorf("data directory %q of node %q in cluster %q: path, node id and cluster id must not be empty", path, id.NodeID, id.ClusterID)
	}
	if err := makeDir(path); err != nil {
		return nil, err
	}
	// Look before locking: the lock is a file, and a directory that is somebody
	// else's should not gain one.
	if _, err := checkIdentity(path, id); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(path, lockFile), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data directory %s: cannot lock it: %w", path, err)
	}
	if !locked {
		return nil, fmt.Errorf("%w: %s (a node is running on it; one process at a time)", ErrDataDirLocked, path)
	}
	d := &dataDir{path: path, lock: lock}
	if err := settleLog(path); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.claim(id, logEngine); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close lets others open the directory.
func (d *dataDir) Close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("data directory %s: cannot unlock it: %w", d.path, err)
	}
	return nil
}

// claim writes the identity where there is none, or one of another format, under the lock:
// another process may have claimed the directory since it was looked at.
func (d *dataDir) claim(id identity, logEngine string) error {
	found, err := checkIdentity(d.path, id)
	if err != nil {
		return err
	}
	log := filepath.Join(d.path, logDir)
	keptBy, err := engine.Choose(vfs.OS{}, log, logEngine)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", d.path, err)
	}
	id.Format = formatWith(keptBy)
	if found.Format == id.Format {
		return nil
	}
	// First the place for the log: where there is an identity and none, it was lost.
	if err := makeDir(log); err != nil {
		return err
	}
	if err := writeIdentity(d.path, id); err != nil {
		return fmt.Errorf("data directory %s: cannot write its identity: %w", d.path, err)
	}
	return nil
}

// makeDir makes path and whatever of its parents is missing, durably.
func makeDir(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%w: %s is a %s", ErrDataDirNotADir, path, kindOf(info.Mode()))
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("data directory %s: %w", path, err)
	}
	parent := filepath.Dir(filepath.Clean(path))
	if parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("data directory %s: cannot make it: %w", path, err)
	}
	if err := syncDir(parent); err != nil {
		return fmt.Errorf("data directory %s: cannot sync its parent: %w", path, err)
	}
	return nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "file"
	case mode&fs.ModeDevice != 0:
		return "device"
	default:
		return mode.Type().String()
	}
}

// checkIdentity returns the identity in path, which must be want's but for the format;
// without any, the directory must be empty.
func checkIdentity(path string, want identity) (identity, error) {
	got, err := readIdentity(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return identity{}, checkEmpty(path)
	case err != nil:
		return identity{}, err
	case got.ClusterID != want.ClusterID:
		return identity{}, fmt.Errorf("%w: %s is of cluster %q (node %q), expected cluster %q", ErrDataDirOfCluster, path, got.ClusterID, got.NodeID, want.ClusterID)
	case got.NodeID != want.NodeID:
		return identity{}, fmt.Errorf("%w: %s is of node %q, expected node %q", ErrDataDirOfNode, path, got.NodeID, want.NodeID)
	}
	return got, checkLog(path, got.NodeID)
}

// checkLog: a node that begins with an empty log in the place of one it had could vote
// twice in a term, and acknowledge what it does not have.
func checkLog(path, node string) error {
	info, err := os.Stat(logPath(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is of node %q and has no directory %s: put it back, or empty the directory: the node then fetches the log from the others, and does not vote until it has it", ErrDataDirLogLost, path, node, logDir)
	case err != nil:
		return fmt.Errorf("data directory %s: %w", path, err)
	case !info.IsDir():
		return fmt.Errorf("%w: %s in it is a %s", ErrDataDirNotADir, filepath.Join(path, logDir), kindOf(info.Mode()))
	}
	return nil
}

func checkEmpty(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", path, err)
	}
	var foreign []string
	for _, e := range entries {
		switch e.Name() {
		// Ours from an attempt that was cut short, or what mkfs leaves.
		case lockFile, identityTemp, "lost+found":
			continue
		case logDir:
			if inside, err := os.ReadDir(filepath.Join(path, logDir)); err == nil && len(inside) == 0 {
				continue
			}
		}
		foreign = append(foreign, e.Name())
	}
	if len(foreign) == 0 {
		return nil
	}
	shown := foreign[:min(len(foreign), 3)]
	return fmt.Errorf("%w: %s has no file %s but %d others (%s), expected an empty directory or a node's",
		ErrForeignDataDir, path, identityFile, len(foreign), strings.Join(shown, ", "))
}

func readIdentity(path string) (identity, error) {
	name := filepath.Join(path, identityFile)
	info, err := os.Stat(name)
	if err != nil {
		return identity{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > identityBytes {
		return identity{}, fmt.Errorf("%w: %s is a %s of %d bytes, expected a file of at most %d", ErrDataDirIdentity, name, kindOf(info.Mode()), info.Size(), identityBytes)
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return identity{}, fmt.Errorf("%w: %w", ErrDataDirIdentity, err)
	}
	return parseIdentity(name, raw)
}

func parseIdentity(name string, raw []byte) (identity, error) {
	var id identity
	if err := json.Unmarshal(raw, &id); err != nil {
		return identity{}, fmt.Errorf("%w: %s holds %.40q, expected JSON with format, cluster_id and node_id: %v", ErrDataDirIdentity, name, raw, err)
	}
	// The format comes first: a newer one may have done away with the other fields.
	if id.Format > dataDirFormat {
		return identity{}, fmt.Errorf("%w: %s says format %d, this version knows up to %d", ErrNewerDataDir, name, id.Format, dataDirFormat)
	}
	if id.Format < 1 || id.ClusterID == "" || id.NodeID == "" {
		return identity{}, fmt.Errorf("%w: %s says format %d, cluster %q, node %q; expected all three", ErrDataDirIdentity, name, id.Format, id.ClusterID, id.NodeID)
	}
	return id, nil
}

// writeIdentity makes the identity durable: whole or not there at all.
func writeIdentity(path string, id identity) (err error) {
	raw, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	temp := filepath.Join(path, identityTemp)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, filepath.Join(path, identityFile)); err != nil {
		return err
	}
	return syncDir(path)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
