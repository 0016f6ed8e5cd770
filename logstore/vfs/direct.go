package vfs

import "unsafe"

// DirectBytes is what the offsets and lengths of writes to a direct file are multiples
// of: the largest sector that disks have, and the page of the file system.
const DirectBytes = 4 << 10

// Direct is a file system that can write past the page cache.
type Direct interface {
	// AppendDirect opens an existing file as Append does. Offset and length of a WriteAt
	// are multiples of DirectBytes; Write is refused. It returns an error wrapping
	// errors.ErrUnsupported where files cannot be opened so.
	AppendDirect(name string) (File, error)
}

// WriteSynced is a WriteAt and a Sync, in one call where the file has one for it.
func WriteSynced(f File, p []byte, off int64) error {
	if one, ok := f.(interface {
		writeSynced(p []byte, off int64) error
	}); ok {
		return one.writeSynced(p, off)
	}
	if _, err := f.WriteAt(p, off); err != nil {
		return err
	}
	return f.Sync()
}

// Aligned makes a buffer that a direct file writes without copying it first.
func Aligned(size int) []byte {
	b := make([]byte, size+DirectBytes)
	at := 0
	if over := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % DirectBytes); over > 0 {
		at = DirectBytes - over
	}
	return b[at : at+size : at+size]
}

func aligned(b []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%DirectBytes == 0
}
