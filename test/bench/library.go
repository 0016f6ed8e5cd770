package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// member is one process's handle on the library under test. Groups are counted
// from 0.
type member interface {
	// Leads lists the groups this member leads now, in order.
	Leads() []int
	// Propose returns when the command is durable on a majority and applied here. The
	// command is not changed afterwards: the library may keep it.
	Propose(group int, command []byte) error
	// Read returns when a linearizable read of the group has been answered.
	Read(group int) error
	// Applied counts the commands the group's state machine has applied here.
	Applied(group int) uint64
}

// starter is a member of a library that can begin a write and tell of its end later.
type starter interface {
	Start(group int, command []byte) begun
}

// begun is a write under way.
type begun interface {
	// Decided says whether Wait returns at once.
	Decided() bool
	// Wait is called once.
	Wait() error
}

// giver is a member of a library whose groups can be spread: it asks that a group it
// leads be led by another, which may take a while and may fail.
type giver interface {
	Give(group, to int) error
}

// library is one that is measured.
type library struct {
	open   func(memberConfig) (member, error)
	module string           // whose version is told
	groups bool             // has many groups share what a process has
	ours   bool             // this library, not a peer
	busy   func(error) bool // says that the work was refused since there is too much
}

var libraries = map[string]library{
	"dragonboat":        {open: newDragonboat, module: "github.com/lni/dragonboat/v4", groups: true, busy: dragonboatBusy},
	"etcd":              {open: newEtcd, module: "go.etcd.io/etcd/server/v3", busy: etcdBusy},
	"hashicorp":         {open: newHashicorp, module: "github.com/hashicorp/raft", busy: hashicorpBusy},
	"protoraft":         {open: protoraftOn("goleveldb"), module: ourModule, groups: true, ours: true, busy: protoraftBusy},
	"protoraft-journal": {open: protoraftOn("journal"), module: ourModule, groups: true, ours: true, busy: protoraftBusy},
}

const ourModule = "github.com/protoraft/protoraft"

// opTimeout bounds an operation in the libraries whose call takes a bound.
const opTimeout = 5 * time.Second

// heartbeatsPerElection is how often a leader shows itself within an election timeout,
// wherever one is asked for: the default of most libraries here.
const heartbeatsPerElection = 10

var errNotGiven = errors.New("leadership not handed over")

func libraryNames() []string {
	var names []string
	for name := range libraries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// chooseLibraries parses a list of names; an empty one stands for every library that
// suits.
func chooseLibraries(list string, suits func(library) bool) ([]string, error) {
	if list == "" {
		return slices.DeleteFunc(libraryNames(), func(name string) bool { return !suits(libraries[name]) }), nil
	}
	names := strings.Split(list, ",")
	for _, name := range names {
		lib, ok := libraries[name]
		if !ok {
			return nil, fmt.Errorf("-libs %q: %q is none of %s", list, name, strings.Join(libraryNames(), ", "))
		}
		if !suits(lib) {
			return nil, fmt.Errorf("-libs %q: %s cannot do this", list, name)
		}
	}
	return names, nil
}

// memberConfig is what a member process is told, as JSON in memberEnv.
type memberConfig struct {
	Spec  spec
	ID    int // 1..members
	Dir   string
	Ports []int // members × portsEach
}

const memberEnv = "RAFTBENCH_MEMBER"

// addr is where a member listens: with n 0 for its peers, with 1 for clients.
func (c memberConfig) addr(id, n int) string {
	return "127.0.0.1:" + strconv.Itoa(c.Ports[n*members+id-1])
}

const portsEach = 2
