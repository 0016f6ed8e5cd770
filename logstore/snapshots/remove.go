package snapshots

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Remove deletes the snapshots of a group that are older than the one at keep, and
// what was received of such. It refuses, and removes nothing, where that one cannot
// be opened. Who reads one that is removed can go on. Removals are durable when it
// returns nil; after an error or a crash, those removed may be back.
func (s *Store) Remove(group, keep uint64) error {
	kept, err := s.Open(group, keep)
	if err != nil {
		return err
	}
	kept.Close()
	names, err := s.finished(group)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name.compare(kept.name) < 0 {
			if err := s.remove(s.path(name)); err != nil {
				return err
			}
		}
	}
	older := func(p fileName, file string) bool { return p.compare(kept.name) < 0 && !s.receiving(group, file) }
	if err := s.removePartials(group, older); err != nil {
		return err
	}
	return s.syncGroup(group)
}

// RemoveGroup deletes everything of a group, durably when it returns nil. Writers of
// the group fail afterwards, an Incoming is closed.
func (s *Store) RemoveGroup(group uint64) error {
	s.supersede(group)
	files, err := s.files(group)
	if err != nil || len(files) == 0 {
		return err
	}
	for _, file := range files {
		if !ours(group, file) {
			return fmt.Errorf("snapshots: %s is no file of a snapshot, and stays", path.Join(s.groupDir(group), file))
		}
		if err := s.remove(path.Join(s.groupDir(group), file)); err != nil {
			return err
		}
	}
	// The directory stays: a Writer may be about to use it.
	return s.syncGroup(group)
}

// Forget is RemoveGroup, and removes the group's directory too. Nobody may be using the
// group.
func (s *Store) Forget(group uint64) error {
	if err := s.RemoveGroup(group); err != nil {
		return err
	}
	if err := s.fs.Remove(s.groupDir(group)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("snapshots: remove %s: %w", s.groupDir(group), err)
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return fmt.Errorf("snapshots: sync %s: %w", s.dir, err)
	}
	return nil
}

func ours(group uint64, file string) bool {
	_, finished := parseName(group, file, snapshotExt)
	_, partial := parseName(group, file, partialExt)
	return finished || partial || strings.HasSuffix(file, unfinishedExt)
}

// sweep removes what writers left that did not end, and could not clean up.
func (s *Store) sweep(group uint64) error {
	files, err := s.files(group)
	if err != nil {
		return err
	}
	for _, file := range files {
		name := path.Join(s.groupDir(group), file)
		if strings.HasSuffix(file, unfinishedExt) && !s.isWriting(name) {
			if err := s.remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) isWriting(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unfinished[name]
}

// removePartials removes files of transfers where which says so.
func (s *Store) removePartials(group uint64, which func(p fileName, file string) bool) error {
	files, err := s.files(group)
	if err != nil {
		return err
	}
	for _, file := range files {
		if p, ok := parseName(group, file, partialExt); ok && which(p, file) {
			if err := s.remove(path.Join(s.groupDir(group), file)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) remove(name string) error {
	if err := s.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("snapshots: remove %s: %w", name, err)
	}
	return nil
}

func (s *Store) syncGroup(group uint64) error {
	if err := s.fs.SyncDir(s.groupDir(group)); err != nil {
		return fmt.Errorf("snapshots: sync %s: %w", s.groupDir(group), err)
	}
	return nil
}
