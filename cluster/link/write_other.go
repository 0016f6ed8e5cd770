//go:build !unix

package link

import (
	"net"
	"syscall"
)

// rawConn: there is no write here that does not wait; the link's writer does it all.
func rawConn(net.Conn) syscall.RawConn { return nil }

func writeNow(_ syscall.RawConn, pieces [][]byte) ([][]byte, error) { return pieces, nil }
