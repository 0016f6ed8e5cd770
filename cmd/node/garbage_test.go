package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
)

// TestGarbage: what is thrown at a node's ports disturbs neither the node nor
// anybody else's connection.
func TestGarbage(t *testing.T) {
	t.Parallel()
	n := newNodeAt(t)
	p := n.serve(t)
	c := n.redis(t)
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 64<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	missiles := map[string]string{
		"random":        string(random),
		"zeros":         strings.Repeat("\x00", 1<<16),
		"HTTP":          "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"RESP":          "*1\r\n$4\r\nPING\r\n",
		"huge array":    "*2147483647\r\n$3\r\nSET\r\n",
		"huge bulk":     "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$104857600\r\n" + strings.Repeat("x", 1<<16),
		"negative bulk": "*1\r\n$-5\r\n",
		"no lines":      strings.Repeat("A", 1<<20),
		"HTTP/2":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 1<<14),
		"TLS":           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + string(random[:500]),
	}
	for what, bytes := range missiles {
		for _, address := range []string{n.resp, n.http, n.address} {
			conn := dialNode(t, address)
			_, _ = io.WriteString(conn, bytes) // it may be cut off on the way
			_ = conn.Close()
			if got, err := c.Get(t.Context(), "k").Result(); err != nil || got != "v" {
				t.Fatalf("after %s to %s: GET %q, %v\n%s", what, address, got, err, p.output())
			}
		}
	}
	n.throwLargeValue(t)
	if err := c.Set(t.Context(), "k", "w", 0).Err(); err != nil {
		t.Fatalf("SET: %v\n%s", err, p.output())
	}
	if code, body := n.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if out := p.output(); strings.Contains(out, "goroutine ") || strings.Contains(out, "panic") {
		t.Errorf("the log shows a panic:\n%s", out)
	}
}

// throwLargeValue sends a value of 100 MB each way.
func (n nodeAt) throwLargeValue(t *testing.T) {
	t.Helper()
	const size = 100 << 20
	endless := func() io.Reader { return io.LimitReader(repeat('x'), size) }
	conn := dialNode(t, n.resp)
	go func() {
		fmt.Fprintf(conn, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", size)
		_, _ = io.Copy(conn, endless())
		_, _ = io.WriteString(conn, "\r\n")
	}()
	reply := make([]byte, 1)
	if _, err := io.ReadFull(conn, reply); err != nil || reply[0] != '-' {
		t.Errorf("RESP: a value of 100 MB is answered %q, %v; expected an error", reply, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+n.http+"/v1/kv/k", endless())
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = size
	if res, err := http.DefaultClient.Do(req); err == nil { // or cut off while sending
		_ = res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("HTTP: a value of 100 MB is answered %s", res.Status)
		}
	}
	if got, err := n.redis(t).Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("after values of 100 MB: GET %.20q, %v", got, err)
	}
}

type repeat byte

func (b repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}
