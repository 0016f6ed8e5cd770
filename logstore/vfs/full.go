package vfs

import (
	"errors"
	"syscall"
)

// IsFull says whether err is a file system's refusal for want of room: it is full, or
// the quota of whoever asks is. A write that was refused so has written what it says
// it has, and nothing else has happened. Of a sync it proves nothing.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
