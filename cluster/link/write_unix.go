//go:build unix

package link

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn gives the socket itself, nil where there is something around it.
func rawConn(conn net.Conn) syscall.RawConn {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// piecesMax is how many pieces one call of the kernel takes.
const piecesMax = 1024

// writeNow writes as much of pieces as the socket takes at once, without waiting, and
// returns what is left.
func writeNow(raw syscall.RawConn, pieces [][]byte) ([][]byte, error) {
	for len(pieces) > 0 {
		var n int
		var err error
		failed := raw.Write(func(fd uintptr) bool {
			for {
				n, err = writeTo(int(fd), pieces[:min(len(pieces), piecesMax)])
				if !errors.Is(err, syscall.EINTR) {
					return true // also where it would block: not to wait
				}
			}
		})
		switch {
		case failed != nil:
			return pieces, failed
		case errors.Is(err, syscall.EAGAIN):
			return pieces, nil
		case err != nil:
			return pieces, err
		}
		pieces = behind(pieces, n)
	}
	return nil, nil
}

func writeTo(fd int, pieces [][]byte) (int, error) {
	if len(pieces) == 1 {
		return unix.Write(fd, pieces[0])
	}
	return unix.Writev(fd, pieces)
}
