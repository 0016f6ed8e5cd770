package actors

// Door is what those in a member's own process may know of its door before they bring
// anything: to have a flood refused there costs a message, its answer and whoever waits
// for that, and to look first costs next to nothing. What it says is as of now; the door
// itself decides.
type Door struct{ admission *admission }

// Leads says whether the member leads, and so whether the door speaks for the group: other
// members pass on what they are given.
func (d *Door) Leads() bool { return d.admission.room.Load() != unlimited }

// Shut says whether a write that came now would be answered BUSY at once.
func (d *Door) Shut() bool {
	a := d.admission
	return a.full() || a.noRoom()
}
