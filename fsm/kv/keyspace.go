package kv

import (
	"github.com/cespare/xxhash/v2"
	"github.com/tidwall/btree"
)

const maxHash = 1<<63 - 1

// cell is what a key holds.
type cell struct {
	value    []byte
	deadline int64  // log time, ms since 1970, from which on the key is no more; 0: none
	version  uint64 // index of the entry that changed it last
}

// item is a key with its cell, and whatever other keys have the same hash, in
// ascending order. Trees that were copied share items: one of an older generation
// is immutable.
type item struct {
	cell
	key        string
	next       *item
	generation uint64
}

// keyspace maps keys to cells, ordered by (hash of key, key). The hash is fixed
// for good: members, snapshots and cursors depend on it. Keys whose deadline has
// passed are still in the tree for a while; only expire.go and snapshots see them.
type keyspace struct {
	tree       *btree.Map[uint64, *item]
	deadlines  *btree.BTreeG[due] // of the tree's keys
	now        int64              // log time, ms since 1970
	count      int                // of the tree, expired keys included
	hash       func([]byte) uint64
	generation uint64 // goes up with every copy: items of this one are in no copy
}

func newKeyspace() keyspace {
	return keyspace{tree: btree.NewMap[uint64, *item](0), deadlines: newDeadlines(), hash: hashKey}
}

func hashKey(key []byte) uint64 { return xxhash.Sum64(key) >> 1 }

// len is the number of keys that have not expired.
func (k *keyspace) len() int { return k.count - k.expired() }

func (k *keyspace) clear() {
	k.tree, k.deadlines, k.count = btree.NewMap[uint64, *item](0), newDeadlines(), 0
}

// copy returns the tree as it is. It stays so while the keyspace changes.
func (k *keyspace) copy() *btree.Map[uint64, *item] {
	k.generation++
	return k.tree.Copy()
}

// find returns the key's item, nil when there is none or it has expired.
func (k *keyspace) find(key []byte) *item {
	first, _ := k.tree.Get(k.hash(key))
	if it := first.of(key); it.alive(k.now) {
		return it
	}
	return nil
}

func (k *keyspace) get(key []byte) ([]byte, bool) {
	if it := k.find(key); it != nil {
		return it.value, true
	}
	return nil, false
}

// store sets a key for which find has returned found. It keeps the value and copies
// the key.
func (k *keyspace) store(found *item, key []byte, c cell) {
	if found != nil && found.generation == k.generation {
		k.reschedule(found.key, found.deadline, c.deadline)
		found.cell = c
		return
	}
	hash := k.hash(key)
	first, _ := k.tree.Get(hash)
	before := found
	if before == nil && first != nil {
		before = first.of(key) // expired
	}
	chain := first.with(key, c, k.generation)
	k.tree.Set(hash, chain)
	old, name := int64(0), ""
	if before != nil {
		old, name = before.deadline, before.key
	} else {
		k.count++
	}
	if old|c.deadline != 0 {
		if name == "" {
			name = chain.of(key).key // shared with the item
		}
		k.reschedule(name, old, c.deadline)
	}
}

// delete removes the key and tells whether it was there and had not expired.
func (k *keyspace) delete(key []byte) bool {
	hash := k.hash(key)
	first, ok := k.tree.Get(hash)
	if !ok {
		return false
	}
	it := first.of(key)
	if it == nil {
		return false
	}
	k.reschedule(it.key, it.deadline, 0)
	k.count--
	if chain := first.without(key, k.generation); chain == nil {
		k.tree.Delete(hash)
	} else {
		k.tree.Set(hash, chain)
	}
	return it.alive(k.now)
}

// ascend calls f for every key that has not expired with a hash of from or above,
// in order, until f returns false.
func (k *keyspace) ascend(from uint64, f func(hash uint64, it *item) bool) {
	ascend(k.tree, from, func(hash uint64, it *item) bool { return !it.alive(k.now) || f(hash, it) })
}

func ascend(tree *btree.Map[uint64, *item], from uint64, f func(hash uint64, it *item) bool) {
	tree.Ascend(from, func(hash uint64, first *item) bool {
		for it := first; it != nil; it = it.next {
			if !f(hash, it) {
				return false
			}
		}
		return true
	})
}

// of returns the item of key in the chain, or nil.
func (it *item) of(key []byte) *item {
	for it != nil && it.key != string(key) {
		it = it.next
	}
	return it
}

// with returns the chain with key set. It changes no item.
func (it *item) with(key []byte, c cell, generation uint64) *item {
	switch {
	case it == nil || it.key > string(key):
		return &item{key: string(key), cell: c, next: it, generation: generation}
	case it.key == string(key):
		return &item{key: it.key, cell: c, next: it.next, generation: generation}
	}
	rest := it.next.with(key, c, generation)
	return &item{key: it.key, cell: it.cell, next: rest, generation: generation}
}

// without returns the chain without key, which is in it.
func (it *item) without(key []byte, generation uint64) *item {
	if it.key == string(key) {
		return it.next
	}
	rest := it.next.without(key, generation)
	return &item{key: it.key, cell: it.cell, next: rest, generation: generation}
}
