package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/machine"
	"github.com/protoraft/protoraft/fsm/lock"
)

const lockBodyMax = 4 << 10

// lockRequest is the body of POST and PUT.
type lockRequest struct {
	Owner string `json:"owner"`
	Token uint64 `json:"token"`
	TTL   int64  `json:"ttl_ms"`
	Wait  int64  `json:"wait_ms"`
}

// lockStatus is the body of an answered GET.
type lockStatus struct {
	Owner   string `json:"owner,omitempty"`
	Token   uint64 `json:"token"`
	Left    int64  `json:"left_ms"`
	Waiting int    `json:"waiting"`
}

func (h *handler) serveLock(w http.ResponseWriter, r *http.Request, escaped string) {
	if !allow(w, r, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete) {
		return
	}
	name, err := url.PathUnescape(escaped)
	if err != nil || name == "" {
		badRequest(w, "bad_name", "the name after "+lockPrefix+" is empty or wrongly percent-encoded")
		return
	}
	switch r.Method {
	case http.MethodPost:
		if req, ok := readLockRequest(w, r); ok {
			h.acquire(w, r, lock.Acquire(name, req.Owner, milliseconds(req.TTL), milliseconds(req.Wait)))
		}
	case http.MethodPut:
		if req, ok := readLockRequest(w, r); ok {
			h.withToken(w, r, lock.Renew(name, req.Token, milliseconds(req.TTL)))
		}
	case http.MethodDelete:
		token, err := strconv.ParseUint(r.URL.Query().Get("token"), 10, 63)
		if err != nil {
			badRequest(w, "bad_token", "token in the query is missing or no number: expected the one the lock was granted with")
			return
		}
		h.withToken(w, r, lock.Release(name, token))
	default:
		h.inspect(w, name)
	}
}

func readLockRequest(w http.ResponseWriter, r *http.Request) (req lockRequest, ok bool) {
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, lockBodyMax))
	body.DisallowUnknownFields()
	err := body.Decode(&req)
	if _, more := body.Token(); err == nil && !errors.Is(more, io.EOF) {
		err = errors.New("something follows the object")
	}
	if err != nil {
		badRequest(w, "bad_body", "the body is no JSON object of owner or token, ttl_ms and wait_ms: "+err.Error())
	}
	return req, err == nil
}

// milliseconds clips what no lock takes, so that the machine refuses it by its number.
func milliseconds(n int64) time.Duration {
	limit := 2 * lock.MaxTTL.Milliseconds()
	return time.Duration(max(min(n, limit), -limit)) * time.Millisecond
}

func (h *handler) acquire(w http.ResponseWriter, r *http.Request, command []byte) {
	reply, ok := h.propose(w, r, machine.Lock(command))
	switch {
	case !ok:
	case reply.Int == 0:
		writeError(w, http.StatusConflict, problem{Error: "somebody else holds the lock or comes first", Outcome: outcomeApplied, Reason: "held"})
	default:
		writeJSON(w, http.StatusOK, map[string]any{"outcome": outcomeApplied, "token": reply.Int})
	}
}

// withToken is for those who hold a lock.
func (h *handler) withToken(w http.ResponseWriter, r *http.Request, command []byte) {
	reply, ok := h.propose(w, r, machine.Lock(command))
	switch {
	case !ok:
	case reply.Int == 0:
		writeError(w, http.StatusConflict, problem{Error: "the lock is not, or no longer, held under this token", Outcome: outcomeApplied, Reason: "not_held"})
	default:
		writeJSON(w, http.StatusOK, map[string]any{"outcome": outcomeApplied})
	}
}

func (h *handler) inspect(w http.ResponseWriter, name string) {
	reply, ok := settle(w, h.ask(machine.Lock(lock.Inspect(name, time.Now())), cluster.Linearizable))
	if !ok {
		return
	}
	s, err := lock.ParseStatus(reply.Encode())
	switch {
	case err != nil:
		writeError(w, http.StatusInternalServerError, problem{Error: err.Error(), Outcome: outcomeApplied, Reason: "internal"})
	case s == lock.Status{}:
		writeError(w, http.StatusNotFound, problem{Error: "nobody holds this lock or waits for it", Outcome: outcomeApplied, Reason: "no_such_lock"})
	default:
		writeJSON(w, http.StatusOK, lockStatus{s.Owner, s.Token, s.Left.Milliseconds(), s.Waiting})
	}
}

// serveIDs hands out ids.
func (h *handler) serveIDs(w http.ResponseWriter, r *http.Request, escaped string) {
	if !allow(w, r, http.MethodPost) {
		return
	}
	key, ok := readKey(w, idsPrefix, escaped)
	if !ok {
		return
	}
	count := int64(1)
	if text := r.URL.Query().Get("count"); text != "" {
		var err error
		if count, err = strconv.ParseInt(text, 10, 64); err != nil || count < 1 {
			badRequest(w, "bad_count", fmt.Sprintf("count %q, expected a number of at least 1", text))
			return
		}
	}
	h.next(w, r, key, count)
}
