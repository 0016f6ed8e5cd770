package vfs

import (
	"errors"
	"syscall"
)

// IsUnreadable says whether err is a disk's answer that it does not have the bytes any more
// that were asked for: a bad sector, or one whose own checksum is wrong.
func IsUnreadable(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENODATA) || errors.Is(err, syscall.EILSEQ)
}
