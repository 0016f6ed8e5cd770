package cluster

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/protoraft/protoraft/test/linearizability"
)

// clientTimeout is longer than the nodes wait for an outcome, so that they tell it.
const clientTimeout = 8 * time.Second

// errNotSent: the node was not reached, so nothing was done.
var errNotSent = errors.New("not sent")

// complaint is an answer the node must not give to a client that does nothing wrong.
type complaint string

func (c complaint) Error() string { return string(c) }

// value is a RESP2 reply.
type value struct {
	kind  byte // + - : $ *
	null  bool
	text  string
	n     int64
	items []value
}

// respSession is a client of one node. It never sends anything twice, so what an
// error says of the operation is exact, which libraries that retry cannot offer.
type respSession struct {
	address string
	timeout time.Duration // of an operation; 0: clientTimeout
	conn    net.Conn
	in      *bufio.Reader
}

func (s *respSession) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// send writes commands, connecting first where need be.
func (s *respSession) send(commands ...[]string) error {
	timeout := cmp.Or(s.timeout, clientTimeout)
	if s.conn == nil {
		conn, err := net.DialTimeout("tcp", s.address, timeout)
		if err != nil {
			return fmt.Errorf("%w: %w", errNotSent, err)
		}
		s.conn, s.in = conn, bufio.NewReader(conn)
	}
	var out []byte
	for _, args := range commands {
		out = fmt.Appendf(out, "*%d\r\n", len(args))
		for _, a := range args {
			out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(a), a)
		}
	}
	if err := s.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(out) // on an error part of it may have arrived
	return err
}

// call sends a command and waits for its reply.
func (s *respSession) call(args ...string) (value, error) {
	if err := s.send(args); err != nil {
		s.close()
		return value{}, err
	}
	v, err := s.receive()
	if err != nil {
		s.close()
	}
	return v, err
}

func (s *respSession) receive() (value, error) {
	line, err := s.in.ReadString('\n')
	if err != nil {
		return value{}, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return value{}, complaint("an empty reply")
	}
	v := value{kind: line[0], text: line[1:]}
	switch v.kind {
	case '+', '-':
		return v, nil
	}
	if v.n, err = strconv.ParseInt(v.text, 10, 64); err != nil {
		return v, complaint(fmt.Sprintf("reply %q", line))
	}
	switch v.kind {
	case ':':
	case '$':
		if v.null = v.n < 0; v.null {
			return v, nil
		}
		bulk := make([]byte, v.n+2)
		if _, err := io.ReadFull(s.in, bulk); err != nil {
			return v, err
		}
		v.text = string(bulk[:v.n])
	case '*':
		for range v.n {
			item, err := s.receive()
			if err != nil {
				return v, err
			}
			v.items = append(v.items, item)
		}
	default:
		return v, complaint(fmt.Sprintf("reply %q", line))
	}
	return v, nil
}

// commandOf is an operation as RESP has it.
func commandOf(op linearizability.Operation) []string {
	switch op.Kind {
	case linearizability.Get:
		return []string{"GET", op.Key}
	case linearizability.Put:
		return []string{"SET", op.Key, op.Value}
	case linearizability.PutNew:
		return []string{"SETNX", op.Key, op.Value}
	case linearizability.Swap:
		return []string{"GETSET", op.Key, op.Value}
	case linearizability.Delete:
		return []string{"DEL", op.Key}
	case linearizability.Append:
		return []string{"APPEND", op.Key, op.Value}
	case linearizability.Incr:
		return []string{"INCRBY", op.Key, strconv.FormatInt(op.Delta, 10)}
	default:
		panic("no command for " + op.Kind.String())
	}
}

// do executes an operation. Beside its result it returns why that is not Applied.
func (s *respSession) do(op linearizability.Operation) (linearizability.Result, error) {
	v, err := s.call(commandOf(op)...)
	return resultOf(v, err)
}

// resultOf tells what a reply, or its failing to come, says of the operation.
func resultOf(v value, err error) (linearizability.Result, error) {
	switch {
	case errors.Is(err, errNotSent):
		return linearizability.Result{Outcome: linearizability.NotApplied}, err
	case err != nil: // on its way there or back, who knows
		return linearizability.Result{Outcome: linearizability.Unknown}, err
	case v.kind != '-':
		result := linearizability.Result{Outcome: linearizability.Applied}
		switch {
		case v.kind == ':':
			result.Number = v.n
		case v.kind == '$' && !v.null:
			result.Text, result.Found = v.text, true
		}
		return result, nil
	}
	switch prefix, _, _ := strings.Cut(v.text, " "); prefix {
	case "UNCERTAIN":
		return linearizability.Result{Outcome: linearizability.Unknown}, errors.New(v.text)
	case "CLUSTERDOWN", "TRYAGAIN":
		return linearizability.Result{Outcome: linearizability.NotApplied}, errors.New(v.text)
	default:
		return linearizability.Result{Outcome: linearizability.Unknown}, complaint("error " + v.text)
	}
}
