package vfs_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// TestDirect writes past the page cache, where the system has that, and reads from
// anywhere; what is no whole page is refused.
func TestDirect(t *testing.T) {
	name := t.TempDir() + "/f"
	create(t, vfs.OS{}, name, nil).Close()
	over, ok := vfs.FS(vfs.OS{}).(vfs.Direct)
	if !ok {
		t.Skip("no direct writes on this system")
	}
	f, err := over.AppendDirect(name)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	must(t, err)
	defer f.Close()
	data := make([]byte, 3*vfs.DirectBytes)
	for i := range data {
		data[i] = byte(i * 7)
	}
	for off, p := range map[int64][]byte{0: data[:512], 512: data[:vfs.DirectBytes], 100: data[:100]} {
		if _, err := f.WriteAt(p, off); err == nil {
			t.Errorf("%d bytes were written at %d", len(p), off)
		}
		if err := vfs.WriteSynced(f, p, off); err == nil {
			t.Errorf("%d bytes were written and synced at %d", len(p), off)
		}
	}
	// From a buffer where it has to be copied, and from one where not.
	must(t, vfs.WriteSynced(f, append(make([]byte, 1), data...)[1:], 0))
	fit := vfs.Aligned(len(data))
	copy(fit, data)
	n, err := f.WriteAt(fit, int64(len(data)))
	if n != len(fit) || err != nil {
		t.Fatalf("%d bytes written (%v), expected %d", n, err, len(fit))
	}
	must(t, f.Sync())
	if _, err := f.Write(data); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("write at the end: %v, expected %v", err, errors.ErrUnsupported)
	}
	both := append(bytes.Clone(data), data...)
	if got := contents(t, vfs.OS{}, name); !bytes.Equal(got, both) {
		t.Fatalf("%d other bytes through the page cache, expected %d", len(got), len(both))
	}
	for _, at := range []int{0, 1, 511, 4095, 4096, 5000, len(both) - 1} {
		for _, size := range []int{1, 100, 4096, 9000} {
			got := make([]byte, size)
			n, err := f.ReadAt(got, int64(at))
			want := both[at:min(at+size, len(both))]
			if n != len(want) || !bytes.Equal(got[:n], want) || (err == nil) != (n == size) {
				t.Fatalf("%d bytes at %d: %d (%v), expected %d", size, at, n, err, len(want))
			}
		}
	}
	must(t, f.Truncate(vfs.DirectBytes))
	must(t, vfs.WriteSynced(f, fit, vfs.DirectBytes))
	if size, err := f.Size(); err != nil || size != int64(vfs.DirectBytes+len(fit)) {
		t.Fatalf("%d bytes (%v), expected %d", size, err, vfs.DirectBytes+len(fit))
	}
}
