package vfs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
)

// Crash stops the disk for good and returns the one a restart finds. It may be
// called again, with another rng, for another fate of the same crash.
//
// What was synced is there. Of the rest, each file loses all, keeps all, or keeps
// some sectors; a lost sector has its old bytes, zeros where it had none, and the
// length may or may not have grown over it. Of the name changes of a directory
// since its last sync none, all, the first few or any of them happened.
func (m *Mem) Crash(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	after := NewMem(rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())))
	after.root = m.root.crashed(rng, map[*node]*node{})
	return after
}

// crashed copies what survives of a node; seen keeps one copy for each, since a
// crash can leave a file under two names.
func (n *node) crashed(rng *rand.Rand, seen map[*node]*node) *node {
	if c := seen[n]; c != nil {
		return c
	}
	if !n.dir {
		c := newFile()
		seen[n] = c
		c.data = n.survivor(rng)
		c.synced = slices.Clone(c.data)
		return c
	}
	c := newDir()
	seen[n] = c
	names := n.survivingNames(rng)
	for _, name := range sortedNames(names) {
		child := names[name].crashed(rng, seen)
		c.names[name], c.durable[name] = child, child
	}
	return c
}

func (n *node) survivingNames(rng *rand.Rand) map[string]*node {
	names := maps.Clone(n.durable)
	mode := rng.IntN(4)
	first := 0
	if mode == 2 {
		first = rng.IntN(len(n.pending) + 1)
	}
	for i, c := range n.pending {
		if mode == 1 || mode == 2 && i < first || mode == 3 && rng.IntN(2) == 0 {
			c.apply(names)
		}
	}
	return names
}

// survivor is what a crash leaves of a file's bytes.
func (n *node) survivor(rng *rand.Rand) []byte {
	if len(n.dirty) == 0 && !n.cut {
		return slices.Clone(n.synced)
	}
	mode := rng.IntN(4) // 0 none, 1 all, else any
	out := slices.Clone(n.synced)
	if n.cut && (mode == 1 || mode > 1 && rng.IntN(2) == 0) {
		out = out[:min(len(out), len(n.data))]
	}
	if mode == 0 {
		return out
	}
	for _, s := range slices.Sorted(maps.Keys(n.dirty)) {
		from := s * SectorBytes
		if from >= len(n.data) || mode > 1 && rng.IntN(2) == 0 {
			continue
		}
		to := min(from+SectorBytes, len(n.data))
		if to > len(out) {
			out = resize(out, to)
		}
		copy(out[from:to], n.data[from:to])
	}
	if len(out) < len(n.data) && (mode == 1 || rng.IntN(2) == 0) {
		out = resize(out, len(n.data)) // the length got there, the bytes did not
	}
	return out
}

// Clone returns another disk with the same bytes, names and unsynced changes. Open
// files, locks and faults stay behind.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem(rand.New(rand.NewPCG(m.rng.Uint64(), m.rng.Uint64())))
	c.root = m.root.clone(map[*node]*node{})
	return c
}

func (n *node) clone(seen map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if c := seen[n]; c != nil {
		return c
	}
	c := &node{dir: n.dir, cut: n.cut}
	seen[n] = c
	if !n.dir {
		c.data, c.synced, c.dirty = slices.Clone(n.data), slices.Clone(n.synced), maps.Clone(n.dirty)
		return c
	}
	c.names, c.durable = map[string]*node{}, map[string]*node{}
	for name, child := range n.names {
		c.names[name] = child.clone(seen)
	}
	for name, child := range n.durable {
		c.durable[name] = child.clone(seen)
	}
	for _, p := range n.pending {
		c.pending = append(c.pending, nameChange{p.from, p.to, p.n.clone(seen)})
	}
	return c
}

// FileSizes returns the length of every file, by its full name.
func (m *Mem) FileSizes() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	sizes := map[string]int{}
	m.root.sizes("/", sizes)
	return sizes
}

func (n *node) sizes(at string, into map[string]int) {
	if !n.dir {
		into[at] = len(n.data)
		return
	}
	for name, child := range n.names {
		child.sizes(path.Join(at, name), into)
	}
}

// Flip inverts one bit of a file, in the cache and on the disk.
func (m *Mem) Flip(name string, offset int, bit uint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("flip", name)
	if err != nil {
		return err
	}
	if n.dir || offset < 0 || offset >= len(n.data) {
		return fmt.Errorf("vfs: flip byte %d of %s, which has %d", offset, name, len(n.data))
	}
	mask := byte(1) << (bit % 8)
	n.data[offset] ^= mask
	if offset < len(n.synced) {
		n.synced[offset] ^= mask
	}
	return nil
}
