package messages_test

import (
	"strings"
	"testing"

	"github.com/protoraft/protoraft/messages"
)

func TestNamedCommand(t *testing.T) {
	for _, name := range []string{"a", "\x00", strings.Repeat("n", messages.MaxNameBytes)} {
		for _, command := range []string{"", "incr"} {
			data := messages.NamedCommand(name, []byte(command))
			n, c, ok := messages.SplitNamed(data)
			if !ok || string(n) != name || string(c) != command {
				t.Errorf("%q %q is read as %q %q, %v", name, command, n, c, ok)
			}
		}
	}
	for _, data := range []string{"", "\x00", "\x00x", "\x02a", "\x81" + strings.Repeat("n", 200)} {
		if _, _, ok := messages.SplitNamed([]byte(data)); ok {
			t.Errorf("%q is accepted", data)
		}
	}
	for _, name := range []string{"", strings.Repeat("n", messages.MaxNameBytes+1)} {
		mustPanic(t, "a name nobody can read", func() { messages.NamedCommand(name, nil) })
	}
}
