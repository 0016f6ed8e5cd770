package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Recovery is what an Admin may do besides, against the day when nodes are lost:
//
//	GET  /v1/admin/backup?newest=true   a backup of this node's member, as one file
//	POST /v1/admin/reset-peers          {"accept_loss": true}: PeersReset; this node goes on alone
//
// A backup is of what the member has applied by now, or, with newest, the newest snapshot
// that it has already. ?timeout= bounds the wait for its first byte. The file has its own
// checksums: a response that ends early is no whole backup.
type Recovery interface {
	// Backup is closed by who asked.
	Backup(ctx context.Context, newest bool) (Backup, error)
	ResetPeers(ctx context.Context, acceptLoss bool) (PeersReset, error)
}

// Backup is a file of so many bytes, read once.
type Backup struct {
	io.ReadCloser
	Name string
	Size int64
}

// PeersReset is what a reset has come to.
type PeersReset struct {
	Node        string   `json:"node"`
	Term        uint64   `json:"term"`
	Index       uint64   `json:"index"`        // of the configuration of this node alone
	CommitIndex uint64   `json:"commit_index"` // up to here all is kept; what others have committed above may be lost
	LastIndex   uint64   `json:"last_index"`   // what the log held between the two is committed by this
	Removed     []string `json:"removed"`      // ids that may not come back
}

// resetRequest is the body of POST /v1/admin/reset-peers.
type resetRequest struct {
	AcceptLoss bool `json:"accept_loss"`
}

func (h *handler) recovery(w http.ResponseWriter) (Recovery, bool) {
	r, ok := h.options.Admin.(Recovery)
	if !ok {
		writeError(w, http.StatusNotFound, problem{Error: "this server makes no backups and resets no peers", Outcome: outcomeNotApplied, Reason: "no_such_path"})
	}
	return r, ok
}

func (h *handler) serveResetPeers(w http.ResponseWriter, r *http.Request) {
	if rec, ok := h.recovery(w); ok {
		adminPost(w, r, func(ctx context.Context, in resetRequest) (PeersReset, error) {
			return rec.ResetPeers(ctx, in.AcceptLoss)
		})
	}
}

func (h *handler) serveBackup(w http.ResponseWriter, r *http.Request) {
	rec, ok := h.recovery(w)
	if !ok || !allow(w, r, http.MethodGet) {
		return
	}
	limit, ok := adminLimit(w, r, "newest")
	if !ok {
		return
	}
	newest := false
	if q := r.URL.Query(); q.Has("newest") {
		var err error
		if newest, err = strconv.ParseBool(q.Get("newest")); err != nil {
			badRequest(w, "bad_parameter", fmt.Sprintf("newest %.40q, expected true or false", q.Get("newest")))
			return
		}
	}
	until := http.NewResponseController(w)
	_ = until.SetWriteDeadline(time.Now().Add(limit + replyTimeout))
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	b, err := rec.Backup(ctx, newest)
	if err != nil {
		writeAdminFailure(w, r, err)
		return
	}
	defer b.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(b.Size, 10))
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", b.Name))
	w.WriteHeader(http.StatusOK)
	if _, err := io.Copy(patient{w, until}, b); err != nil {
		panic(http.ErrAbortHandler) // the connection breaks: what came must not pass for all
	}
}

// patient gives each piece its own time: a large file takes as long as it takes, as long
// as it moves.
type patient struct {
	io.Writer
	until *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.until.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.Writer.Write(b)
}
