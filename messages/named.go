package messages

// MaxNameBytes is the longest name of a session.
const MaxNameBytes = 128

// The data of a NAMED_COMMAND: a byte with the length of the name, the name, and the
// command. The name itself is the key, not a hash of it: two names are never one
// session.

// NamedCommand is the data of a NAMED_COMMAND. The name has 1 to MaxNameBytes bytes;
// it panics otherwise, since nobody could read what it made.
func NamedCommand(name string, command []byte) []byte {
	if len(name) == 0 || len(name) > MaxNameBytes {
		panic("messages: session name of no or too many bytes")
	}
	data := make([]byte, 0, 1+len(name)+len(command))
	return append(append(append(data, byte(len(name))), name...), command...)
}

// SplitNamed reads the data of a NAMED_COMMAND; both parts alias it. ok is false for
// data that NamedCommand cannot have made.
func SplitNamed(data []byte) (name, command []byte, ok bool) {
	if len(data) == 0 {
		return nil, nil, false
	}
	n := int(data[0])
	if n == 0 || n > MaxNameBytes || len(data) < 1+n {
		return nil, nil, false
	}
	return data[1 : 1+n : 1+n], data[1+n:], true
}
