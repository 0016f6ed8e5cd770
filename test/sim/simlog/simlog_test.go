package simlog_test

import (
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/storetest"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/test/sim/simlog"
)

func TestStore(t *testing.T) {
	storetest.Run(t, open)
}

func TestFullDisk(t *testing.T) { storetest.Full(t, open) }

func open(disk vfs.FS, dir string) (logstore.Store, error) { return simlog.Open(disk, dir) }
