package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// ErrLogEngine: the log in a data directory is kept by another engine than was asked for,
// or by none that is known.
var ErrLogEngine = engine.ErrOther

// Where a log stands while it is converted. It is written beside the old one, and gets
// the name convertedDir when it is whole and durable; the two then change places, one
// rename at a time, and a start after a crash in between goes on with that. Where both are
// there under their names the old one may have been written to since, and counts.
const (
	convertingDir = "log.converting"
	convertedDir  = "log.converted"
	formerDir     = "log.former"
)

// ConvertOptions say what to convert.
type ConvertOptions struct {
	DataDir   string // of a node that does not run
	LogEngine string // what its log is to be kept by
	Logger    hclog.Logger
}

// Converted is what a conversion came to.
type Converted struct {
	NodeID   string
	From, To string // engines; nothing was done where they are the same
	Groups   int
	Entries  uint64
}

// ConvertLog has the log of a node that does not run be kept by another engine: terms,
// votes, notes and entries stay what they are. It needs room for the log a second time.
// The old log is there until the new one is whole, durable and compared with it; a crash
// leaves the one or the other, and nothing to be repaired by hand.
//
// A damaged log is refused with an error wrapping logstore.ErrCorrupt: a node that starts
// on it has it repaired by the others. Other errors are those of InspectDataDir.
func ConvertLog(o ConvertOptions) (c Converted, err error) {
	if o.LogEngine == "" {
		return c, errors.New("convert: no log engine")
	}
	if err := engine.Check(o.LogEngine); err != nil {
		return c, err
	}
	id, err := readIdentity(o.DataDir)
	if err != nil {
		return c, fmt.Errorf("convert: %w", err)
	}
	d, err := lockDataDir(o.DataDir)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := settleLog(o.DataDir); err != nil {
		return c, err
	}
	if err := checkLog(o.DataDir, id.NodeID); err != nil {
		return c, err
	}
	c.NodeID, c.To = id.NodeID, o.LogEngine
	if c.From, err = engine.Detect(vfs.OS{}, filepath.Join(o.DataDir, logDir)); err != nil {
		return c, err
	}
	switch c.From {
	case c.To:
		return c, settleFormat(o.DataDir, c.To) // the last one may have been cut off before it
	case "":
		return c, fmt.Errorf("convert: %s has no log yet: a node that starts there makes one", o.DataDir)
	}
	if err := o.copyLog(&c); err != nil {
		return c, fmt.Errorf("convert the log in %s: %w", o.DataDir, err)
	}
	return c, exchangeLogs(o.DataDir, c.From, c.To)
}

// lockDataDir keeps nodes from a directory that is there.
func lockDataDir(path string) (*dataDir, error) {
	lock := flock.New(filepath.Join(path, lockFile), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data directory %s: cannot lock it: %w", path, err)
	}
	if !locked {
		return nil, fmt.Errorf("%w: %s (a node is running on it; one process at a time)", ErrDataDirLocked, path)
	}
	return &dataDir{path: path, lock: lock}, nil
}

// copyLog makes the new log, whole and durable, under the name that says so.
func (o *ConvertOptions) copyLog(c *Converted) (err error) {
	building := filepath.Join(o.DataDir, convertingDir)
	from, err := engine.Open(vfs.OS{}, filepath.Join(o.DataDir, logDir), c.From, o.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := engine.Open(vfs.OS{}, building, c.To, o.Logger)
	if err != nil {
		return err
	}
	copied, err := engine.Copy(from, to)
	if err = errors.Join(err, to.Close()); err != nil {
		return errors.Join(err, os.RemoveAll(building))
	}
	c.Groups, c.Entries = copied.Groups, copied.Entries
	if err := os.Rename(building, filepath.Join(o.DataDir, convertedDir)); err != nil {
		return err
	}
	return syncDir(o.DataDir)
}

// exchangeLogs puts a log that is whole in the place of the old one. Meanwhile the identity
// says the higher of the formats of both.
func exchangeLogs(path, from, to string) error {
	if formatWith(to) > formatWith(from) {
		if err := settleFormat(path, to); err != nil {
			return err
		}
	}
	if err := os.Rename(filepath.Join(path, logDir), filepath.Join(path, formerDir)); err != nil {
		return err
	}
	if err := syncDir(path); err != nil {
		return err
	}
	if err := settleLog(path); err != nil {
		return err
	}
	return settleFormat(path, to)
}

// settleFormat has the identity say the format of a directory whose log is kept by an
// engine. It is called with the directory locked.
func settleFormat(path, keptBy string) error {
	id, err := readIdentity(path)
	if err != nil || id.Format == formatWith(keptBy) {
		return err
	}
	id.Format = formatWith(keptBy)
	if err := writeIdentity(path, id); err != nil {
		return fmt.Errorf("data directory %s: cannot write its identity: %w", path, err)
	}
	return nil
}

// settleLog ends a conversion that was cut off. It is called with the directory locked.
func settleLog(path string) error {
	log, converted := filepath.Join(path, logDir), filepath.Join(path, convertedDir)
	_, err := os.Lstat(log)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(converted); errors.Is(err, fs.ErrNotExist) {
			return nil // whoever needs it says so
		}
		if err = os.Rename(converted, log); err == nil {
			err = syncDir(path)
		}
		if err != nil {
			return fmt.Errorf("data directory %s: end the conversion of its log: %w", path, err)
		}
	} else if err != nil {
		return fmt.Errorf("data directory %s: %w", path, err)
	}
	for _, left := range []string{convertingDir, convertedDir, formerDir} {
		if err := os.RemoveAll(filepath.Join(path, left)); err != nil {
			return fmt.Errorf("data directory %s: remove what a conversion of its log has left: %w", path, err)
		}
	}
	return nil
}

// logPath is where the log of a data directory is to be looked for: a conversion that was
// cut off may have left the whole one under its other name.
func logPath(path string) string {
	log := filepath.Join(path, logDir)
	if converted := filepath.Join(path, convertedDir); !isDir(log) && isDir(converted) {
		return converted
	}
	return log
}
