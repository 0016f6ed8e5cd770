package journal

import (
	"path"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/logstore"
)

// TestOptionsAreChecked: one that cannot be is named.
func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"SegmentBytes": {SegmentBytes: 2 << 30}, "PageBytes": {PageBytes: 700}, "AheadBytes": {AheadBytes: -1},
		"IndexBytes": {IndexBytes: -1}, "SlackBytes": {SlackBytes: -1}, "ReserveBytes": {ReserveBytes: -1},
	} {
		if _, err := Open(newDisk(1), "/db", o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, expected an error about %s", o, err, name)
		}
	}
}

// TestLengthWithinAPage: a file whose growth was cut off within a page goes on from there.
func TestLengthWithinAPage(t *testing.T) {
	disk := newDisk(1)
	s := openTiny(t, disk)
	write(t, s, put(1, 1, []byte("x")))
	s.Close()
	for name, size := range disk.FileSizes() {
		if !isSlot(name) {
			continue
		}
		f, err := disk.Append(name)
		if err == nil {
			_, err = f.WriteAt(make([]byte, 100), int64(size))
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			t.Fatal(path.Base(name), err)
		}
	}
	for last := uint64(1); last < 60; last++ {
		s = openTiny(t, disk)
		if st, err := s.Load(1); err != nil || st.LastIndex != last {
			t.Fatalf("%+v, %v, expected an end at %d", st, err, last)
		}
		write(t, s, put(1, last+1, make([]byte, 200)), logstore.Update{Group: 2, HardState: &logstore.HardState{Term: last}})
		s.Close()
	}
}
