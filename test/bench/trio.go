package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	members      = 3
	electionMax  = 30 * time.Second      // for every group to have one leader
	groupMax     = 20 * time.Millisecond // longer, for each group
	teardownMax  = 20 * time.Second      // for a member to finish what is in flight
	leaderSettle = 500 * time.Millisecond
	leaderLook   = 20 * time.Millisecond
)

// trio is three member processes of one library. All of it is used on the main thread:
// the members die with the thread that started them.
type trio struct {
	ctx    context.Context
	cancel func()
	spec   spec
	root   string
	ports  []int
	all    [members]*child // nil while killed
	device int64           // bytes written to the device when counting began
}

// startTrio starts the members and waits for leaders. limit bounds all that is done
// with them afterwards.
func startTrio(s spec, limit time.Duration) (_ *trio, err error) {
	t := &trio{spec: s}
	t.ctx, t.cancel = context.WithTimeout(context.Background(), t.electionMax()+limit+2*teardownMax)
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if t.root, err = os.MkdirTemp(s.Dir, "raftbench-"); err != nil {
		return nil, err
	}
	if t.ports, err = freePorts(members * portsEach); err != nil {
		return nil, err
	}
	for id := 1; id <= members; id++ {
		if err := t.start(id); err != nil {
			return nil, err
		}
	}
	return t, t.awaitLeaders()
}

func (t *trio) electionMax() time.Duration {
	return electionMax + time.Duration(t.spec.Groups)*groupMax
}

// close leaves nothing behind.
func (t *trio) close() error {
	for i, c := range t.all {
		if c != nil {
			c.kill()
			t.all[i] = nil
		}
	}
	t.cancel()
	if t.root == "" {
		return nil
	}
	return os.RemoveAll(t.root)
}

// start starts a member, for the first time or again.
func (t *trio) start(id int) (err error) {
	t.all[id-1], err = startMember(t.ctx, memberConfig{
		Spec: t.spec, ID: id, Dir: filepath.Join(t.root, strconv.Itoa(id)), Ports: t.ports,
	})
	return err
}

func (t *trio) kill(id int) {
	t.all[id-1].kill()
	t.all[id-1] = nil
}

func (t *trio) signal(id int, s syscall.Signal) error { return t.all[id-1].signal(s) }

// ask asks every member that runs, but for those left out. The report of a member that
// was not asked is empty.
func (t *trio) ask(cmd string, but ...int) ([members]report, error) {
	var rs [members]report
	for i, c := range t.all {
		if c == nil || slices.Contains(but, c.id) {
			continue
		}
		r, err := c.ask(cmd)
		if err != nil {
			return rs, err
		}
		rs[i] = r
	}
	return rs, nil
}

// awaitLeaders returns when each group has been led by one and the same member for a
// while, by the one it is to be led by where leaders are spread, and all members have
// applied the same.
func (t *trio) awaitLeaders() error {
	end := time.Now().Add(t.electionMax())
	var before []int
	for {
		rs, err := t.ask(cmdLeads)
		if err != nil {
			return err
		}
		leaders, led := leadersOf(rs, t.spec.Groups)
		if t.spec.Spread && led == t.spec.Groups {
			wrong, err := t.spread(leaders)
			if err != nil {
				return err
			}
			led -= wrong
		}
		if led == t.spec.Groups && slices.Equal(leaders, before) && t.equal(rs) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no stable leaders within %v: %d of %d groups led, where they are to be", t.electionMax(), led, t.spec.Groups)
		}
		before = leaders
		time.Sleep(leaderSettle)
	}
}

// leadersOf tells the leader of each group, 0 for none, and how many have one. A group
// that two claim to lead has none yet.
func leadersOf(rs [members]report, groups int) (leaders []int, led int) {
	leaders = make([]int, groups)
	claims := make([]int, groups)
	for i, r := range rs {
		for _, g := range r.Leads {
			leaders[g] = i + 1
			claims[g]++
		}
	}
	for g, n := range claims {
		if n == 1 {
			led++
		} else {
			leaders[g] = 0
		}
	}
	return leaders, led
}

// spread has the members lead the groups in turn, and says how many they do not yet.
func (t *trio) spread(leaders []int) (wrong int, err error) {
	for g, leader := range leaders {
		if to := g%members + 1; leader != to {
			wrong++
			if _, err := t.all[leader-1].ask(fmt.Sprintf("%s %d %d", cmdGive, g, to)); err != nil {
				return wrong, err
			}
		}
	}
	return wrong, nil
}

// equal says whether all members that run have applied as many commands.
func (t *trio) equal(rs [members]report) bool {
	var first []uint64
	for i, c := range t.all {
		switch {
		case c == nil:
		case first == nil:
			first = rs[i].Applied
		case !slices.Equal(first, rs[i].Applied):
			return false
		}
	}
	return true
}

// leader is who leads group 0. It may have changed since awaitLeaders, on a machine
// that is busy.
func (t *trio) leader() (int, error) {
	for {
		rs, err := t.ask(cmdLeads)
		if err != nil {
			return 0, err
		}
		if leaders, _ := leadersOf(rs, t.spec.Groups); leaders[0] != 0 {
			return leaders[0], nil
		}
		if err := t.awaitLeaders(); err != nil {
			return 0, err
		}
	}
}

// awaitLeader waits for somebody to lead group 0, and returns 0 where nobody does in
// time.
func (t *trio) awaitLeader(limit time.Duration) (int, error) {
	for began := time.Now(); time.Since(began) < limit; time.Sleep(leaderLook) {
		rs, err := t.ask(cmdLeads)
		if err != nil {
			return 0, err
		}
		if leaders, _ := leadersOf(rs, t.spec.Groups); leaders[0] != 0 {
			return leaders[0], nil
		}
	}
	return 0, nil
}
