package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
)

// SectorBytes is what a disk writes as a whole or not at all.
const SectorBytes = 512

// ErrCrashed answers everything asked of a disk after it crashed.
var ErrCrashed = errors.New("vfs: the disk has crashed")

// Mem is a disk in memory, with a page cache before it. What was not synced is
// lost, kept or torn at sectors when it crashes, names until their directory was
// synced; see Crash. It has no clock, no goroutines and no randomness of its own:
// the same calls with the same rands give the same disk.
type Mem struct {
	mu     sync.Mutex
	rng    *rand.Rand
	root   *node
	locks  map[string]bool
	inject func(Op) Fault
	ops    int
	reads  int
	dead   bool

	limited bool
	limit   int // of all files together, in bytes
	refused int // writes refused for it
}

// OpKind is what an Op does.
type OpKind uint8

// The kinds. All but OpRead change the disk.
const (
	OpCreate OpKind = iota
	OpWrite
	OpTruncate
	OpSync
	OpRename
	OpRemove
	OpMkdir
	OpSyncDir
	OpRead
)

func (k OpKind) String() string {
	return [...]string{"create", "write", "truncate", "sync", "rename", "remove", "mkdir", "syncdir", "read"}[k]
}

// Op is one call about to happen.
type Op struct {
	Kind OpKind
	Name string
	N    int // counts the changing calls from 1; reads have a count of their own
	Len  int // of a write or read, in bytes
}

// Fault is what goes wrong with an Op. The zero Fault is nothing.
type Fault struct {
	// Crash stops the world before the op: it and all later ones answer ErrCrashed.
	Crash bool
	// Err fails the op. A write keeps its first Keep bytes; where it ends within old
	// ones only whole sectors, as the page cache takes whole pages. A sync drops: every
	// unsynced sector is durable or not, as the disk's rand has it, and counts as
	// clean from then on, so that no later sync writes it. Anything else does nothing.
	Err  error
	Keep int
	// Undone: a sync that fails drops nothing either. The process died before it; what it
	// wrote is in the cache for the next one to see.
	Undone bool
}

// node is a file or a directory. What is durable stands beside what is seen.
type node struct {
	dir bool

	names   map[string]*node
	durable map[string]*node
	pending []nameChange // since the last SyncDir, in order

	data   []byte
	synced []byte
	dirty  map[int]struct{} // sectors of data that differ from synced
	cut    bool             // truncated since the last sync
}

// nameChange sets to (where not "") to n and frees from (where not "").
type nameChange struct {
	from, to string
	n        *node
}

func newDir() *node {
	return &node{dir: true, names: map[string]*node{}, durable: map[string]*node{}}
}

func newFile() *node { return &node{dirty: map[int]struct{}{}} }

// NewMem returns an empty disk. rng decides what a failed sync keeps.
func NewMem(rng *rand.Rand) *Mem {
	return &Mem{rng: rng, root: newDir(), locks: map[string]bool{}}
}

// Inject has f asked about every op before it happens; nil stops that. f must not
// call the disk.
func (m *Mem) Inject(f func(Op) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inject = f
}

// Limit bounds the length of all files together, in bytes. A write that would make them
// longer writes what fits and fails with ENOSPC; nothing else does, and a file that is
// cut or removed makes room. A limit below what there is refuses all growth.
func (m *Mem) Limit(bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limited, m.limit = true, bytes
}

// NoLimit undoes Limit.
func (m *Mem) NoLimit() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limited = false
}

// Refused is how many writes did not fit since the disk was made, cloned or crashed.
func (m *Mem) Refused() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

// Used is the length of all files together, in bytes.
func (m *Mem) Used() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root.used()
}

func (n *node) used() int {
	sum := len(n.data)
	for _, child := range n.names {
		sum += child.used()
	}
	return sum
}

// fits is how many bytes of a write at off of file n there is room for. It is called
// with the lock held.
func (m *Mem) fits(n *node, off, length int) int {
	grows := off + length - len(n.data)
	if !m.limited || grows <= 0 {
		return length
	}
	short := grows - max(m.limit-m.root.used(), 0)
	if short <= 0 {
		return length
	}
	m.refused++
	return max(length-short, 0)
}

// Ops is how many changing calls there were.
func (m *Mem) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// Crashed says whether the disk has stopped.
func (m *Mem) Crashed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// before counts an op and asks for its fault. It is called with the lock held.
func (m *Mem) before(kind OpKind, name string, n int) (Fault, error) {
	if m.dead {
		return Fault{}, &fs.PathError{Op: kind.String(), Path: name, Err: ErrCrashed}
	}
	op := Op{Kind: kind, Name: name, Len: n}
	if kind == OpRead {
		m.reads++
		op.N = m.reads
	} else {
		m.ops++
		op.N = m.ops
	}
	if m.inject == nil {
		return Fault{}, nil
	}
	fault := m.inject(op)
	if fault.Crash {
		m.dead = true
		return fault, &fs.PathError{Op: kind.String(), Path: name, Err: ErrCrashed}
	}
	if fault.Err != nil {
		return fault, &fs.PathError{Op: kind.String(), Path: name, Err: fault.Err}
	}
	return fault, nil
}

func split(name string) (dir, base string) {
	name = path.Clean("/" + name)
	return path.Dir(name), path.Base(name)
}

func (m *Mem) lookup(op, name string) (*node, error) {
	n := m.root
	for part := range strings.SplitSeq(path.Clean("/"+name), "/") {
		if part == "" {
			continue
		}
		if n = n.names[part]; n == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return n, nil
}

func (m *Mem) parent(op, name string) (*node, string, error) {
	dir, base := split(name)
	p, err := m.lookup(op, dir)
	if err == nil && !p.dir {
		err = &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return p, base, err
}

func (d *node) change(c nameChange) {
	d.pending = append(d.pending, c)
	c.apply(d.names)
}

func (c nameChange) apply(names map[string]*node) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.n
	}
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.before(OpCreate, name, 0); err != nil {
		return nil, err
	}
	p, base, err := m.parent("create", name)
	if err != nil {
		return nil, err
	}
	if p.names[base] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	n := newFile()
	p.change(nameChange{to: base, n: n})
	return &memFile{m: m, n: n, name: name, write: true}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, false) }

// Append implements FS.
func (m *Mem) Append(name string) (File, error) { return m.open(name, true) }

func (m *Mem) open(name string, write bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.before(OpRead, name, 0); err != nil {
		return nil, err
	}
	n, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if n.dir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return &memFile{m: m, n: n, name: name, write: write, at: len(n.data)}, nil
}

// Rename implements FS. Both names must be within one directory.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.before(OpRename, from, 0); err != nil {
		return err
	}
	p, base, err := m.parent("rename", from)
	if err != nil {
		return err
	}
	toDir, toBase := split(to)
	if fromDir, _ := split(from); fromDir != toDir {
		return fmt.Errorf("vfs: rename %s to %s: expected one directory", from, to)
	}
	n := p.names[base]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	p.change(nameChange{from: base, to: toBase, n: n})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.before(OpRemove, name, 0); err != nil {
		return err
	}
	p, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n := p.names[base]
	if n == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if n.dir && len(n.names) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: errors.New("directory not empty")}
	}
	p.change(nameChange{from: base})
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.before(OpRead, dir, 0); err != nil {
		return nil, err
	}
	n, err := m.lookup("list", dir)
	if err != nil {
		return nil, err
	}
	return sortedNames(n.names), nil
}

func sortedNames(names map[string]*node) []string {
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, n := "/", m.root
	for part := range strings.SplitSeq(path.Clean("/"+dir), "/") {
		if part == "" {
			continue
		}
		next := n.names[part]
		if next == nil {
			if _, err := m.before(OpMkdir, path.Join(at, part), 0); err != nil {
				return err
			}
			next = newDir()
			n.change(nameChange{to: part, n: next})
		}
		if !next.dir {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
		}
		if err := m.syncDir(at, n); err != nil {
			return err
		}
		at, n = path.Join(at, part), next
	}
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("syncdir", dir)
	if err != nil {
		return err
	}
	return m.syncDir(dir, n)
}

func (m *Mem) syncDir(name string, n *node) error {
	if _, err := m.before(OpSyncDir, name, 0); err != nil {
		return err
	}
	for _, c := range n.pending {
		c.apply(n.durable)
	}
	n.pending = nil
	return nil
}

// Lock implements FS. Locks do not survive a crash.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: ErrCrashed}
	}
	if m.locks[name] {
		return nil, fmt.Errorf("%w: %s", ErrLocked, name)
	}
	m.locks[name] = true
	return &memLock{m: m, name: name}, nil
}

type memLock struct {
	m    *Mem
	name string
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}
