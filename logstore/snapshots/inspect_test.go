package snapshots_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/messages"
)

// A snapshot behind other bytes of a file is read and checked like any, and can be copied
// under another meta, section by section.
func TestSnapshotWithinAFile(t *testing.T) {
	disk := newDisk(1)
	s := open(t, disk)
	defer s.Close()
	_, err := write(s, metaAt(7), content(7), 1000)
	must(t, err)
	raw := bytesOf(t, s, 7)
	const head = "something before\n"
	put := func(name string, tail []byte) {
		t.Helper()
		f, err := disk.Create(name)
		must(t, err)
		_, err = f.Write(append([]byte(head), tail...))
		must(t, errors.Join(err, f.Close()))
	}
	put("/data/whole", raw)
	f, err := disk.Open("/data/whole")
	must(t, err)
	r, err := snapshots.OpenAt(f, "whole", int64(len(head)))
	must(t, err)
	defer r.Close()
	parts, err := r.Parts()
	must(t, err)
	if want := fmt.Sprintf("[{sessions 0} {machine %d}]", len(content(7))); fmt.Sprint(parts) != want {
		t.Errorf("parts %v, expected %s", parts, want)
	}

	meta := proto.Clone(metaAt(7)).(*messages.SnapshotMeta)
	meta.Index = 8
	w, err := s.Create(meta)
	must(t, err)
	must(t, w.Copy(r))
	_, err = w.Commit()
	must(t, err)
	must(t, whole(s, 8, content(7)))

	raw[len(raw)-100] ^= 1
	put("/data/damaged", raw)
	f, err = disk.Open("/data/damaged")
	must(t, err)
	r, err = snapshots.OpenAt(f, "damaged", int64(len(head)))
	must(t, err)
	defer r.Close()
	if _, err := r.Parts(); !errors.Is(err, logstore.ErrCorrupt) || !strings.Contains(err.Error(), `damaged, section "machine": at byte`) {
		t.Errorf("%v, expected %v with the place", err, logstore.ErrCorrupt)
	}
	meta.Index = 9
	w, err = s.Create(meta)
	must(t, err)
	if err := w.Copy(r); !errors.Is(err, logstore.ErrCorrupt) {
		t.Errorf("%v, expected %v", err, logstore.ErrCorrupt)
	}
	w.Abort()
	f, err = disk.Open("/data/whole")
	must(t, err)
	if _, err := snapshots.OpenAt(f, "too short", int64(len(head)+len(raw)+1)); !errors.Is(err, logstore.ErrCorrupt) {
		t.Errorf("%v, expected %v", err, logstore.ErrCorrupt)
	}
}
