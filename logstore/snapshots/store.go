package snapshots

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

const (
	lockName      = "LOCK"
	snapshotExt   = ".snapshot"
	unfinishedExt = ".unfinished"
	partialExt    = ".partial"
)

// Store keeps the snapshots of all groups of a node. It is safe for concurrent use;
// a Writer, Reader or Incoming is for one goroutine at a time.
type Store struct {
	fs   vfs.FS
	dir  string
	lock io.Closer

	mu         sync.Mutex
	unfinished map[string]bool      // names that a Writer has open
	incoming   map[uint64]*Incoming // by group, the one that is open
}

// Info says which snapshot it is.
type Info struct {
	Meta     *messages.SnapshotMeta
	Size     int64  // of the file, in bytes
	Checksum uint64 // of its bytes: with Size and Meta it names a snapshot for good

	// Damage is why it cannot be read, where List found out: an error wrapping
	// ErrCorrupt or ErrNewerFormat, or one of the disk. Meta then has just group,
	// incarnation and index.
	Damage error
}

// fileName is what the name of a file says.
type fileName struct{ group, incarnation, index uint64 }

func (n fileName) String() string {
	return fmt.Sprintf("%016x-%016x%s", n.incarnation, n.index, snapshotExt)
}

func (n fileName) meta() *messages.SnapshotMeta {
	return &messages.SnapshotMeta{Group: n.group, Incarnation: n.incarnation, Index: n.index}
}

func nameOf(meta *messages.SnapshotMeta) fileName {
	return fileName{meta.GetGroup(), meta.GetIncarnation(), meta.GetIndex()}
}

// compare has older ones first.
func (n fileName) compare(o fileName) int {
	return cmp.Or(cmp.Compare(n.incarnation, o.incarnation), cmp.Compare(n.index, o.index))
}

func parseHex(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && fmt.Sprintf("%016x", n) == s
}

// parseName reads the name of a file with the extension, whatever stands between its
// index and that.
func parseName(group uint64, name, ext string) (fileName, bool) {
	rest, ok := strings.CutSuffix(name, ext)
	parts := strings.SplitN(rest, "-", 3)
	if !ok || len(parts) < 2 {
		return fileName{}, false
	}
	incarnation, ok1 := parseHex(parts[0])
	index, ok2 := parseHex(parts[1])
	n := fileName{group, incarnation, index}
	return n, ok1 && ok2 && (ext != snapshotExt || name == n.String())
}

// Open opens the store in dir and makes it where there is none. What an interrupted
// writing left is removed; finished snapshots and what has been received of one that
// is newer than all of its group stay. It fails where another process, or another
// Store, has dir open (vfs.ErrLocked), and with an error wrapping ErrNewerFormat where
// a later version has written to it. Damage is no error here: List names it.
func Open(f vfs.FS, dir string) (*Store, error) {
	if err := f.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("snapshots: make %s: %w", dir, err)
	}
	lock, err := f.Lock(path.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	s := &Store{fs: f, dir: dir, lock: lock, unfinished: map[string]bool{}, incoming: map[uint64]*Incoming{}}
	if err := s.recover(); err != nil {
		lock.Close()
		return nil, err
	}
	return s, nil
}

// Close releases the directory. Writers and Incomings must have ended before.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) recover() error {
	groups, err := s.directories()
	if err != nil {
		return err
	}
	for _, group := range groups {
		names, err := s.finished(group)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := s.checkVersion(name); err != nil {
				return err
			}
		}
		if err := s.sweep(group); err != nil {
			return err
		}
		if len(names) > 0 {
			if err := s.removePartials(group, func(p fileName, _ string) bool { return p.compare(names[0]) < 0 }); err != nil {
				return err
			}
		}
		// A process before this one may have died between a name and its sync.
		if err := s.fs.SyncDir(s.groupDir(group)); err != nil {
			return fmt.Errorf("snapshots: %w", err)
		}
	}
	return nil
}

// checkVersion finds files of a later version. Everything else is found by who reads.
func (s *Store) checkVersion(name fileName) error {
	f, err := s.fs.Open(s.path(name))
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, preambleBytes)
	if n, _ := f.ReadAt(b, 0); n < len(b) {
		return nil
	}
	if err := checkPreamble(b); errors.Is(err, logstore.ErrNewerFormat) {
		return fmt.Errorf("snapshots: %s: %w", s.path(name), err)
	}
	return nil
}

func (s *Store) groupDir(group uint64) string { return path.Join(s.dir, fmt.Sprintf("%016x", group)) }

func (s *Store) path(n fileName) string { return path.Join(s.groupDir(n.group), n.String()) }

// directories lists the groups that have one.
func (s *Store) directories() ([]uint64, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("snapshots: list %s: %w", s.dir, err)
	}
	var groups []uint64
	for _, name := range names {
		if group, ok := parseHex(name); ok {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// files lists the directory of a group; of one that has none it is empty.
func (s *Store) files(group uint64) ([]string, error) {
	names, err := s.fs.List(s.groupDir(group))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("snapshots: list %s: %w", s.groupDir(group), err)
	}
	return names, nil
}

// finished lists the snapshots of a group, newest first.
func (s *Store) finished(group uint64) ([]fileName, error) {
	files, err := s.files(group)
	if err != nil {
		return nil, err
	}
	var names []fileName
	for _, file := range files {
		if n, ok := parseName(group, file, snapshotExt); ok {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b fileName) int { return b.compare(a) })
	return names, nil
}

// find is the newest snapshot of a group at an index.
func (s *Store) find(group, index uint64) (fileName, error) {
	names, err := s.finished(group)
	if err != nil {
		return fileName{}, err
	}
	i := slices.IndexFunc(names, func(n fileName) bool { return n.index == index })
	if i < 0 {
		return fileName{}, fmt.Errorf("snapshots: group %d has no snapshot at index %d: %w", group, index, fs.ErrNotExist)
	}
	return names[i], nil
}

// Groups lists the groups that have a snapshot, in ascending order.
func (s *Store) Groups() ([]uint64, error) {
	directories, err := s.directories()
	if err != nil {
		return nil, err
	}
	var groups []uint64
	for _, group := range directories {
		names, err := s.finished(group)
		if err != nil {
			return nil, err
		}
		if len(names) > 0 {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// List returns the snapshots of a group, newest first: the higher incarnation, then
// the higher index. It reads the head and the end of each file; one that is damaged
// there is listed with the reason, for another may still be whole. Reader.Verify finds
// the rest.
func (s *Store) List(group uint64) ([]Info, error) {
	names, err := s.finished(group)
	if err != nil {
		return nil, err
	}
	infos := make([]Info, 0, len(names))
	for _, name := range names {
		r, err := s.open(name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			infos = append(infos, Info{Meta: name.meta(), Damage: err})
		default:
			infos = append(infos, r.Info())
			r.Close()
		}
	}
	return infos, nil
}
