// Package engine knows the engines that a node's log can be kept by, tells which of them
// has written a directory, and copies a log from one to another.
package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/journal"
	"github.com/protoraft/protoraft/logstore/level"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// The engines.
const (
	Goleveldb = "goleveldb" // package level
	Journal   = "journal"   // package journal
)

// Default is what a new log is kept by where nobody says.
const Default = Journal

// ErrOther: the directory holds the log of another engine than was asked for.
var ErrOther = errors.New("engine: the log is kept by another engine")

// Names are all there are.
func Names() []string { return []string{Goleveldb, Journal} }

// Check says what is wrong with a name; none stands for whichever is there.
func Check(name string) error {
	if name != "" && !slices.Contains(Names(), name) {
		return fmt.Errorf("engine: log engine %q, expected one of %s", name, strings.Join(Names(), ", "))
	}
	return nil
}

// Detect tells which engine has written a directory, and "" where none has. It returns an
// error wrapping ErrOther where both have, or one of the file system's; a directory that
// is not there is empty.
func Detect(f vfs.FS, dir string) (string, error) {
	names, err := f.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	of := map[string]string{}
	for _, name := range names {
		switch ext := path.Ext(name); {
		case name == journal.MarkName, ext == ".journal":
			of[Journal] = name
		case name == "CURRENT", strings.HasPrefix(name, "MANIFEST-"), ext == ".ldb", ext == ".log":
			of[Goleveldb] = name
		}
	}
	switch {
	case len(of) > 1:
		return "", fmt.Errorf("%w: %s has %s of %s and %s of %s, expected those of one", ErrOther, dir, of[Goleveldb], Goleveldb, of[Journal], Journal)
	case of[Journal] != "":
		return Journal, nil
	case of[Goleveldb] != "":
		return Goleveldb, nil
	}
	return "", nil
}

// Choose tells which engine Open opens dir with: the one of that name, or for "" the one
// that has written it, and Default where none has. Errors are those of Check and Detect, or
// wrap ErrOther where another one than is named has.
func Choose(f vfs.FS, dir, name string) (string, error) {
	if err := Check(name); err != nil {
		return "", err
	}
	found, err := Detect(f, dir)
	switch {
	case err != nil:
		return "", err
	case found == "" && name == "":
		return Default, nil
	case found == "":
		return name, nil
	case name != "" && name != found:
		return "", fmt.Errorf("%w: %s is of %s, expected %s: convert it, or go on with %s", ErrOther, dir, found, name, found)
	}
	return found, nil
}

// Open opens the log in dir, making it where there is none, with the engine that Choose
// tells. Errors are those of Choose or of the engine.
func Open(f vfs.FS, dir, name string, logger hclog.Logger) (logstore.Store, error) {
	name, err := Choose(f, dir, name)
	if err != nil {
		return nil, err
	}
	// Each one by itself: a nil pointer of theirs is not a nil Store.
	if name == Journal {
		s, err := journal.Open(f, dir, journal.Options{Logger: logger})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := level.Open(f, dir, level.Options{Logger: logger})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Inspect opens the log in dir to be looked at, whichever engine has written it.
func Inspect(f vfs.FS, dir string) (logstore.Inspection, error) {
	found, err := Detect(f, dir)
	if err != nil {
		return nil, err
	}
	if found == Journal {
		i, err := journal.Inspect(f, dir)
		if err != nil {
			return nil, err
		}
		return i, nil
	}
	i, err := level.Inspect(f, dir)
	if err != nil {
		return nil, err
	}
	return i, nil
}
