package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

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
	op := h.backend.Query(kv.DBSize(), false, false)
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
	text, err := url.PathUnescape(escaped)
	if err != nil || text == "" {
		badRequest(w, "bad_key", "the key after "+keyPrefix+" is empty or wrongly percent-encoded")
		return
	}
	if len(text) > kv.MaxKeyBytes {
		tooLarge(w, fmt.Sprintf("key is too large: %d bytes, at most %d", len(text), kv.MaxKeyBytes))
		return
	}
	key := []byte(text)
	switch r.Method {
	case http.MethodPut:
		h.put(w, r, key)
	case http.MethodDelete:
		h.delete(w, r, key)
	default:
		h.read(w, r, key)
	}
}

func (h *handler) read(w http.ResponseWriter, r *http.Request, key []byte) {
	stale := false
	switch level := r.URL.Query().Get("consistency"); level {
	case "", "linearizable":
	case "stale":
		stale = true
	default:
		badRequest(w, "bad_consistency", fmt.Sprintf("consistency %q is unknown; expected linearizable or stale", level))
		return
	}
	reply, ok := settle(w, h.backend.Query(kv.Get(key), stale, false))
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
		if _, ok := h.propose(w, r, kv.Set(key, value, 0)); ok {
			writeJSON(w, http.StatusOK, map[string]any{"outcome": outcomeApplied})
		}
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
