package snapshots

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// wholeSum is the checksum of a whole file: eight bytes of its SHA-256. The frames'
// CRCs cannot add to each other; this one is independent of them, and names a
// snapshot's bytes when they are sent.
type wholeSum struct{ hash.Hash }

func newWholeSum() wholeSum { return wholeSum{sha256.New()} }

func (s wholeSum) value() uint64 { return binary.LittleEndian.Uint64(s.Sum(nil)) }

// checker takes a file's bytes in order and checks all there is to check. It holds at
// most one header or frame.
type checker struct {
	where    string
	name     fileName
	meta     *messages.SnapshotMeta // nil until the header is whole
	expected func(*messages.SnapshotMeta) error

	seed     uint32
	sum      wholeSum
	checked  int64  // offset of item: everything before is right
	item     []byte // the beginning of the next header or frame
	sections []string
	ended    bool
	checksum uint64
}

func newChecker(where string, name fileName, expected func(*messages.SnapshotMeta) error) *checker {
	return &checker{where: where, name: name, expected: expected, sum: newWholeSum()}
}

// Write implements io.Writer. After an error nothing more may be written.
func (c *checker) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if c.ended {
			return 0, c.corrupt(errors.New("bytes behind the end, expected none"))
		}
		need, err := c.needs()
		if err != nil {
			return 0, c.corrupt(err)
		}
		n := min(need-len(c.item), len(p))
		c.item, p = append(c.item, p[:n]...), p[n:]
		// The length of an item may only be known once its beginning is there.
		if need, err = c.needs(); err != nil {
			return 0, c.corrupt(err)
		}
		if len(c.item) < need {
			continue
		}
		if err := c.take(); err != nil {
			return 0, c.corrupt(err)
		}
	}
	return total, nil
}

// offset is how many bytes have been written.
func (c *checker) offset() int64 { return c.checked + int64(len(c.item)) }

// needs is how many bytes the item has at least.
func (c *checker) needs() (int, error) {
	head, size := frameHeadBytes, frameBytes
	if c.meta == nil {
		head, size = atMeta, headerBytes
	}
	if len(c.item) < head {
		return head, nil
	}
	return size(c.item)
}

// take checks an item that is whole.
func (c *checker) take() error {
	if c.meta == nil {
		meta, seed, err := decodeHeader(c.item)
		if err == nil {
			err = c.expected(meta)
		}
		if err != nil {
			return err
		}
		c.meta, c.seed = meta, seed
	} else {
		kind, payload, err := openFrame(c.seed, c.checked, c.item)
		if err == nil {
			err = c.follows(kind, payload)
		}
		if err != nil {
			return err
		}
	}
	c.sum.Write(c.item)
	c.checked += int64(len(c.item))
	c.item = c.item[:0]
	return nil
}

func (c *checker) follows(kind byte, payload []byte) error {
	switch kind {
	case sectionFrame:
		if err := checkSectionName(c.sections, string(payload)); err != nil {
			return err
		}
		c.sections = append(c.sections, string(payload))
	case dataFrame:
		if len(c.sections) == 0 {
			return errors.New("bytes before the first section")
		}
	case endFrame:
		size, checksum := readEndPayload(payload)
		if end := uint64(c.offset()); size != end {
			return fmt.Errorf("the file ends at byte %d, expected %d", end, size)
		}
		if sum := c.sum.value(); sum != checksum {
			return fmt.Errorf("checksum of the whole is %016x, expected %016x", checksum, sum)
		}
		c.ended, c.checksum = true, checksum
	}
	return nil
}

func checkSectionName(before []string, name string) error {
	switch {
	case name == "" || len(name) > SectionNameBytesMax:
		return fmt.Errorf("name of a section has %d bytes, expected 1 to %d", len(name), SectionNameBytesMax)
	case slices.Contains(before, name):
		return fmt.Errorf("section %q for the second time", name)
	case len(before) == SectionsMax:
		return fmt.Errorf("section %q is one too many, expected at most %d", name, SectionsMax)
	}
	return nil
}

func (c *checker) corrupt(err error) error {
	section := ""
	if len(c.sections) > 0 {
		section = c.sections[len(c.sections)-1]
	}
	return corrupt(c.where, c.name, section, c.checked, err)
}

// corrupt names the place of damage. What a newer version wrote is not damaged.
func corrupt(where string, name fileName, section string, offset int64, err error) error {
	if errors.Is(err, logstore.ErrNewerFormat) {
		return fmt.Errorf("snapshots: %s: %w", where, err)
	}
	if section != "" {
		where = fmt.Sprintf("%s, section %q", where, section)
	}
	return &logstore.CorruptError{Group: name.group, Index: name.index, Where: where,
		Reason: fmt.Sprintf("at byte %d: %v", offset, err)}
}
