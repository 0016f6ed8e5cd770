package sim

import (
	"errors"
	"slices"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
	"github.com/protoraft/protoraft/test/sim/simlog"
)

// Engine opens the log store of a node, of which dir on its disk has been left as it
// is by a crash or by a process that ended.
type Engine func(disk vfs.FS, dir string) (logstore.Store, error)

func (w *World) openStore(n *node) (logstore.Store, error) { return w.openStoreOn(n.disk) }

func (w *World) openStoreOn(disk *vfs.Mem) (logstore.Store, error) {
	if w.engine != nil {
		return w.engine(disk, logDir)
	}
	return simlog.Open(disk, logDir)
}

// watchedStore shows the checks every write and what became of it. It is the one
// place where what is durable is known.
type watchedStore struct {
	n     *node
	life  int
	inner logstore.Store

	writes  int
	failed  bool // a write has
	refused bool // for want of room, and since then no blocks were written
}

var _ logstore.Store = (*watchedStore)(nil)

func (s *watchedStore) Groups() ([]uint64, error) { return s.inner.Groups() }

func (s *watchedStore) Load(group uint64) (logstore.GroupState, error) { return s.inner.Load(group) }

func (s *watchedStore) Salvage(group uint64) (logstore.GroupState, *logstore.CorruptError, error) {
	return s.inner.Salvage(group)
}

func (s *watchedStore) Read(group, first, last uint64, maxBytes int) ([]messages.Block, error) {
	s.n.w.cover.add("log read from disk")
	if err := s.readFault(group); err != nil {
		return nil, err
	}
	blocks, err := s.inner.Read(group, first, last, maxBytes)
	if err != nil {
		return nil, err
	}
	return s.cut(blocks, first, last)
}

func (s *watchedStore) Write(updates []logstore.Update) error {
	if !s.n.acts(s.life) {
		return vfs.ErrCrashed
	}
	s.writes++
	w := s.n.w
	if s.failed {
		w.violate("failed storage is not written again", "%s writes %d updates after a write has failed", s.n.id, len(updates))
	}
	w.checks.writing(s.n, updates)
	err := s.inner.Write(updates)
	failed := uint64(0)
	if err != nil {
		failed = 1
		s.failed = s.failed || !errors.Is(err, logstore.ErrFull)
		w.trace.printf("%s write failed: %v", s.n.id, err)
	}
	w.trace.add(evDisk, uint64(s.n.number), uint64(len(updates)), failed)
	s.lookForRoom(updates, err)
	w.checks.wrote(s.n, err)
	if err == nil {
		s.n.mended(updates)
	}
	return err
}

// lookForRoom counts what became of writes on a full disk.
func (s *watchedStore) lookForRoom(updates []logstore.Update, err error) {
	blocks := slices.ContainsFunc(updates, func(u logstore.Update) bool { return len(u.Blocks) > 0 })
	switch {
	case errors.Is(err, logstore.ErrFull):
		s.n.w.cover.add("write refused on a full disk")
		s.refused = s.refused || blocks
	case err != nil || !s.refused:
	case blocks:
		s.n.w.cover.add("written when a full disk had room again")
		s.refused = false
	default:
		s.n.w.cover.add("term and vote written on a full disk")
	}
}

func (s *watchedStore) Close() error { return s.inner.Close() }
