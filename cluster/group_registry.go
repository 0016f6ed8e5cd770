package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// groupRegistry is the node's durable list of the groups that were made at run time. It
// is a file of lines, each a checksum and a record in JSON: the last record of a group
// counts. What a crash left of the last line is cut off; a record that says a thing was
// done is written, and synced, when it is, and one that says it is to be done, before.
type groupRegistry struct {
	path    string
	file    *os.File
	size    int64 // of what is whole
	lines   int
	records map[uint64]groupRecord
	failed  error // nothing is written any more
}

const (
	groupsFile     = "GROUPS"
	groupsTemp     = "GROUPS.tmp"
	groupsFormat   = 1
	groupsBytesMax = 1 << 30 // no registry is larger

	// groupsSlack is how many lines beyond two for each group there may be before the file
	// is written anew at a start.
	groupsSlack = 64
)

// groupRecord is what is known of a group.
type groupRecord struct {
	Group       uint64       `json:"group"`
	Incarnation uint64       `json:"incarnation"`
	State       GroupState   `json:"state"`
	Kind        string       `json:"kind,omitempty"`
	Join        bool         `json:"join,omitempty"`
	Members     []memberLine `json:"members,omitempty"`
}

type memberLine struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Priority int    `json:"priority,omitempty"`
	Witness  bool   `json:"witness,omitempty"`
}

type groupsHeader struct {
	Format int `json:"format"`
}

// ErrDataDirGroups: the list of groups in the data directory cannot be trusted.
var ErrDataDirGroups = errors.New("data directory's list of groups is damaged")

// openGroups reads the registry of a data directory that is locked, and makes one where
// there is none.
func openGroups(dir string) (*groupRegistry, error) {
	r := &groupRegistry{path: filepath.Join(dir, groupsFile), records: map[uint64]groupRecord{}}
	torn, err := r.read()
	if err == nil && (torn || r.lines == 0 || r.lines > 2*len(r.records)+groupsSlack) {
		err = r.rewrite()
	}
	if err == nil {
		r.file, err = os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s: list of groups: %w", dir, err)
	}
	return r, nil
}

// read takes in what is whole. torn says that the last line is not.
func (r *groupRegistry) read() (torn bool, err error) {
	info, err := os.Stat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular() || info.Size() > groupsBytesMax:
		return false, fmt.Errorf("%w: %s is a %s of %d bytes, expected a file of at most %d", ErrDataDirGroups, r.path, kindOf(info.Mode()), info.Size(), groupsBytesMax)
	}
	raw, err := os.ReadFile(r.path)
	if err != nil {
		return false, err
	}
	for len(raw) > 0 {
		line, rest, whole := bytes.Cut(raw, []byte{'\n'})
		body, ok := unsealLine(line)
		if !whole || !ok && len(rest) == 0 {
			return true, nil // the last write, cut off: nothing was said of it
		}
		if !ok {
			return false, fmt.Errorf("%w: %s, line %d: checksum is wrong", ErrDataDirGroups, r.path, r.lines+1)
		}
		if err := r.take(body); err != nil {
			return false, fmt.Errorf("%s, line %d: %w", r.path, r.lines+1, err)
		}
		r.lines++
		r.size += int64(len(line)) + 1
		raw = rest
	}
	return false, nil
}

func (r *groupRegistry) take(body []byte) error {
	if r.lines == 0 {
		var h groupsHeader
		if err := json.Unmarshal(body, &h); err != nil || h.Format < 1 {
			return fmt.Errorf("%w: %.60q, expected the format", ErrDataDirGroups, body)
		}
		if h.Format > groupsFormat {
			return fmt.Errorf("%w: list of groups of format %d, this version knows up to %d", ErrNewerDataDir, h.Format, groupsFormat)
		}
		return nil
	}
	var one groupRecord
	if err := json.Unmarshal(body, &one); err != nil || one.Group == 0 || one.Incarnation == 0 || !one.State.known() {
		return fmt.Errorf("%w: %.60q, expected a group with incarnation and state", ErrDataDirGroups, body)
	}
	r.records[one.Group] = one
	return nil
}

// put makes a record durable. After an error it is not known whether it is, and nothing
// more can be put until the node has started again.
func (r *groupRegistry) put(one groupRecord) error {
	if r.failed != nil {
		return fmt.Errorf("list of groups: not written since %w", r.failed)
	}
	line, err := sealLine(one)
	if err != nil {
		return err
	}
	if _, err = r.file.Write(line); err == nil {
		err = r.file.Sync()
	}
	if err != nil {
		r.failed = err
		return fmt.Errorf("list of groups: %w", err)
	}
	r.records[one.Group] = one
	r.lines++
	r.size += int64(len(line))
	return nil
}

// rewrite puts a file with one line for each group in the place of the one there is.
func (r *groupRegistry) rewrite() (err error) {
	var b bytes.Buffer
	lines := []any{groupsHeader{groupsFormat}}
	for _, group := range slices.Sorted(maps.Keys(r.records)) {
		lines = append(lines, r.records[group])
	}
	for _, one := range lines {
		line, err := sealLine(one)
		if err != nil {
			return err
		}
		b.Write(line)
	}
	temp := filepath.Join(filepath.Dir(r.path), groupsTemp)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(b.Bytes()); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, r.path); err != nil {
		return err
	}
	r.lines, r.size = len(lines), int64(b.Len())
	return syncDir(filepath.Dir(r.path))
}

// all are the records by group, those of deleted groups too.
func (r *groupRegistry) all() []groupRecord {
	records := make([]groupRecord, 0, len(r.records))
	for _, group := range slices.Sorted(maps.Keys(r.records)) {
		records = append(records, r.records[group])
	}
	return records
}

func (r *groupRegistry) close() error { return r.file.Close() }

func sealLine(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(body, castagnoli), body), nil
}

func unsealLine(line []byte) (body []byte, ok bool) {
	sum, body, found := bytes.Cut(line, []byte{' '})
	return body, found && string(sum) == fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli))
}
