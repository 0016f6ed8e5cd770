package resp

import "github.com/protoraft/protoraft/cluster"

// Backend is where commands go: a cluster client, for a machine of package machine.
// What it is handed it may keep.
type Backend interface {
	// Pipeline begins a connection's commands.
	Pipeline() Pipeline
	// Propose starts a command beside those and does not block.
	Propose(command []byte) Pending
}

// Pipeline is the commands of one connection, as a *cluster.Pipeline has them. What is
// added may be gathered until Send or Next; but for Next nothing blocks.
type Pipeline interface {
	// Propose adds a command. Commands are applied in the order they were added in.
	Propose(command []byte)
	// ProposeOnce adds a command that is applied at most once for each id and
	// sequence, and answered alike each time. The id is 1 to cluster.MaxSessionIDBytes
	// long, the sequence above 0.
	ProposeOnce(id string, sequence uint64, command []byte)
	// Query adds a query. With afterWrites the answer of a level that is current
	// also reflects every command added before, answered or not.
	Query(query []byte, consistency cluster.Consistency, afterWrites bool)
	// Send has begin what was gathered.
	Send()
	// Next waits for the oldest of what was added that it has not told of, and returns
	// the machine's reply and the index it was applied or read at, or a *cluster.Error.
	Next() (reply []byte, index uint64, err error)
}

// Pending is an operation under way. Wait is called once and returns the
// machine's reply, or a *cluster.Error. Where it has a method WaitIndex, as a
// *cluster.Call has, that is called in its place.
type Pending interface {
	Wait() ([]byte, error)
}

// StatusSource tells what INFO shows. Status is called for every INFO and must
// not wait for anything remote.
type StatusSource interface {
	Status() Status
}

// Status is this node's member of the group the data is in.
type Status struct {
	Node          string
	Group         uint64
	Role          string // follower, candidate, leader, …
	Leader        string // empty while unknown
	LeaderAddress string
	Term          uint64
	LastIndex     uint64
	CommitIndex   uint64
	AppliedIndex  uint64
	Failure       string // why the member stopped, empty while it runs
	DiskFull      bool   // its disk takes nothing but terms and votes
}
