package linearizability

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// What porcupine decides in well under a second, with a margin for the reads at the
// end of a test.
const (
	ClientsMax          = 8   // that share a key at a time
	OperationsPerKeyMax = 480 // then the key is replaced
	UnknownsPerKeyMax   = 6   // writes of unknown outcome, then too
)

// Keys hands out keys for a load, and replaces each before its history grows
// beyond what can be checked. It is safe for concurrent use.
type Keys struct {
	prefix string

	mu    sync.Mutex
	made  int
	slots []slot
}

type slot struct {
	key                  string
	operations, unknowns int
}

// NewKeys returns n keys that begin with prefix.
func NewKeys(prefix string, n int) *Keys {
	k := &Keys{prefix: prefix, slots: make([]slot, n)}
	for i := range k.slots {
		k.replace(i)
	}
	return k
}

func (k *Keys) replace(i int) {
	k.slots[i] = slot{key: fmt.Sprintf("%s%d", k.prefix, k.made)}
	k.made++
}

// Pick returns one of the keys, for one operation.
func (k *Keys) Pick(r *rand.Rand) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := r.IntN(len(k.slots))
	if k.slots[i].operations == OperationsPerKeyMax {
		k.replace(i)
	}
	k.slots[i].operations++
	return k.slots[i].key
}

// Unknown notes that the outcome of a write of key is unknown.
func (k *Keys) Unknown(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.slots {
		if s := &k.slots[i]; s.key == key {
			if s.unknowns++; s.unknowns == UnknownsPerKeyMax {
				k.replace(i)
			}
		}
	}
}
