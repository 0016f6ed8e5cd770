package level

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/syndtr/goleveldb/leveldb/journal"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/vfs"
)

// journalOf writes records as goleveldb does: sequence number, count, bytes.
func journalOf(t *testing.T, seq uint64, sizes ...int) []byte {
	t.Helper()
	var file bytes.Buffer
	w := journal.NewWriter(&file)
	for _, size := range sizes {
		record := binary.LittleEndian.AppendUint64(nil, seq)
		record = binary.LittleEndian.AppendUint32(record, 1)
		for i := range size {
			record = append(record, byte(i%250+1))
		}
		r, err := w.Next()
		if err == nil {
			_, err = r.Write(record)
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		seq++
	}
	return file.Bytes()
}

func scanAll(data []byte) (records int, s scanner) {
	next := uint64(0) // as journals.mayFollow has it
	s = scanner{data: data, begins: func(body []byte) bool {
		return len(body) >= 12 && binary.LittleEndian.Uint64(body)-next <= uint64(len(data))
	}}
	for {
		if _, ok := s.next(); !ok {
			return records, s
		}
		records++
	}
}

// TestEveryTear cuts and zeroes the last record at every sector: it never counts as
// damage, and the records before it stay.
func TestEveryTear(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ahead := make([]byte, 70<<10)
	for _, sizes := range [][]int{{5}, {300, 40}, {100, 3000}, {32 << 10, 70 << 10}, {32<<10 - 7 - 12 - 3, 90}, {32<<10 - 14 - 12, 600}} {
		whole := journalOf(t, 1, sizes...)
		kept := journalOf(t, 1, sizes[:len(sizes)-1]...)
		for cut := len(kept); cut < len(whole); cut += 1 + cut/64 {
			expectTorn(t, whole[:cut], len(kept), len(sizes)-1)
		}
		for range 300 {
			if torn := tear(rng, whole, len(kept)); !bytes.Equal(torn, whole) { // else it was padding
				expectTorn(t, torn, len(kept), len(sizes)-1)
				expectTorn(t, append(torn, ahead...), len(kept), len(sizes)-1)
			}
		}
	}
}

// tear zeroes at least one of the sectors behind kept.
func tear(rng *rand.Rand, whole []byte, kept int) []byte {
	torn := bytes.Clone(whole)
	last := (len(whole) - 1) / vfs.SectorBytes
	must := kept/vfs.SectorBytes + rng.IntN(last-kept/vfs.SectorBytes+1)
	for s := kept / vfs.SectorBytes; s <= last; s++ {
		if s == must || rng.IntN(2) == 0 {
			clear(torn[max(kept, s*vfs.SectorBytes):min(len(torn), (s+1)*vfs.SectorBytes)])
		}
	}
	return torn
}

func expectTorn(t *testing.T, data []byte, end, records int) {
	t.Helper()
	got, s := scanAll(data)
	if got != records || s.damage != nil && !s.damage.torn {
		t.Fatalf("%d bytes: %d records and %+v, expected %d and a torn one", len(data), got, s.damage, records)
	}
	if s.damage == nil && len(bytes.TrimRight(data[end:], "\x00")) > 0 {
		t.Fatalf("%d bytes: the tear behind byte %d went unnoticed", len(data), end)
	}
}

// TestDamageIsNotATear flips each bit of records that were whole, the last as well.
func TestDamageIsNotATear(t *testing.T) {
	for _, whole := range [][]byte{journalOf(t, 1, 30, 700, 20), journalOf(t, 1, 32000, 700, 900)} {
		from := max(0, len(whole)-2000)
		for _, ahead := range []int{0, 100, 2000, 70 << 10} {
			data := append(bytes.Clone(whole), make([]byte, ahead)...)
			for i := from * 8; i < len(whole)*8; i++ {
				data[i/8] ^= 1 << (i % 8)
				if _, s := scanAll(data); s.damage == nil || s.damage.torn {
					t.Fatalf("%d bytes and %d ahead, bit %d of byte %d: %+v, expected damage that is no tear",
						len(whole), ahead, i%8, i/8, s.damage)
				}
				data[i/8] ^= 1 << (i % 8)
			}
		}
	}
}

// TestLengthOfRecordThatEndsInZeros damages the length of a last record whose end is
// not to be told from the zeros behind it.
func TestLengthOfRecordThatEndsInZeros(t *testing.T) {
	var file bytes.Buffer
	w := journal.NewWriter(&file)
	r, err := w.Next()
	if err == nil {
		_, err = r.Write(append([]byte("record"), make([]byte, 300)...))
	}
	if err := errors.Join(err, w.Flush()); err != nil {
		t.Fatal(err)
	}
	data := append(file.Bytes(), make([]byte, 70<<10)...)
	for bit := range 16 {
		data[4+bit/8] ^= 1 << (bit % 8)
		if _, s := scanAll(data); s.damage == nil || s.damage.torn {
			t.Fatalf("bit %d: %+v, expected damage that is no tear", bit, s.damage)
		}
		data[4+bit/8] ^= 1 << (bit % 8)
	}
	if n, s := scanAll(data); n != 1 || s.damage != nil || s.end != file.Len() {
		t.Fatalf("%d records up to byte %d, %+v, expected one of %d bytes", n, s.end, s.damage, file.Len())
	}
}

// TestZerosAhead takes zeros for the end of a file only where no record follows.
func TestZerosAhead(t *testing.T) {
	kept := journalOf(t, 1, 100, 2000)
	for _, hole := range []int{1, 7, 600, chunkBlock - len(kept), 3 * chunkBlock} {
		data := append(bytes.Clone(kept), make([]byte, hole)...)
		if n, s := scanAll(data); n != 2 || s.damage != nil || s.end != len(kept) {
			t.Fatalf("%d zeros: %d records up to byte %d, %+v, expected 2 up to %d", hole, n, s.end, s.damage, len(kept))
		}
		data = append(data, journalOf(t, 3, 50)...)
		if _, s := scanAll(data); s.damage == nil || s.damage.torn {
			t.Fatalf("%d zeros, then a record: %+v, expected damage that is no tear", hole, s.damage)
		}
	}
}

// TestLostSectorBeforeWholeRecord loses a sector that had been synced: a tear by the
// look of it, but for the record behind.
func TestLostSectorBeforeWholeRecord(t *testing.T) {
	data := journalOf(t, 1, 100, 2000, 50)
	clear(data[1024:1536])
	if _, s := scanAll(data); s.damage == nil || s.damage.torn {
		t.Fatalf("%+v, expected damage that is no tear", s.damage)
	}
}

func put(t *testing.T, disk vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := disk.Create("/db/" + name)
	if err == nil {
		_, err = f.Write(data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestJournalsFollowEachOther checks sequence numbers within and across journals.
func TestJournalsFollowEachOther(t *testing.T) {
	torn := journalOf(t, 13, 10, 2000)
	torn = torn[:len(torn)-100]
	broken := journalOf(t, 10, 700, 700, 700)
	broken[900] ^= 4
	ahead := func(data []byte) []byte { return append(bytes.Clone(data), make([]byte, 40<<10)...) }
	lost := ahead(journalOf(t, 13, 10, 2000))
	clear(lost[1024:1536])
	for name, c := range map[string]struct {
		files map[int][]byte
		bad   bool
	}{
		"in order":                        {files: map[int][]byte{5: journalOf(t, 10, 9, 9), 7: journalOf(t, 12, 9), 8: nil}},
		"after a recovery":                {files: map[int][]byte{5: journalOf(t, 9, 9, 9)}},
		"obsolete one":                    {files: map[int][]byte{3: broken, 5: journalOf(t, 10, 9)}},
		"torn":                            {files: map[int][]byte{5: journalOf(t, 10, 9, 9, 9), 7: torn, 8: nil}},
		"zeros ahead":                     {files: map[int][]byte{5: ahead(journalOf(t, 10, 9, 9)), 7: ahead(journalOf(t, 12, 9)), 8: ahead(nil)}},
		"torn, zeros ahead":               {files: map[int][]byte{5: ahead(journalOf(t, 10, 9, 9, 9)), 7: lost, 8: ahead(nil)}},
		"record lost in zeros":            {files: map[int][]byte{5: ahead(journalOf(t, 10, 9)), 7: journalOf(t, 12, 9)}, bad: true},
		"torn, zeros ahead, then goes on": {files: map[int][]byte{5: journalOf(t, 10, 9, 9, 9), 7: lost, 8: journalOf(t, 14, 9)}, bad: true},
		"none between":                    {files: map[int][]byte{5: journalOf(t, 10, 9, 9), 7: journalOf(t, 13, 9)}, bad: true},
		"first one gone":                  {files: map[int][]byte{6: journalOf(t, 10, 9)}, bad: true},
		"first one empty":                 {files: map[int][]byte{5: nil, 7: journalOf(t, 12, 9)}, bad: true},
		"written twice":                   {files: map[int][]byte{5: journalOf(t, 10, 9, 9), 7: journalOf(t, 11, 9)}, bad: true},
		"torn, then goes on":              {files: map[int][]byte{5: journalOf(t, 10, 9, 9, 9), 7: torn, 8: journalOf(t, 14, 9)}, bad: true},
		"damaged":                         {files: map[int][]byte{5: broken}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem(rand.New(rand.NewPCG(1, 1)))
			s, err := openStorage(disk, "/db", hclog.NewNullLogger())
			if err != nil {
				t.Fatal(err)
			}
			for n, data := range c.files {
				put(t, disk, fmt.Sprintf("%06d.log", n), data)
			}
			err = s.checkJournals(manifest{journal: 5, seq: 9})
			if c.bad != errors.Is(err, logstore.ErrCorrupt) || !c.bad && err != nil {
				t.Fatalf("check: %v, expected corrupt: %t", err, c.bad)
			}
			if err != nil {
				return
			}
			for n := range c.files {
				name := fmt.Sprintf("%06d.log", n)
				data, err := s.read(name)
				if _, scan := scanAll(data); n >= 5 && (err != nil || scan.damage != nil || scan.end != len(data)) {
					t.Fatalf("%s has %d bytes (%v), expected it to end at byte %d: %+v", name, len(data), err, scan.end, scan.damage)
				}
			}
		})
	}
}

// TestCurrentHasAChecksum points CURRENT at another manifest that exists.
func TestCurrentHasAChecksum(t *testing.T) {
	disk := vfs.NewMem(rand.New(rand.NewPCG(1, 1)))
	s, err := Open(disk, "/db", Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	put(t, disk, "MANIFEST-000001", journalOf(t, 1, 10))
	if err := disk.Flip("/db/CURRENT", len("MANIFEST-00000"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(disk, "/db", Options{}); !errors.Is(err, logstore.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte("CURRENT")) {
		t.Fatalf("open: %v, expected CURRENT named as corrupt", err)
	}
}

// What somebody stored may look like a chunk of the journal. Within a record that was
// torn it is no record behind it, unless its sequence number were the next.
func TestValueThatLooksLikeAChunk(t *testing.T) {
	chunk := func(body []byte) []byte {
		c := append(make([]byte, chunkHeader), body...)
		c[6] = chunkFull
		binary.LittleEndian.PutUint16(c[4:], uint16(len(body)))
		binary.LittleEndian.PutUint32(c, util.NewCRC(c[6:]).Value())
		return c
	}
	numbered := func(seq uint64) []byte { return binary.LittleEndian.AppendUint64(nil, seq) }
	for _, value := range [][]byte{
		chunk(nil),
		chunk([]byte("x")),
		chunk(append(numbered(1<<40), 1, 0, 0, 0)), // of another journal
		chunk(append(numbered(3), 1, 0, 0, 0)),     // of the past
	} {
		body := append(append(numbered(100), 1, 0, 0, 0), bytes.Repeat([]byte{7}, 3000)...)
		copy(body[200:], value)
		data := chunk(body)
		clear(data[1024:1536]) // a sector that was not written
		c := &journals{begun: true, seq: 100}
		s := scanner{data: data, begins: func(body []byte) bool { return c.mayFollow(body, len(data)) }}
		if _, ok := s.next(); ok || s.damage == nil || !s.damage.torn {
			t.Errorf("value %x: %+v, expected a torn record", value, s.damage)
		}
	}
}
