package vfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"syscall"
	"testing"

	"github.com/protoraft/protoraft/logstore/vfs"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 5)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, f vfs.FS, name string, data []byte) vfs.File {
	t.Helper()
	file, err := f.Create(name)
	must(t, err)
	_, err = file.Write(data)
	must(t, err)
	return file
}

// contents is nil where there is no such file.
func contents(t *testing.T, f vfs.FS, name string) []byte {
	t.Helper()
	file, err := f.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	must(t, err)
	defer file.Close()
	size, err := file.Size()
	must(t, err)
	data := make([]byte, size)
	if size > 0 {
		_, err = file.ReadAt(data, 0)
		must(t, err)
	}
	return data
}

// TestBoth runs on real files and in memory what both must do alike.
func TestBoth(t *testing.T) {
	for name, f := range map[string]vfs.FS{"os": vfs.OS{}, "mem": vfs.NewMem(newRand(1))} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/a/b"
			must(t, f.MkdirAll(dir))
			must(t, f.MkdirAll(dir))
			one := create(t, f, dir+"/one", []byte("hello world"))
			must(t, one.Sync())
			must(t, one.Truncate(5))
			_, err := one.Write([]byte("!"))
			must(t, err)
			must(t, one.Close())
			if _, err := f.Create(dir + "/one"); !errors.Is(err, fs.ErrExist) {
				t.Fatalf("create over a file: %v, expected %v", err, fs.ErrExist)
			}
			if _, err := f.Open(dir + "/none"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("open of nothing: %v, expected %v", err, fs.ErrNotExist)
			}
			more, err := f.Append(dir + "/one")
			must(t, err)
			_, err = more.Write([]byte("?"))
			must(t, err)
			must(t, more.Close())
			over := create(t, f, dir+"/over", []byte("ab"))
			_, err = over.WriteAt([]byte("...."), 3)
			must(t, err)
			_, err = over.Write([]byte("cde"))
			must(t, err)
			_, err = over.WriteAt([]byte("B"), 1)
			must(t, err)
			must(t, over.Close())
			if got := contents(t, f, dir+"/over"); string(got) != "aBcde.." {
				t.Fatalf("file written over is %q, expected aBcde..", got)
			}
			must(t, f.Remove(dir+"/over"))
			create(t, f, dir+"/two", []byte("2")).Close()
			must(t, f.Rename(dir+"/one", dir+"/two"))
			must(t, f.SyncDir(dir))
			if got := contents(t, f, dir+"/two"); string(got) != "hello!?" {
				t.Fatalf("file is %q", got)
			}
			if names, err := f.List(dir); err != nil || !reflect.DeepEqual(names, []string{"two"}) {
				t.Fatalf("directory is %v (%v), expected two", names, err)
			}
			if err := f.Remove(dir); err == nil {
				t.Fatal("a directory with a file in it was removed")
			}
			must(t, f.Remove(dir+"/two"))
			lock, err := f.Lock(dir + "/LOCK")
			must(t, err)
			if _, err := f.Lock(dir + "/LOCK"); !errors.Is(err, vfs.ErrLocked) {
				t.Fatalf("second lock: %v, expected %v", err, vfs.ErrLocked)
			}
			must(t, lock.Close())
			again, err := f.Lock(dir + "/LOCK")
			must(t, err)
			must(t, again.Close())
		})
	}
}

// TestCrashFates crashes one disk many times: what was synced is always there, and of
// the rest everything that may happen does.
func TestCrashFates(t *testing.T) {
	disk := vfs.NewMem(newRand(1))
	must(t, disk.MkdirAll("/d"))
	synced, unsynced := bytes.Repeat([]byte("s"), 700), bytes.Repeat([]byte("u"), 1500)
	file := create(t, disk, "/d/kept", synced)
	must(t, file.Sync())
	must(t, disk.SyncDir("/d"))
	_, err := file.Write(unsynced)
	must(t, err)
	unnamed := create(t, disk, "/d/unnamed", []byte("x"))
	must(t, unnamed.Sync())
	seen := map[string]bool{}
	for seed := range uint64(200) {
		after := disk.Crash(newRand(seed))
		got := contents(t, after, "/d/kept")
		if !bytes.HasPrefix(got, synced) {
			t.Fatalf("seed %d: synced bytes are gone: %d left", seed, len(got))
		}
		tail := got[len(synced):]
		switch {
		case len(tail) == 0:
			seen["lost"] = true
		case bytes.Equal(tail, unsynced):
			seen["kept"] = true
		default:
			seen["torn"] = true
		}
		if name := contents(t, after, "/d/unnamed"); name == nil {
			seen["no name"] = true
		} else if string(name) == "x" {
			seen["name"] = true
		}
	}
	for _, fate := range []string{"lost", "kept", "torn", "no name", "name"} {
		if !seen[fate] {
			t.Errorf("no crash had the fate %q", fate)
		}
	}
	if _, err := disk.Create("/d/late"); !errors.Is(err, vfs.ErrCrashed) {
		t.Fatalf("create after the crash: %v, expected %v", err, vfs.ErrCrashed)
	}
}

// TestCrashWhileWritingOver writes over synced bytes and crashes: each sector has
// either the old bytes or the new ones, and the length stays.
func TestCrashWhileWritingOver(t *testing.T) {
	disk := vfs.NewMem(newRand(1))
	must(t, disk.MkdirAll("/d"))
	file := create(t, disk, "/d/f", nil)
	old, new := bytes.Repeat([]byte{0}, 4*vfs.SectorBytes), bytes.Repeat([]byte("n"), 2*vfs.SectorBytes)
	_, err := file.WriteAt(old, 0)
	must(t, err)
	must(t, file.Sync())
	must(t, disk.SyncDir("/d"))
	_, err = file.Write(new)
	must(t, err)
	seen := map[string]bool{}
	for seed := range uint64(200) {
		got := contents(t, disk.Crash(newRand(seed)), "/d/f")
		if len(got) != len(old) || !bytes.Equal(got[len(new):], old[len(new):]) {
			t.Fatalf("seed %d: %d bytes, expected %d and those behind untouched", seed, len(got), len(old))
		}
		fate := ""
		for at := 0; at < len(new); at += vfs.SectorBytes {
			switch sector := got[at : at+vfs.SectorBytes]; {
			case bytes.Equal(sector, old[:vfs.SectorBytes]):
				fate += "old "
			case bytes.Equal(sector, new[:vfs.SectorBytes]):
				fate += "new "
			default:
				t.Fatalf("seed %d: the sector at byte %d is neither old nor new", seed, at)
			}
		}
		seen[fate] = true
	}
	if len(seen) != 4 {
		t.Fatalf("fates seen: %v, expected old and new in every combination", seen)
	}
}

// TestFailedWriteOverKeepsSectors fails a write in the middle of old bytes.
func TestFailedWriteOverKeepsSectors(t *testing.T) {
	disk := vfs.NewMem(newRand(1))
	file := create(t, disk, "/f", make([]byte, 2000))
	_, err := file.WriteAt([]byte("x"), 0)
	must(t, err)
	disk.Inject(func(vfs.Op) vfs.Fault { return vfs.Fault{Err: syscall.EIO, Keep: 899} })
	n, err := file.WriteAt(bytes.Repeat([]byte("n"), 900), 300)
	disk.Inject(nil)
	if want := 2*vfs.SectorBytes - 300; n != want || !errors.Is(err, syscall.EIO) {
		t.Fatalf("wrote %d bytes (%v), expected %d and %v", n, err, want, syscall.EIO)
	}
	if got := contents(t, disk, "/f"); bytes.Count(got, []byte("n")) != n {
		t.Fatalf("%d new bytes, expected %d", bytes.Count(got, []byte("n")), n)
	}
}

// TestFailedSyncLies checks that a sync after a failed one saves nothing of what that
// one dropped, though the cache still shows it.
func TestFailedSyncLies(t *testing.T) {
	lost := false
	for seed := range uint64(30) {
		disk := vfs.NewMem(newRand(seed))
		file := create(t, disk, "/f", nil)
		must(t, disk.SyncDir("/"))
		data := bytes.Repeat([]byte("d"), 2000)
		_, err := file.Write(data)
		must(t, err)
		disk.Inject(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpSync {
				return vfs.Fault{Err: syscall.EIO}
			}
			return vfs.Fault{}
		})
		if err := file.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync: %v, expected %v", err, syscall.EIO)
		}
		disk.Inject(nil)
		must(t, file.Sync())
		if !bytes.Equal(contents(t, disk, "/f"), data) {
			t.Fatal("the cache lost it too")
		}
		lost = lost || !bytes.Equal(contents(t, disk.Crash(newRand(seed)), "/f"), data)
	}
	if !lost {
		t.Fatal("nothing was ever lost")
	}
}

// TestDeterminism checks that the same calls and seeds make the same disk.
func TestDeterminism(t *testing.T) {
	run := func() *vfs.Mem {
		disk := vfs.NewMem(newRand(3))
		for i := range 5 {
			name := string(rune('a' + i))
			create(t, disk, "/"+name, bytes.Repeat([]byte(name), 1000*i))
		}
		return disk.Crash(newRand(8))
	}
	a, b := run(), run()
	if !reflect.DeepEqual(a.FileSizes(), b.FileSizes()) {
		t.Fatalf("%v and %v", a.FileSizes(), b.FileSizes())
	}
	for name := range a.FileSizes() {
		if !bytes.Equal(contents(t, a, name), contents(t, b, name)) {
			t.Fatalf("%s differs", name)
		}
	}
}

// TestLimit: a disk takes what fits, and has room again for what was cut or removed.
func TestLimit(t *testing.T) {
	disk := vfs.NewMem(newRand(1))
	one := create(t, disk, "/one", make([]byte, 100))
	two := create(t, disk, "/two", make([]byte, 100))
	disk.Limit(250)
	if n, err := one.Write(make([]byte, 60)); n != 50 || !vfs.IsFull(err) {
		t.Fatalf("wrote %d: %v, expected 50 and a full disk", n, err)
	}
	if n, err := one.WriteAt(make([]byte, 100), 20); n != 100 || err != nil {
		t.Fatalf("wrote %d over old bytes: %v", n, err)
	}
	must(t, one.Sync())
	must(t, one.Truncate(120))
	if n, err := two.Write(make([]byte, 30)); n != 30 || err != nil {
		t.Fatalf("wrote %d: %v, with room for 30", n, err)
	}
	must(t, disk.Remove("/one"))
	if n, err := two.Write(make([]byte, 120)); n != 120 || err != nil {
		t.Fatalf("wrote %d: %v, with room for 120", n, err)
	}
	if n, err := two.Write([]byte{1}); n != 0 || !vfs.IsFull(err) || disk.Refused() != 2 {
		t.Fatalf("wrote %d: %v, refused %d times, expected nothing and 2", n, err, disk.Refused())
	}
	disk.NoLimit()
	if _, err := two.Write([]byte{1}); err != nil || disk.Used() != 251 {
		t.Fatalf("%v, %d bytes used, expected 251", err, disk.Used())
	}
}
