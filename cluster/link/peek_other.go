//go:build !unix

package link

import "net"

// Peek waits for the first byte of a connection and says whether a link begins with it.
// The connection it returns has that byte still to be read.
func Peek(conn net.Conn) (net.Conn, bool, error) { return peekInto(conn) }
