package actors

import (
	"testing"

	"github.com/protoraft/protoraft/messages"
)

// TestFittingBoundsWireMessages: answers to another node never gather into a message
// that its link would refuse, and one answer always goes.
func TestFittingBoundsWireMessages(t *testing.T) {
	item := func(bytes int) messages.ResultItem { return messages.ResultItem{Data: make([]byte, bytes)} }
	for _, c := range []struct {
		name  string
		items []messages.ResultItem
		want  int
	}{
		{"none", nil, 0},
		{"one too large", []messages.ResultItem{item(2 << 20)}, 1},
		{"large then small", []messages.ResultItem{item(2 << 20), item(1)}, 1},
		{"halves", []messages.ResultItem{item(1 << 19), item(1 << 18), item(1 << 19)}, 2},
		{"small ones", make([]messages.ResultItem, 100), 100},
	} {
		if got := fitting(c.items); got != c.want {
			t.Errorf("%s: %d fit, expected %d", c.name, got, c.want)
		}
	}
}
