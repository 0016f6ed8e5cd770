package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// redisClient is as much of a Redis client as the demo needs: pipelines of
// commands whose replies are single values.
type redisClient struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

func dialRedis(ctx context.Context, address string) (*redisClient, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	// ctx bounds everything on the connection.
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return &redisClient{conn: conn, r: bufio.NewReaderSize(conn, 64<<10), w: bufio.NewWriterSize(conn, 64<<10)}, nil
}

func (c *redisClient) close() { _ = c.conn.Close() }

// do sends commands in one go and returns their replies as text, nil for nil. An
// error reply ends it as an error; replies before it are returned.
func (c *redisClient) do(commands ...[]string) ([]*string, error) {
	for _, words := range commands {
		fmt.Fprintf(c.w, "*%d\r\n", len(words))
		for _, word := range words {
			fmt.Fprintf(c.w, "$%d\r\n%s\r\n", len(word), word)
		}
	}
	if err := c.w.Flush(); err != nil {
		return nil, err
	}
	replies := make([]*string, 0, len(commands))
	for _, words := range commands {
		reply, err := c.reply()
		if err != nil {
			return replies, fmt.Errorf("%s: %w", strings.Join(words[:min(len(words), 2)], " "), err)
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

var errNotRESP = errors.New("the answer is not RESP")

func (c *redisClient) reply() (*string, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errNotRESP
	}
	switch rest := line[1:]; line[0] {
	case '+', ':':
		return &rest, nil
	case '-':
		return nil, errors.New(rest)
	case '_':
		return nil, nil
	case '$':
		n, err := strconv.Atoi(rest)
		switch {
		case err != nil || n < -1 || n > 1<<20:
			return nil, errNotRESP
		case n == -1:
			return nil, nil
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, body); err != nil {
			return nil, err
		}
		value := string(body[:n])
		return &value, nil
	default:
		return nil, errNotRESP
	}
}
