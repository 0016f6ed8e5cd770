package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
)

// onceHeader makes a write harmless to repeat: "id/sequence", or an id alone, which is
// for one request and has sequence 1. The same id and sequence are applied once,
// through whichever node, and answered alike, whatever the repeat asks for.
const onceHeader = "Idempotency-Key"

// propose has a command applied, once if the request says so. Unless ok, it has
// answered the request.
func (h *handler) propose(w http.ResponseWriter, r *http.Request, command []byte) (kv.Reply, bool) {
	key := r.Header.Get(onceHeader)
	if key == "" {
		return settle(w, h.backend.Propose(command))
	}
	id, sequence, err := parseOnce(key)
	if err != nil {
		badRequest(w, "bad_idempotency_key", err.Error())
		return kv.Reply{}, false
	}
	return settle(w, h.backend.ProposeOnce(id, sequence, command))
}

// parseOnce reads the header, quoted or not.
func parseOnce(key string) (id string, sequence uint64, err error) {
	if n := len(key); n >= 2 && key[0] == '"' && key[n-1] == '"' {
		key = key[1 : n-1]
	}
	id, sequence = key, 1
	if at := strings.LastIndexByte(key, '/'); at >= 0 {
		id = key[:at]
		if sequence, err = strconv.ParseUint(key[at+1:], 10, 64); err == nil && sequence == 0 {
			err = errors.New("0")
		}
		if err != nil {
			return "", 0, fmt.Errorf("%s %q: the part behind the last / is not an integer from 1", onceHeader, key)
		}
	}
	if id == "" || len(id) > cluster.MaxSessionIDBytes {
		return "", 0, fmt.Errorf("%s %q: an id of %d bytes, expected 1 to %d", onceHeader, key, len(id), cluster.MaxSessionIDBytes)
	}
	return id, sequence, nil
}
