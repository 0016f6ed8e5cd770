package web

import (
	"errors"
	"net/http"

	"github.com/protoraft/protoraft/cluster"
)

const (
	outcomeApplied    = "applied"
	outcomeNotApplied = "not_applied"
	outcomeUnknown    = "unknown"
)

// problem is the body of every error.
type problem struct {
	Error   string `json:"error"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
	Leader  string `json:"leader,omitempty"`
}

func writeError(w http.ResponseWriter, code int, p problem) { writeJSON(w, code, p) }

// reasonNames are stable: clients branch on them.
var reasonNames = []struct {
	reason error
	name   string
	code   int // where the outcome is not applied
}{
	{cluster.ErrNoLeader, "no_leader", http.StatusServiceUnavailable},
	{cluster.ErrNotLeader, "not_leader", http.StatusServiceUnavailable},
	{cluster.ErrBusy, "busy", http.StatusServiceUnavailable},
	{cluster.ErrTooLarge, "too_large", http.StatusRequestEntityTooLarge},
	{cluster.ErrLeadershipLost, "leadership_lost", http.StatusServiceUnavailable},
	{cluster.ErrTimeout, "timeout", http.StatusServiceUnavailable},
	{cluster.ErrStopped, "stopped", http.StatusServiceUnavailable},
	{cluster.ErrStorageFailed, "storage_failed", http.StatusServiceUnavailable},
	{cluster.ErrNoGroup, "no_group", http.StatusServiceUnavailable},
	{cluster.ErrRefused, "refused", http.StatusBadRequest},
	{cluster.ErrSessionExpired, "session_expired", http.StatusConflict},
	{cluster.ErrMembersKept, "members_kept", http.StatusConflict},
	{cluster.ErrDiskFull, "disk_full", http.StatusInsufficientStorage},
}

// writeFailure answers an operation that failed: 504 when its outcome is unknown.
func writeFailure(w http.ResponseWriter, err error) {
	p := problem{Error: err.Error(), Outcome: outcomeUnknown, Reason: "internal"}
	code := http.StatusGatewayTimeout
	var e *cluster.Error
	if errors.As(err, &e) {
		p.Leader = e.Leader
		if e.Outcome == cluster.NotApplied { // for a reason not listed, too
			p.Outcome, code = outcomeNotApplied, http.StatusServiceUnavailable
		}
		for _, n := range reasonNames {
			if !errors.Is(e.Reason, n.reason) {
				continue
			}
			p.Reason = n.name
			if e.Outcome == cluster.NotApplied {
				code = n.code
			}
		}
		if e.Outcome == cluster.NotApplied && (errors.Is(e.Reason, cluster.ErrBusy) || errors.Is(e.Reason, cluster.ErrDiskFull)) {
			w.Header().Set("Retry-After", "1")
		}
	}
	writeError(w, code, p)
}
