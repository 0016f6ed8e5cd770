//go:build !linux

package vfs

import (
	"os"
	"runtime"
)

func syncData(f *os.File) error { return f.Sync() }

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be opened for it; NTFS logs names itself
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
