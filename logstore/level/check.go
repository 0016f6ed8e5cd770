package level

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/protoraft/protoraft/logstore"
)

// check reads manifest and journals before goleveldb does. It cuts off an interrupted
// last record and the zeros written ahead, and returns a CorruptError for everything
// goleveldb would skip or not miss: damage before whole records, a journal that is
// gone, a hole in the sequence numbers.
func (s *fileStorage) check() error {
	fd, err := s.GetMeta()
	if errors.Is(err, fs.ErrNotExist) {
		return s.clearUnborn()
	}
	if err != nil {
		return err
	}
	m, err := s.checkManifest(fd)
	if err != nil {
		return err
	}
	return s.checkJournals(m)
}

// clearUnborn removes what is left of a store whose creation was interrupted: it
// has manifests, but never had journals or tables.
func (s *fileStorage) clearUnborn() error {
	fds, err := s.List(storage.TypeAll)
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if fd.Type == storage.TypeJournal || fd.Type == storage.TypeTable {
			return s.corrupt(currentName, "missing, but %s is there", fd)
		}
	}
	if s.cuts != nil {
		return nil
	}
	for _, fd := range fds {
		if err := s.Remove(fd); err != nil {
			return err
		}
	}
	return nil
}

func (s *fileStorage) corrupt(name, format string, args ...any) error {
	return &logstore.CorruptError{Where: s.path(name), Reason: fmt.Sprintf(format, args...)}
}

// manifest is what the journals are checked against.
type manifest struct {
	journal int64  // the oldest that counts
	prev    int64  // one more that counts, if there
	seq     uint64 // the last sequence number in tables, or the one after it
}

func (s *fileStorage) checkManifest(fd storage.FileDesc) (m manifest, err error) {
	name := fd.String()
	data, err := s.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return m, s.corrupt(name, "missing, but %s names it", currentName)
	}
	if err != nil {
		return m, err
	}
	scan := scanner{data: data, begins: func(body []byte) bool { return len(body) > 0 }}
	records := 0
	for {
		record, ok := scan.next()
		if !ok {
			break
		}
		records++
		if err := m.read(record); err != nil {
			return m, s.corrupt(name, "record %d: %v", records, err)
		}
	}
	if d := scan.damage; d != nil {
		if !d.torn || records == 0 {
			return m, s.corrupt(name, "at byte %d: %s", d.at, d.reason)
		}
	}
	if records == 0 {
		return m, s.corrupt(name, "no records")
	}
	return m, s.cut(scan.tail(name))
}

// tail is what follows the last whole record of a file.
type tail struct {
	name      string
	from, end int
	damage    *damage // nil where it is nothing but zeros
}

func (s *scanner) tail(name string) tail {
	return tail{name: name, from: s.end, end: len(s.data), damage: s.damage}
}

// cut removes a tail.
func (s *fileStorage) cut(t tail) error {
	if t.from == t.end {
		return nil
	}
	if s.cuts != nil {
		s.cuts[t.name] = int64(t.from)
		return nil
	}
	if t.damage != nil {
		s.log.Warn("cutting an interrupted write, which was never acknowledged", "file", s.path(t.name),
			"from", t.from, "bytes", t.end-t.from, "reason", t.damage.reason)
	}
	f, err := s.fs.Append(s.path(t.name))
	if err != nil {
		return err
	}
	err = f.Truncate(int64(t.from))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func (s *fileStorage) checkJournals(m manifest) error {
	fds, err := s.List(storage.TypeJournal)
	if err != nil {
		return err
	}
	fds = slices.DeleteFunc(fds, func(fd storage.FileDesc) bool { return fd.Num < m.journal && fd.Num != m.prev })
	slices.SortFunc(fds, func(a, b storage.FileDesc) int { return int(a.Num - b.Num) })
	if m.journal != 0 && !slices.ContainsFunc(fds, func(fd storage.FileDesc) bool { return fd.Num == m.journal }) {
		return s.corrupt(storage.FileDesc{Type: storage.TypeJournal, Num: m.journal}.String(), "missing, but the manifest names it")
	}
	c := journals{s: s, seq: m.seq}
	for _, fd := range fds {
		if err := c.check(fd.String()); err != nil {
			return err
		}
	}
	for _, t := range c.tails {
		if err := s.cut(t); err != nil {
			return err
		}
	}
	return nil
}

// journals checks one journal after the other.
type journals struct {
	s     *fileStorage
	seq   uint64 // expected next
	begun bool   // some record was seen; before, seq is only known to within one
	torn  string // the journal that ends in an interrupted write
	tails []tail // of all journals
}

func (c *journals) check(name string) error {
	data, err := c.s.read(name)
	if err != nil {
		return err
	}
	scan := scanner{data: data, begins: func(body []byte) bool { return c.mayFollow(body, len(data)) }}
	for {
		at := scan.at
		record, ok := scan.next()
		if !ok {
			break
		}
		if c.torn != "" {
			return c.s.corrupt(c.torn, "ends in a broken record, but %s goes on", name)
		}
		if err := c.follow(record); err != nil {
			return c.s.corrupt(name, "record at byte %d: %v", at, err)
		}
	}
	if d := scan.damage; d != nil {
		if !d.torn || c.torn != "" {
			return c.s.corrupt(name, "at byte %d: %s", d.at, d.reason)
		}
		c.torn = name
	}
	c.tails = append(c.tails, scan.tail(name))
	return nil
}

// mayFollow says whether a record that begins with body can stand in a file of that size
// behind the records read so far: its sequence number is near theirs.
func (c *journals) mayFollow(body []byte, size int) bool {
	if len(body) < 12 {
		return false
	}
	seq := binary.LittleEndian.Uint64(body)
	return seq >= c.seq && seq-c.seq <= uint64(size)
}

// follow checks that a record begins where the one before it ended.
func (c *journals) follow(record []byte) error {
	if len(record) < 12 {
		return fmt.Errorf("%d bytes, expected at least 12", len(record))
	}
	seq, count := binary.LittleEndian.Uint64(record), binary.LittleEndian.Uint32(record[8:])
	if seq != c.seq && (c.begun || seq != c.seq+1) {
		return fmt.Errorf("sequence number %d, expected %d: records are missing", seq, c.seq)
	}
	c.begun, c.seq = true, seq+uint64(count)
	return nil
}

// read takes over what a manifest record says of journals. Its fields are a varint
// tag each, then what the tag calls for.
func (m *manifest) read(record []byte) error {
	r := fields{record}
	for len(r.rest) > 0 {
		switch tag := r.uvarint(); tag {
		case 1: // name of the comparer
			r.bytes()
		case 2:
			m.journal = int64(r.uvarint())
		case 3: // next file number
			r.uvarint()
		case 4:
			m.seq = r.uvarint()
		case 5: // where compaction of a level goes on
			r.uvarint()
			r.bytes()
		case 6: // removed table: level, number
			r.uvarint()
			r.uvarint()
		case 7: // added table: level, number, size, smallest and largest key
			r.uvarint()
			r.uvarint()
			r.uvarint()
			r.bytes()
			r.bytes()
		case 9:
			m.prev = int64(r.uvarint())
		default:
			return fmt.Errorf("unknown tag %d", tag)
		}
		if r.rest == nil {
			return errors.New("cut short")
		}
	}
	return nil
}

// fields reads varints and strings; rest is nil once something was cut short.
type fields struct{ rest []byte }

func (r *fields) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.rest = nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *fields) bytes() {
	n := r.uvarint()
	if r.rest == nil || n > uint64(len(r.rest)) {
		r.rest = nil
		return
	}
	r.rest = r.rest[n:]
}
