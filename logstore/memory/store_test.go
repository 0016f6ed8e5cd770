package memory_test

import (
	"errors"
	"testing"

	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/logstore/memory"
	"github.com/protoraft/protoraft/logstore/storetest"
)

func TestContract(t *testing.T) {
	storetest.Contract(t, func(*testing.T) logstore.Store { return memory.New() })
}

func TestFailNext(t *testing.T) {
	for _, kept := range []bool{false, true} {
		s := memory.New()
		broken := errors.New("disk on fire")
		s.FailNext(broken, kept)
		u := []logstore.Update{{Group: 1, HardState: &logstore.HardState{Term: 3}}}
		if err := s.Write(u); !errors.Is(err, broken) {
			t.Fatalf("write: %v, expected %v", err, broken)
		}
		if err := s.Write(u); !errors.Is(err, logstore.ErrFailed) {
			t.Fatalf("write after a failure: %v, expected %v", err, logstore.ErrFailed)
		}
		again := s.Restart()
		st, err := again.Load(1)
		if err != nil || st.Exists() != kept {
			t.Fatalf("kept %t: after a restart %+v (%v)", kept, st, err)
		}
		if err := again.Write(u); err != nil {
			t.Fatalf("write after a restart: %v", err)
		}
	}
}
