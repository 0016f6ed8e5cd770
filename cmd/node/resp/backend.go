package resp

import "github.com/protoraft/protoraft/cluster"

// Backend is where commands go: a cluster client, for a machine of package machine.
// Neither method blocks. What a Backend is handed it may keep.
type Backend interface {
	// Propose starts a command. Commands of one goroutine are applied in the order
	// they were proposed in.
	Propose(command []byte) Pending
	// ProposeOnce starts a command that is applied at most once for each id and
	// sequence, and answered alike each time. The id is 1 to cluster.MaxSessionIDBytes
	// long, the sequence above 0.
	ProposeOnce(id string, sequence uint64, command []byte) Pending
	// Query starts a query. With afterWrites the answer of a level that is current
	// also reflects every command this goroutine proposed before, answered or not.
	Query(query []byte, consistency cluster.Consistency, afterWrites bool) Pending
}

// Pending is an operation under way. Wait is called once and returns the
// machine's reply, or a *cluster.Error. Where it has a method WaitIndex, as a
// *cluster.Call has, that is called in its place. (An alias, so that one Backend serves
// every front end.)
type Pending = interface {
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
