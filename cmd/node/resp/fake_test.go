package resp

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/machine"
	"github.com/protoraft/protoraft/fsm"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a cluster in one lock, as unhelpful as a real one may be: it applies a
// command only when somebody waits for it or for one behind it, answers a query
// without afterWrites from what was applied when it came in, and one with it from
// everything there is when the answer is waited for. So every order shows that
// the front end does not enforce.
type fake struct {
	mu      sync.Mutex
	machine *machine.Machine
	log     []*fakeOp
	applied int
	seen    map[string]*fakeOp // by id and sequence

	fail    func(data []byte) error   // in place of an answer, where not nil
	answer  func(query []byte) []byte // in place of the machine's to a query, where not nil
	hold    chan struct{}             // Wait blocks until it is closed, where not nil
	waiting chan struct{}             // told of each Wait that holds
	most    int                       // operations under way at a time
	now     int
	level   cluster.Consistency // of the last query
}

type fakeOp struct {
	f           *fake
	data        []byte
	query       bool
	afterWrites bool
	behind      int // commands proposed before it
	once        string
	reply       []byte
	err         error
}

func newFake() *fake {
	return &fake{machine: machine.New(), seen: map[string]*fakeOp{}, waiting: make(chan struct{}, 1000)}
}

func (f *fake) start(op *fakeOp) *fakeOp {
	f.mu.Lock()
	defer f.mu.Unlock()
	op.f, op.behind = f, len(f.log)
	if !op.query {
		f.log = append(f.log, op)
	} else if !op.afterWrites {
		op.reply, op.err = f.machine.Query(op.data)
	}
	f.now++
	f.most = max(f.most, f.now)
	return op
}

func (f *fake) Propose(command []byte) Pending { return f.start(&fakeOp{data: command}) }

// fakePipeline starts nothing before it has to.
type fakePipeline struct {
	*fake
	ops     []*fakeOp
	started int // of ops
}

func (f *fake) Pipeline() Pipeline { return &fakePipeline{fake: f} }

func (p *fakePipeline) Propose(command []byte) { p.ops = append(p.ops, &fakeOp{data: command}) }

func (p *fakePipeline) ProposeOnce(id string, sequence uint64, command []byte) {
	p.ops = append(p.ops, &fakeOp{data: command, once: fmt.Sprintf("%s/%d", id, sequence)})
}

func (p *fakePipeline) Query(query []byte, consistency cluster.Consistency, afterWrites bool) {
	p.mu.Lock()
	p.level = consistency
	p.mu.Unlock()
	p.ops = append(p.ops, &fakeOp{data: query, query: true, afterWrites: afterWrites})
}

func (p *fakePipeline) Send() {
	for ; p.started < len(p.ops); p.started++ {
		p.start(p.ops[p.started])
	}
}

func (p *fakePipeline) Next() (reply []byte, index uint64, err error) {
	p.Send()
	op := p.ops[0]
	p.ops, p.started = p.ops[1:], p.started-1
	return op.WaitIndex()
}

func (op *fakeOp) Wait() ([]byte, error) {
	f := op.f
	if f.hold != nil {
		f.waiting <- struct{}{}
		<-f.hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now--
	if !op.query {
		f.applyTo(op.behind + 1)
		return op.reply, op.err
	}
	if f.fail != nil {
		if err := f.fail(op.data); err != nil {
			return nil, err
		}
	}
	if f.answer != nil {
		if reply := f.answer(op.data); reply != nil {
			return reply, nil
		}
	}
	if op.afterWrites {
		f.applyTo(len(f.log))
		return f.machine.Query(op.data)
	}
	return op.reply, op.err
}

func (f *fake) applyTo(n int) {
	for ; f.applied < n; f.applied++ {
		op := f.log[f.applied]
		if f.fail != nil {
			if op.err = f.fail(op.data); op.err != nil {
				continue
			}
		}
		if first := f.seen[op.once]; first != nil && op.once != "" {
			op.reply = first.reply
			continue
		}
		f.seen[op.once] = op
		op.reply, _ = f.machine.Apply(fsm.Entry{Index: uint64(f.applied + 1), Time: time.Now(), Data: op.data})
	}
}

func (f *fake) proposed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.log)
}

func (f *fake) Status() Status {
	return Status{Node: "n1", Group: 1, Role: "follower", Leader: "n2", LeaderAddress: "127.0.0.1:7002", Term: 3, LastIndex: 12, CommitIndex: 11, AppliedIndex: 10}
}

// serve starts a server on a free port and stops it with the test.
func serve(t testing.TB, backend Backend, o Options) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(backend, newFake(), o)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

func goRedis(t testing.TB, addr string, proto int) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: proto, MaxRetries: -1, ClientName: "test"})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// raw is a connection that speaks bytes.
type raw struct {
	net.Conn
	t testing.TB
}

func dial(t testing.TB, addr string) raw {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return raw{nc, t}
}

func (r raw) send(s string) {
	r.t.Helper()
	if _, err := r.Write([]byte(s)); err != nil {
		r.t.Fatal(err)
	}
}

// expect reads as many bytes as want has and compares.
func (r raw) expect(want string) {
	r.t.Helper()
	got := make([]byte, len(want))
	n, err := readFull(r, got)
	if string(got[:n]) != want {
		r.t.Fatalf("got %q (%v), want %q", got[:n], err, want)
	}
}

// expectEnd demands that the server has closed the connection.
func (r raw) expectEnd() {
	r.t.Helper()
	var b [256]byte
	if n, err := r.Read(b[:]); err == nil {
		r.t.Fatalf("got %q, want the connection closed", b[:n])
	}
}
