//go:build !unix

package link

import "net"

// peek is peekInto: there is no looking into a socket.
func peek(conn net.Conn) (net.Conn, bool, error) { return peekInto(conn) }
