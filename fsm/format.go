package fsm

import "fmt"

// Formatted is a StateMachine whose snapshots bear a name. It is in the meta of every
// snapshot, and one of another name is refused before its bytes are read: a backup is not
// restored into another program by mistake. A name is for good: a newer version of the
// same machine, which reads what older ones wrote, keeps it.
type Formatted interface {
	// SnapshotFormat returns the name, not empty, at most 255 bytes of printable text.
	// It is asked for in any state and must always be the same.
	SnapshotFormat() string
}

// SnapshotFormatOf is the name of a machine's snapshots, empty where it has none.
func SnapshotFormatOf(m StateMachine) string {
	if f, ok := m.(Formatted); ok {
		return f.SnapshotFormat()
	}
	return ""
}

// CheckSnapshotFormat refuses a snapshot of another machine. Where either has no name,
// nothing can be told.
func CheckSnapshotFormat(snapshot, machine string) error {
	if snapshot == "" || machine == "" || snapshot == machine {
		return nil
	}
	return fmt.Errorf("the snapshot is of a machine of format %q, expected %q", snapshot, machine)
}
