package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// MarkName is the file that says that a directory holds a journal.
const MarkName = "JOURNAL"

const (
	markTemp    = "JOURNAL.tmp"
	lockName    = "LOCK"
	reserveName = "RESERVE"
	slotSuffix  = ".journal"

	formatVersion = 1
)

// FormatVersion is the version of the layout this build writes.
const FormatVersion = formatVersion

// directory is where a journal lives.
type directory struct {
	fs   vfs.FS
	path string
}

func (d directory) file(name string) string { return path.Join(d.path, name) }

func (d directory) slot(n int) string { return d.file(slotName(n)) }

func slotName(n int) string { return fmt.Sprintf("%06d%s", n, slotSuffix) }

func (d directory) corrupt(name, format string, args ...any) error {
	return &logstore.CorruptError{Where: d.file(name), Reason: fmt.Sprintf(format, args...)}
}

// The mark says which files there must be, so that one that is gone is missed: slots from
// 1 on. It is written beside the old one before a new file is used.
func encodeMark(slots int) []byte {
	line := fmt.Sprintf("journal format %d slots %d", formatVersion, slots)
	return fmt.Appendf(nil, "%s %s\n", line, markSum(line))
}

func markSum(line string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(line), castagnoli))
}

// readMark returns how many slots there must be. Its error wraps fs.ErrNotExist where
// there is no mark.
func (d directory) readMark() (slots int, err error) {
	data, err := d.read(MarkName)
	if err != nil {
		return 0, err
	}
	line, sum, _ := strings.Cut(strings.TrimSuffix(string(data), "\n"), "slots ")
	number, sum, _ := strings.Cut(sum, " ")
	version, _ := strings.CutPrefix(line, "journal format ")
	format, ferr := strconv.Atoi(strings.TrimSpace(version))
	slots, serr := strconv.Atoi(number)
	checked := markSum(line+"slots "+number) == sum
	switch {
	case ferr == nil && checked && format > formatVersion:
		return 0, fmt.Errorf("%w: %s says format %d, expected at most %d", logstore.ErrNewerFormat, d.file(MarkName), format, formatVersion)
	case ferr != nil || serr != nil || !checked || string(encodeMark(slots)) != string(data):
		return 0, d.corrupt(MarkName, "%.60q, expected format, slots and their checksum", data)
	}
	return slots, nil
}

func (d directory) read(name string) ([]byte, error) {
	f, err := d.fs.Open(d.file(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	return readFull(f, 0, int(size))
}

// readFull reads size bytes, all of which must be there.
func readFull(f vfs.File, at int64, size int) ([]byte, error) {
	b := vfs.Aligned(size)
	if _, err := io.ReadFull(io.NewSectionReader(f, at, int64(size)), b); err != nil {
		return nil, fmt.Errorf("journal: read %d bytes at %d: %w", size, at, err)
	}
	return b, nil
}

// prepareMark writes a mark beside the one there is.
func (d directory) prepareMark(slots int) error {
	f, err := d.createFresh(markTemp)
	if err != nil {
		return err
	}
	_, err = f.Write(encodeMark(slots))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// publishMark puts it in place. When it returns nil the new one is durable; after an
// error either may be there.
func (d directory) publishMark() error {
	if err := d.fs.Rename(d.file(markTemp), d.file(MarkName)); err != nil {
		return err
	}
	return d.fs.SyncDir(d.path)
}

// createFresh creates a file in place of one that stood there, never over its bytes.
func (d directory) createFresh(name string) (vfs.File, error) {
	f, err := d.fs.Create(d.file(name))
	if errors.Is(err, fs.ErrExist) {
		if err := d.fs.Remove(d.file(name)); err != nil {
			return nil, err
		}
		f, err = d.fs.Create(d.file(name))
	}
	return f, err
}

// openSlot opens a slot's file, past the page cache where that can be.
func (d directory) openSlot(n int, direct bool) (vfs.File, error) {
	if over, ok := d.fs.(vfs.Direct); ok && direct {
		f, err := over.AppendDirect(d.slot(n))
		if !errors.Is(err, errors.ErrUnsupported) {
			return f, err
		}
	}
	return d.fs.Append(d.slot(n))
}

// slots lists the numbers of the files that could hold segments.
func (d directory) slots() (numbers []int, err error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, ours := strings.CutSuffix(name, slotSuffix)
		if n, err := strconv.Atoi(text); ours && err == nil && slotName(n) == name {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}
