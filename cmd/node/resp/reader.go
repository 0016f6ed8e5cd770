package resp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Bounds on what a client may send, beside Options.RequestBytesMax.
const (
	headerBytesMax = 32       // of a line that announces a count or length
	inlineBytesMax = 64 << 10 // of an inline command
	argsMax        = 1 << 17  // of one command
	bulkSkipMax    = 512 << 20
	spareArgs      = 1 << 10 // room kept from one command to the next
	bufferBytesMin = 4 << 10
	bufferBytesMax = 64 << 10 // unless one command is larger
)

// errMore says that the buffer holds no whole command.
var errMore = errors.New("resp: more bytes needed")

// protocolError is answered once; then the connection is closed, because nothing
// after it can be understood.
type protocolError string

func (e protocolError) Error() string { return "Protocol error: " + string(e) }

// reader cuts commands out of what a connection sends. It holds at most one
// command of RequestBytesMax or bufferBytesMax, whichever is more: what is larger
// is thrown away as it arrives, and the command refused as a whole, so that the
// connection goes on.
type reader struct {
	buf        []byte
	start, end int // what was received and not yet taken

	pos     int // how far the current command is read
	left    int // arguments it still lacks, 0 between commands
	size    int // bytes of its arguments so far
	skip    int // bytes to throw away first
	tooLong string
	spans   []span
	args    [][]byte

	argBytesMax     int
	requestBytesMax int
}

type span struct{ from, to int } // relative to start

// request is one command; args alias the reader's buffer until fill. refused is
// set, and args empty, where it was too large.
type request struct {
	args    [][]byte
	refused string
}

// next takes the next command. It returns errMore when fill is needed first, and
// a protocolError when the bytes make no sense.
func (r *reader) next() (request, error) {
	for {
		if r.skip > 0 {
			if !r.discard() {
				return request{}, errMore
			}
		} else if r.left > 0 {
			if err := r.argument(); err != nil {
				return request{}, err
			}
		} else {
			if r.pos == r.end {
				return request{}, errMore
			}
			if r.buf[r.pos] != '*' {
				return r.inline()
			}
			if err := r.begin(); err != nil {
				return request{}, err
			}
			continue
		}
		if r.left == 0 && r.skip == 0 {
			return r.take(), nil
		}
	}
}

// begin reads *count. A count of 0 or less is an empty command, which Redis ignores.
func (r *reader) begin() error {
	n, at, err := r.header("mbulk count", "invalid multibulk length")
	if err != nil {
		return err
	}
	if n > argsMax {
		return protocolError("invalid multibulk length")
	}
	r.pos = at
	if n <= 0 {
		r.start = at
		return nil
	}
	r.left, r.size, r.tooLong = n, 0, ""
	if cap(r.spans) > spareArgs {
		r.spans, r.args = nil, nil
	}
	r.spans = r.spans[:0]
	return nil
}

// argument reads $length and the bytes after it.
func (r *reader) argument() error {
	if r.pos == r.end {
		return errMore
	}
	if c := r.buf[r.pos]; c != '$' {
		return protocolError(fmt.Sprintf("expected '$', got %s", printable(c)))
	}
	n, at, err := r.header("bulk count", "invalid bulk length")
	if err != nil {
		return err
	}
	if n < 0 || n > bulkSkipMax {
		return protocolError("invalid bulk length")
	}
	if r.tooLong == "" && n > r.argBytesMax {
		r.tooLong = fmt.Sprintf("argument too large: %d bytes, at most %d", n, r.argBytesMax)
	}
	if r.tooLong == "" && r.size+n > r.requestBytesMax {
		r.tooLong = fmt.Sprintf("command too large: more than %d bytes", r.requestBytesMax)
	}
	if r.tooLong != "" {
		r.left--
		r.skip = n + 2
		r.start, r.pos = at, at
		return nil
	}
	if r.end-at < n+2 {
		return errMore
	}
	if r.buf[at+n] != '\r' || r.buf[at+n+1] != '\n' {
		return protocolError("invalid bulk length")
	}
	r.spans = append(r.spans, span{at - r.start, at + n - r.start})
	r.left--
	r.size += n
	r.pos = at + n + 2
	return nil
}

// header reads the number of the line at pos and returns where the next begins.
func (r *reader) header(what, invalid string) (n, next int, err error) {
	line := r.buf[r.pos:r.end]
	i := 1
	for ; i < len(line) && i < 8 && line[i] >= '0' && line[i] <= '9'; i++ {
		n = 10*n + int(line[i]-'0')
	}
	if i > 1 && i+1 < len(line) && line[i] == '\r' && line[i+1] == '\n' {
		return n, r.pos + i + 2, nil // as nearly all are
	}
	if i = bytes.IndexByte(line, '\n'); i < 0 && len(line) <= headerBytesMax {
		return 0, 0, errMore
	}
	if i < 0 || i > headerBytesMax {
		return 0, 0, protocolError("too big " + what + " string")
	}
	if i < 2 || line[i-1] != '\r' {
		return 0, 0, protocolError(invalid)
	}
	digits := line[1 : i-1]
	for j, d := range digits {
		if (d < '0' || d > '9') && !(d == '-' && j == 0) {
			return 0, 0, protocolError(invalid)
		}
	}
	if n, err = strconv.Atoi(string(digits)); err != nil {
		return 0, 0, protocolError(invalid)
	}
	return n, r.pos + i + 1, nil
}

// discard throws away received bytes that are to be skipped and says whether that
// was all of them.
func (r *reader) discard() bool {
	n := min(r.skip, r.end-r.pos)
	r.skip -= n
	r.pos += n
	r.start = r.pos
	return r.skip == 0
}

func (r *reader) take() request {
	refused := r.tooLong
	r.args = r.args[:0]
	if refused == "" {
		for _, s := range r.spans {
			r.args = append(r.args, r.buf[r.start+s.from:r.start+s.to:r.start+s.to])
		}
	}
	r.start = r.pos
	return request{args: r.args, refused: refused}
}

// inline reads a command typed as a line of words. An empty line is a command
// without arguments.
func (r *reader) inline() (request, error) {
	line := r.buf[r.pos:r.end]
	i := bytes.IndexByte(line, '\n')
	if i < 0 && len(line) <= inlineBytesMax {
		// What can never become a command is refused before its line ends.
		if err := checkWord(line); err != nil {
			return request{}, err
		}
		return request{}, errMore
	}
	if i < 0 || i > inlineBytesMax {
		return request{}, protocolError("too big inline request")
	}
	line = bytes.TrimSuffix(line[:i], []byte{'\r'})
	if err := checkWord(line); err != nil {
		return request{}, err
	}
	args, ok := splitWords(line)
	if !ok {
		return request{}, protocolError("unbalanced quotes in request")
	}
	r.pos += i + 1
	r.start = r.pos
	return request{args: args}, nil
}

// checkWord refuses a line whose first word is not printable ASCII: bytes of some
// other protocol, to be answered once rather than line by line.
func checkWord(line []byte) error {
	for _, c := range bytes.TrimLeft(line, " \t\r") {
		if c == ' ' || c == '\t' || c == '\r' {
			break
		}
		if c < '!' || c > '~' {
			return protocolError("expected '*' or a command name, got " + printable(c))
		}
	}
	return nil
}

func printable(c byte) string {
	if c >= ' ' && c <= '~' {
		return "'" + string(rune(c)) + "'"
	}
	return fmt.Sprintf("byte 0x%02x", c)
}

// room makes space behind what was received and returns it. It must not be called
// while args are in use.
func (r *reader) room() []byte {
	if r.start == r.end {
		full := r.end == len(r.buf)
		r.pos, r.start, r.end = 0, 0, 0
		switch {
		case len(r.buf) > bufferBytesMax || len(r.buf) == 0:
			r.buf = make([]byte, bufferBytesMin)
		case full && len(r.buf) < bufferBytesMax:
			r.buf = make([]byte, 2*len(r.buf)) // a pipeline: take more of it at once
		}
		return r.buf
	}
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
		r.pos -= r.start
		r.end -= r.start
		r.start = 0
	}
	if r.end == len(r.buf) {
		grown := make([]byte, 2*len(r.buf))
		copy(grown, r.buf[:r.end])
		r.buf = grown
	}
	return r.buf[r.end:]
}

// filled says that n bytes were put into room.
func (r *reader) filled(n int) { r.end += n }
