package journal

import (
	"fmt"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/logstore/vfs"
)

// Options of a store. The zero value is a good one.
type Options struct {
	// Logger hears what the engine does; nil for silence.
	Logger hclog.Logger

	// SegmentBytes is how large a segment's file grows. A single Write that needs more
	// gets it. Default 16 MiB, at most 1 GiB.
	SegmentBytes int

	// PageBytes is what a Write is padded to, so that no later one touches the same page
	// of the disk: a multiple of 512. Below vfs.DirectBytes the page cache is not
	// bypassed. Default vfs.DirectBytes.
	PageBytes int

	// AheadBytes is how much of a new file is filled with zeros at a time, at least. Default
	// 256 KiB.
	AheadBytes int

	// IndexBytes is how much there may be to say of a segment's contents, in its
	// successor, before that is begun. It bounds the longest write. Default 1 MiB.
	IndexBytes int

	// SlackBytes is how much more than twice the live bytes the segments may hold before
	// what is live in the oldest one is written again, and how much more of the disk the
	// files may keep. Default 64 MiB.
	SlackBytes int

	// ReserveBytes is how much of the disk the store keeps for when it is full. Default
	// 16 MiB.
	ReserveBytes int

	// Buffered keeps to the page cache and fdatasync where direct writes are possible.
	Buffered bool
}

const segmentBytesMax = 1 << 30

func (o *Options) fill() error {
	for _, f := range []struct {
		name  string
		value *int
		unset int
		max   int
	}{
		{"SegmentBytes", &o.SegmentBytes, 16 << 20, segmentBytesMax},
		{"PageBytes", &o.PageBytes, vfs.DirectBytes, 1 << 20},
		{"AheadBytes", &o.AheadBytes, 256 << 10, 64 << 20},
		{"IndexBytes", &o.IndexBytes, 1 << 20, 64 << 20},
		{"SlackBytes", &o.SlackBytes, 64 << 20, 1 << 50},
		{"ReserveBytes", &o.ReserveBytes, 16 << 20, 1 << 40},
	} {
		switch {
		case *f.value == 0:
			*f.value = f.unset
		case *f.value < 0 || *f.value > f.max:
			return fmt.Errorf("journal: %s is %d, expected 1 to %d bytes", f.name, *f.value, f.max)
		}
	}
	if o.PageBytes%vfs.SectorBytes != 0 {
		return fmt.Errorf("journal: PageBytes is %d, expected a multiple of %d", o.PageBytes, vfs.SectorBytes)
	}
	// Zeros end where a page does.
	o.AheadBytes = (o.AheadBytes + o.PageBytes - 1) / o.PageBytes * o.PageBytes
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

// direct says whether files may be written past the page cache.
func (o *Options) direct() bool { return !o.Buffered && o.PageBytes%vfs.DirectBytes == 0 }
