package cluster

import (
	"github.com/protoraft/protoraft/logstore/journal"
	"github.com/protoraft/protoraft/logstore/level"
)

// Formats are the versions of what this build writes and speaks. It reads older
// ones, and refuses newer ones by name.
type Formats struct {
	DataDir  int `json:"data_dir"`
	Log      int `json:"log"`     // of goleveldb
	Journal  int `json:"journal"` // of the journal
	Protocol int `json:"protocol"`
}

// CurrentFormats tells the versions of this build.
func CurrentFormats() Formats {
	return Formats{DataDir: dataDirFormat, Log: level.FormatVersion, Journal: journal.FormatVersion, Protocol: protocolVersion}
}
