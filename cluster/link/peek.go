package link

import (
	"io"
	"net"
)

// peekInto reads the byte and puts it before the rest.
func peekInto(conn net.Conn) (net.Conn, bool, error) {
	c := &prefixed{Conn: conn}
	if _, err := io.ReadFull(conn, c.first[:]); err != nil {
		return conn, false, err
	}
	c.left = 1
	return c, c.first[0] == Magic[0], nil
}

type prefixed struct {
	net.Conn
	first [1]byte
	left  int
}

func (c *prefixed) Read(b []byte) (int, error) {
	if c.left == 0 || len(b) == 0 {
		return c.Conn.Read(b)
	}
	b[0], c.left = c.first[0], 0
	return 1, nil
}
