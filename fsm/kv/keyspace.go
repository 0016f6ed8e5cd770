package kv

import (
	"github.com/cespare/xxhash/v2"
	"github.com/tidwall/btree"
)

const maxHash = 1<<63 - 1

// item is a key with its value, and whatever other keys have the same hash, in
// ascending order. Trees that were copied share items: one of an older generation
// is immutable.
type item struct {
	key        string
	value      []byte
	next       *item
	generation uint64
}

// keyspace maps keys to values, ordered by (hash of key, key). The hash is fixed
// for good: members, snapshots and cursors depend on it.
type keyspace struct {
	tree       *btree.Map[uint64, *item]
	count      int
	hash       func([]byte) uint64
	generation uint64 // goes up with every copy: items of this one are in no copy
}

func newKeyspace() keyspace {
	return keyspace{tree: btree.NewMap[uint64, *item](0), hash: hashKey}
}

func hashKey(key []byte) uint64 { return xxhash.Sum64(key) >> 1 }

func (k *keyspace) len() int { return k.count }

func (k *keyspace) clear() {
	k.tree, k.count = btree.NewMap[uint64, *item](0), 0
}

// copy returns the tree as it is. It stays so while the keyspace changes.
func (k *keyspace) copy() *btree.Map[uint64, *item] {
	k.generation++
	return k.tree.Copy()
}

func (k *keyspace) find(key []byte) *item {
	it, _ := k.tree.Get(k.hash(key))
	for it != nil && it.key != string(key) {
		it = it.next
	}
	return it
}

func (k *keyspace) get(key []byte) ([]byte, bool) {
	if it := k.find(key); it != nil {
		return it.value, true
	}
	return nil, false
}

// put keeps value and copies key.
func (k *keyspace) put(key, value []byte) { k.store(k.find(key), key, value) }

// store is put where find has been called for key already.
func (k *keyspace) store(found *item, key, value []byte) {
	if found != nil && found.generation == k.generation {
		found.value = value
		return
	}
	hash := k.hash(key)
	first, _ := k.tree.Get(hash)
	k.tree.Set(hash, first.with(key, value, k.generation))
	if found == nil {
		k.count++
	}
}

func (k *keyspace) delete(key []byte) bool {
	hash := k.hash(key)
	first, ok := k.tree.Get(hash)
	if !ok {
		return false
	}
	chain, removed := first.without(key, k.generation)
	if !removed {
		return false
	}
	k.count--
	if chain == nil {
		k.tree.Delete(hash)
	} else {
		k.tree.Set(hash, chain)
	}
	return true
}

// ascend calls f for every key with a hash of from or above, in order, until f
// returns false.
func (k *keyspace) ascend(from uint64, f func(hash uint64, it *item) bool) {
	ascend(k.tree, from, f)
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

// with returns the chain with key set. It changes no item.
func (it *item) with(key, value []byte, generation uint64) *item {
	switch {
	case it == nil || it.key > string(key):
		return &item{key: string(key), value: value, next: it, generation: generation}
	case it.key == string(key):
		return &item{key: it.key, value: value, next: it.next, generation: generation}
	}
	rest := it.next.with(key, value, generation)
	return &item{key: it.key, value: it.value, next: rest, generation: generation}
}

// without returns the chain without key, and whether it was there.
func (it *item) without(key []byte, generation uint64) (chain *item, removed bool) {
	if it == nil {
		return nil, false
	}
	if it.key == string(key) {
		return it.next, true
	}
	rest, removed := it.next.without(key, generation)
	if !removed {
		return it, false
	}
	return &item{key: it.key, value: it.value, next: rest, generation: generation}, true
}
