package actors

import (
	"cmp"
	"slices"

	"github.com/protoraft/protoraft/actors/core"
)

// memberMap has something for each of a group's members. They are few: a list takes a
// fraction of the memory of a map, which counts with ten thousand groups, and is ordered.
type memberMap[V any] []memberValue[V]

type memberValue[V any] struct {
	id    core.NodeID
	value V
}

func (m memberMap[V]) search(id core.NodeID) (at int, found bool) {
	return slices.BinarySearchFunc(m, id, func(v memberValue[V], id core.NodeID) int { return cmp.Compare(v.id, id) })
}

func (m memberMap[V]) find(id core.NodeID) (v V, found bool) {
	at, found := m.search(id)
	if found {
		v = m[at].value
	}
	return v, found
}

// get returns the zero value where there is none.
func (m memberMap[V]) get(id core.NodeID) V {
	v, _ := m.find(id)
	return v
}

func (m *memberMap[V]) set(id core.NodeID, v V) {
	at, found := m.search(id)
	if !found {
		*m = slices.Insert(*m, at, memberValue[V]{id: id})
	}
	(*m)[at].value = v
}
