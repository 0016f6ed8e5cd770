package cluster

import (
	"github.com/protoraft/protoraft/logstore/engine"
	"github.com/protoraft/protoraft/logstore/journal"
	"github.com/protoraft/protoraft/logstore/level"
)

// Formats of a data directory. It grows whenever an older version must not open the
// directory; each says the lowest that does for what is in it, so that an older version
// still opens what it knows. A log kept by the journal is in one since format 2: a version
// that does not know it would begin an empty log beside it, and vote again.
const (
	dataDirFormat  = 2 // the newest
	goleveldbInDir = 1
	journalInDir   = 2
)

// formatWith is the format of a directory whose log is kept by an engine.
func formatWith(keptBy string) int {
	if keptBy == engine.Journal {
		return journalInDir
	}
	return goleveldbInDir
}

// Formats are the versions of what this build writes and speaks. It reads older
// ones, and refuses newer ones by name.
type Formats struct {
	DataDir  int `json:"data_dir"` // with the journal; 1 with goleveldb
	Log      int `json:"log"`      // of goleveldb
	Journal  int `json:"journal"`  // of the journal
	Protocol int `json:"protocol"`
}

// CurrentFormats tells the versions of this build.
func CurrentFormats() Formats {
	return Formats{DataDir: dataDirFormat, Log: level.FormatVersion, Journal: journal.FormatVersion, Protocol: protocolVersion}
}
