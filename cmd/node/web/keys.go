package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/kv"
)

// ready asks for a linearizable read: this node reaches a leader, which reaches a
// majority and has applied its log.
func (h *handler) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.options.ReadyTimeout)
	defer cancel()
	if err := h.probe(ctx); err != nil {
		p := problem{Error: "not ready: " + err.Error(), Outcome: outcomeNotApplied, Reason: "not_ready"}
		var e *cluster.Error
		if errors.As(err, &e) {
			p.Leader = e.Leader
		}
		writeError(w, http.StatusServiceUnavailable, p)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (h *handler) probe(ctx context.Context) error {
	late := fmt.Errorf("no linearizable read within %v", h.options.ReadyTimeout)
	select {
	case h.probes <- struct{}{}:
	case <-ctx.Done():
		return late
	}
	done := make(chan error, 1)
	op := h.backend.Query(kv.DBSize(), cluster.Linearizable, false)
	go func() { // Wait has the client's own timeout, which may be longer than a probe's
		_, err := op.Wait()
		<-h.probes
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return late
	}
}

func (h *handler) serveKey(w http.ResponseWriter, r *http.Request, escaped string) {
	if !allow(w, r, http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete) {
		return
	}
	key, ok := readKey(w, keyPrefix, escaped)
	if !ok {
		return
	}
	switch r.Method {
	case http.MethodPut:
		h.put(w, r, key)
	case http.MethodDelete:
		h.delete(w, r, key)
	default:
		h.read(w, r, key)
	}
}

func readKey(w http.ResponseWriter, prefix, escaped string) (key []byte, ok bool) {
	text, err := url.PathUnescape(escaped)
	switch {
	case err != nil || text == "":
		badRequest(w, "bad_key", "the key after "+prefix+" is empty or wrongly percent-encoded")
		return nil, false
	case len(text) > kv.MaxKeyBytes:
		tooLarge(w, fmt.Sprintf("key is too large: %d bytes, at most %d", len(text), kv.MaxKeyBytes))
		return nil, false
	}
	return []byte(text), true
}

// ask is a query whose level is current. Where the answer depends on the time of the log, it is
// asked again by way of an entry.
func (h *handler) ask(query []byte, consistency cluster.Consistency) Pending {
	return &question{h.backend, query, h.backend.Query(query, consistency, false)}
}

type question struct {
	backend Backend
	query   []byte
	asked   Pending
}

func (q *question) Wait() ([]byte, error) {
	reply, err := q.asked.Wait()
	if err == nil && kv.NeedsLog(reply) {
		q.asked = q.backend.Propose(q.query)
		return q.asked.Wait()
	}
	return reply, err
}

func (q *question) Index() uint64 {
	if at, ok := q.asked.(interface{ Index() uint64 }); ok {
		return at.Index()
	}
	return 0
}

func (h *handler) read(w http.ResponseWriter, r *http.Request, key []byte) {
	consistency, err := readConsistency(r.URL.Query())
	if err != nil {
		badRequest(w, "bad_consistency", err.Error())
		return
	}
	versioned := r.URL.Query().Get("version") == "true"
	if versioned && !consistency.Current() {
		badRequest(w, "bad_consistency", "a version is only told with consistency linearizable, lease, member or log")
		return
	}
	query := kv.Get(key)
	if versioned {
		query = kv.GetVersioned(key)
	}
	var op Pending
	if consistency.Current() {
		op = h.ask(kv.AskedAt(query, time.Now()), consistency)
	} else { // by no clock: it may be past its deadline, as it may be overwritten
		op = h.backend.Query(query, consistency, false)
	}
	reply, ok := settle(w, op)
	if ok && versioned && len(reply.Items) == 2 {
		if version := reply.Items[0].Int; version != 0 {
			w.Header().Set("ETag", etag(version))
		}
		reply = reply.Items[1]
	}
	switch {
	case !ok:
	case reply.Kind == kv.Nil:
		writeError(w, http.StatusNotFound, problem{Error: "no such key", Outcome: outcomeApplied, Reason: "no_such_key"})
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(reply.Bytes)))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(reply.Bytes)
	}
}

// readConsistency reads the level of a read. An index or an age needs no name.
func readConsistency(q url.Values) (cluster.Consistency, error) {
	name, index, age := q.Get("consistency"), q.Get("min_index"), q.Get("max_age")
	switch {
	case q.Has("min_index") && q.Has("max_age"):
		return cluster.Consistency{}, errors.New("min_index and max_age together, expected one of them")
	case q.Has("min_index") && (name == "" || name == "at-least"):
		return cluster.ParseConsistency("at-least", index)
	case q.Has("max_age") && (name == "" || name == "within"):
		return cluster.ParseConsistency("within", age)
	case q.Has("min_index") || q.Has("max_age"):
		return cluster.Consistency{}, fmt.Errorf("consistency %.40q with min_index or max_age, expected those without it", name)
	case name == "at-least" || name == "within":
		return cluster.Consistency{}, fmt.Errorf("consistency %s without what it needs, expected min_index=12 or max_age=2s", name)
	case name == "":
		return cluster.Linearizable, nil
	}
	return cluster.ParseConsistency(name, "")
}

func (h *handler) put(w http.ResponseWriter, r *http.Request, key []byte) {
	if r.ContentLength > kv.MaxValueBytes {
		w.Header().Set("Connection", "close") // rather than read all of it
		tooLarge(w, fmt.Sprintf("value is too large: %d bytes, at most %d", r.ContentLength, kv.MaxValueBytes))
		return
	}
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, kv.MaxValueBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		tooLarge(w, fmt.Sprintf("value is too large: more than %d bytes", kv.MaxValueBytes))
	case err != nil:
		badRequest(w, "bad_body", "the body could not be read: "+err.Error())
	default:
		h.store(w, r, key, value)
	}
}

// etag shows a version. Versions are indexes, so a PUT's X-Raft-Index is one, too.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// store is a PUT under its conditions: If-Match: "version", or If-None-Match: *; and
// for so long as ttl says.
func (h *handler) store(w http.ResponseWriter, r *http.Request, key, value []byte) {
	life := kv.Forever
	if text := r.URL.Query().Get("ttl"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Millisecond {
			badRequest(w, "bad_ttl", fmt.Sprintf("ttl %q, expected a duration of at least 1ms, such as 30s", text))
			return
		}
		life = kv.For(d)
	}
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	command := kv.SetWith(key, value, 0, life)
	switch {
	case match == "" && none == "":
	case match != "" && none == "" && life == kv.Forever:
		version, err := strconv.ParseUint(strings.Trim(match, `"`), 10, 63)
		if err != nil || version == 0 {
			badRequest(w, "bad_condition", fmt.Sprintf("If-Match: %s, expected the version of an ETag", match))
			return
		}
		command = kv.SetIfVersion(key, version, value)
	case none == "*" && match == "":
		command = kv.SetWith(key, value, kv.SetNX, life)
	default:
		badRequest(w, "bad_condition", `expected If-Match: "version" without a ttl, or If-None-Match: *, or neither`)
		return
	}
	reply, ok := h.propose(w, r, command)
	switch {
	case !ok:
	case reply.Kind == kv.Nil:
		writeError(w, http.StatusPreconditionFailed, problem{Error: "the key has changed, or there is one", Outcome: outcomeApplied, Reason: "changed"})
	default:
		writeJSON(w, http.StatusOK, map[string]any{"outcome": outcomeApplied})
	}
}

func (h *handler) next(w http.ResponseWriter, r *http.Request, key []byte, count int64) {
	if reply, ok := h.propose(w, r, kv.Next(key, count)); ok {
		writeJSON(w, http.StatusOK, map[string]any{"outcome": outcomeApplied, "first": reply.Int, "last": reply.Int + count - 1})
	}
}

func (h *handler) delete(w http.ResponseWriter, r *http.Request, key []byte) {
	if reply, ok := h.propose(w, r, kv.Del(key)); ok {
		writeJSON(w, http.StatusOK, map[string]any{"outcome": outcomeApplied, "deleted": reply.Int == 1})
	}
}

// settle waits for an operation. Unless ok, it has answered the request.
func settle(w http.ResponseWriter, op Pending) (kv.Reply, bool) {
	raw, err := op.Wait()
	if err != nil {
		writeFailure(w, err)
		return kv.Reply{}, false
	}
	if at, ok := op.(interface{ Index() uint64 }); ok {
		w.Header().Set("X-Raft-Index", strconv.FormatUint(at.Index(), 10))
	}
	reply, err := kv.ParseReply(raw)
	if err != nil {
		writeError(w, http.StatusInternalServerError, problem{Error: err.Error(), Outcome: outcomeApplied, Reason: "internal"})
		return kv.Reply{}, false
	}
	if err := reply.Err(); err != nil { // the machine refused it
		writeError(w, http.StatusBadRequest, problem{Error: err.Error(), Outcome: outcomeNotApplied, Reason: "refused"})
		return kv.Reply{}, false
	}
	return reply, true
}

func badRequest(w http.ResponseWriter, reason, text string) {
	writeError(w, http.StatusBadRequest, problem{Error: text, Outcome: outcomeNotApplied, Reason: reason})
}

func tooLarge(w http.ResponseWriter, text string) {
	writeError(w, http.StatusRequestEntityTooLarge, problem{Error: text, Outcome: outcomeNotApplied, Reason: "too_large"})
}
