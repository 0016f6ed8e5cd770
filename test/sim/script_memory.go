package sim

import (
	"fmt"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// Lose takes a node's disk away; its process must have ended.
func (s *Script) Lose(id string) error {
	return s.takeMemory(id, func(n *node) error {
		n.disk = vfs.NewMem(stream(0, chanceDisk, uint64(n.life)))
		return nil
	})
}

// Keep remembers how a node's disk is, for PutBack.
func (s *Script) Keep(id string) error {
	n, err := s.node(id)
	if err == nil {
		n.image = n.disk.Clone()
	}
	return err
}

// PutBack makes a node's disk what it was at Keep; its process must have ended.
func (s *Script) PutBack(id string) error {
	return s.takeMemory(id, func(n *node) error {
		if n.image == nil {
			return fmt.Errorf("nothing was kept of %s", id)
		}
		n.disk = n.image.Clone()
		return nil
	})
}

func (s *Script) takeMemory(id string, take func(*node) error) error {
	n, err := s.node(id)
	if err != nil {
		return err
	}
	if n.up {
		return fmt.Errorf("%s is up", id)
	}
	if err := take(n); err != nil {
		return err
	}
	for _, g := range s.w.checks.groups {
		g.members[n.number].forget()
	}
	return nil
}

// Rot makes the log of a node's member unreadable from an index on, from its next
// start.
func (s *Script) Rot(id string, group, index uint64) error {
	n, err := s.node(id)
	if err == nil {
		n.rotten = map[uint64]uint64{group: index}
	}
	return err
}
