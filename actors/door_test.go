package actors

import (
	"math"
	"testing"

	"github.com/protoraft/protoraft/messages"
)

// What the door says of a write that might come is what it says when it comes.
func TestDoorSaysWhatItWouldSay(t *testing.T) {
	for name, k := range map[string]struct {
		before      func(d *admission)
		leads, shut bool
	}{
		"of no leader":              {func(*admission) {}, false, false},
		"with room":                 {func(d *admission) { d.open(2, 1<<20) }, true, false},
		"without room":              {func(d *admission) { d.open(1, 1<<20) }, true, true},
		"with none at all":          {func(d *admission) { d.open(0, 0) }, true, true},
		"without room for bytes":    {func(d *admission) { d.open(2, 1) }, true, true},
		"full of reads":             {func(d *admission) { d.open(9, 1<<20); d.count(load{operations: 3}, 1) }, true, true},
		"full of bytes, no leader":  {func(d *admission) { d.count(load{bytes: 1 << 20}, 1) }, false, true},
		"of who led and does so no": {func(d *admission) { d.open(0, 0); d.open(math.MaxInt, math.MaxInt) }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newAdmission(4, 1<<20)
			if _, refused := d.admit(commandOf(1, "1")); refused != nil {
				t.Fatal("the first was refused")
			}
			k.before(d)
			door := Door{d}
			if door.Leads() != k.leads || door.Shut() != k.shut {
				t.Errorf("leads %v, shut %v, expected %v, %v", door.Leads(), door.Shut(), k.leads, k.shut)
			}
			if _, refused := d.admit(commandOf(2, "2")); (len(refused) > 0) != k.shut {
				t.Errorf("refused %v, and the door said shut %v", refused, k.shut)
			}
		})
	}
}

// What has come in is taken: the door knows how many bytes its leader has queued.
func TestDoorLeavesRoomForWhatIsQueued(t *testing.T) {
	m := newMember(t, 3)
	m.opts.Limits.QueuedBytes = 1000
	m.begin().elect()
	m.accept("n2")
	m.propose("0") // at the disk
	m.propose(string(make([]byte, 900)))
	m.forget()
	m.post(m.client, m.pid, commandOf(11, "1"), commandOf(12, "2"))
	expectResults(t, m.client, "12 NOT_APPLIED BUSY")
	m.settle()
	expectNone[*messages.Results](t, m.client, "refused though it was let in")
}

// A member that leads says so by its door, and one that follows does not.
func TestDoorOfALeader(t *testing.T) {
	m := newMember(t, 3)
	props, door := MemberProps(m.rt, m.links(), m.opts)
	m.pid = m.spawn(props, "group-1-door")
	m.tell(m.pid, &MemberAdmitted{})
	for m.status().Role == "starting" {
		m.sync()
		m.greeted()
	}
	m.forget()
	if door.Leads() {
		t.Error("leads before it was elected")
	}
	m.elect()
	if !door.Leads() || door.Shut() {
		t.Errorf("leads %v, shut %v, expected an open door of a leader", door.Leads(), door.Shut())
	}
	m.append(3, 1, 1, 0) // of another leader
	m.expectRole("follower", 3)
	if door.Leads() {
		t.Error("leads when another does")
	}
}
