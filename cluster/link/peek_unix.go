//go:build unix

package link

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peek looks at the first byte as it waits in the kernel.
func peek(conn net.Conn) (net.Conn, bool, error) {
	raw := rawConn(conn)
	if raw == nil {
		return peekInto(conn)
	}
	var first [1]byte
	var n int
	var err error
	failed := raw.Read(func(fd uintptr) bool {
		for {
			if n, _, err = unix.Recvfrom(int(fd), first[:], unix.MSG_PEEK); err != syscall.EINTR {
				return err != syscall.EAGAIN
			}
		}
	})
	switch {
	case failed != nil:
		return conn, false, failed
	case err != nil:
		return conn, false, err
	case n == 0:
		return conn, false, io.EOF
	}
	return conn, first[0] == Magic[0], nil
}
