// Package web serves a node over HTTP with JSON: probes, status, and the keys and
// locks of a replicated machine.
//
//	GET    /livez         200 while the process answers; never depends on others
//	GET    /readyz        200 when a linearizable read is answered in time, else 503
//	GET    /v1/status     Status
//	GET    /v1/kv/{key}   the value's bytes, as fresh as is asked for
//	                      below; ?version=true: with its version as ETag
//	PUT    /v1/kv/{key}   stores the body's bytes; ?ttl=30s: for so long;
//	                      If-Match: "version", If-None-Match: *: else 412
//	DELETE /v1/kv/{key}   removes the key
//	POST   /v1/ids/{key}  hands out an id, or ?count=10: {"first": 1, "last": 10}
//	GET    /v1/lock/{name}  who holds a lock: owner, token, left_ms, waiting
//	POST   /v1/lock/{name}  {"owner": "me", "ttl_ms": 5000, "wait_ms": 0}: acquires
//	                        it: {"token": 12}; else 409, with wait_ms in the queue
//	PUT    /v1/lock/{name}  {"token": 12, "ttl_ms": 5000}: renews it, else 409
//	DELETE /v1/lock/{name}?token=12  releases it, else 409
//	/v1/admin/…  for operators on the node's own machine: see Admin
//
// A key is all that follows /v1/kv/, percent-decoded; it may contain slashes.
//
// A read is linearizable, or of another level named by ?consistency=: lease, member,
// log or stale; or answered by this node's member once it has applied an index
// (?min_index=12), or as of no longer ago than ?max_age=2s. X-Raft-Index of an answer
// is the index it was applied or read at: a read with that as its min_index sees what
// it was an answer to, on whatever node.
//
// Errors are JSON with what went wrong (error), what is known of the operation
// (outcome: applied, not_applied, unknown), a reason to branch on, and the leader
// where known. Only not_applied is safe to repeat without looking.
package web

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/protoraft/protoraft/cluster"
)

// Backend is where commands go: a cluster client, for a machine of package machine.
// Neither method blocks.
type Backend interface {
	Propose(command []byte) Pending
	// ProposeOnce applies a command at most once for each id and sequence, and answers
	// alike each time. The id is 1 to cluster.MaxSessionIDBytes long, the sequence
	// above 0.
	ProposeOnce(id string, sequence uint64, command []byte) Pending
	// Query asks a query. afterWrites is for pipelines; requests over HTTP do not
	// use it.
	Query(query []byte, consistency cluster.Consistency, afterWrites bool) Pending
}

// Pending is an operation under way. Wait is called once and returns the
// machine's reply, or a *cluster.Error. It may also have a method Index() uint64,
// which is called after Wait and tells the index the operation was applied or
// read at. (An alias, so that one Backend serves every front end.)
type Pending = interface {
	Wait() ([]byte, error)
}

// StatusSource tells what /v1/status shows. It must not need a quorum.
type StatusSource interface {
	Status(ctx context.Context) (Status, error)
}

// Status is this node.
type Status struct {
	Node    string        `json:"node"`
	Cluster string        `json:"cluster,omitempty"`
	Version string        `json:"version"`
	Groups  []GroupStatus `json:"groups"`
	Links   []LinkStatus  `json:"links,omitempty"` // to the nodes that something was sent to
}

// LinkStatus is a node's direct link to another. What does not go by it goes by the
// remote.
type LinkStatus struct {
	Node    string `json:"node,omitempty"` // empty when it is not listed any more
	Address string `json:"address"`
	Up      bool   `json:"up"`
	Why     string `json:"why,omitempty"` // it is not up
	Opened  uint64 `json:"opened"`        // how often
	Sent    uint64 `json:"sent"`          // messages that went by it, or were to
	Dropped uint64 `json:"dropped"`       // because its queue was full, or they were too large
}

// GroupStatus is this node's member of one group.
type GroupStatus struct {
	Group         uint64       `json:"group"`
	Role          string       `json:"role"`
	Term          uint64       `json:"term"`
	Leader        string       `json:"leader"` // empty while unknown
	LeaderAddress string       `json:"leader_address,omitempty"`
	FirstIndex    uint64       `json:"first_index"`
	LastIndex     uint64       `json:"last_index"`
	DurableIndex  uint64       `json:"durable_index"`
	CommitIndex   uint64       `json:"commit_index"`
	AppliedIndex  uint64       `json:"applied_index"`
	SnapshotIndex uint64       `json:"snapshot_index"`       // of the newest durable one, 0 for none
	Failure       string       `json:"failure,omitempty"`    // why the member stopped
	Recovering    string       `json:"recovering,omitempty"` // what memory the member has lost, and what is done about it
	Awaits        []string     `json:"awaits,omitempty"`     // who has not answered a member that starts and cannot begin without
	DiskFull      bool         `json:"disk_full,omitempty"`
	Asleep        bool         `json:"asleep,omitempty"` // nothing happens in it; who needs it wakes it
	Members       []string     `json:"members,omitempty"`
	Peers         []PeerStatus `json:"peers,omitempty"` // on the leader
}

// PeerStatus is what a leader knows of another member.
type PeerStatus struct {
	Node       string `json:"node"`
	State      string `json:"state"`
	MatchIndex uint64 `json:"match_index"`
	NextIndex  uint64 `json:"next_index"`
	Inflight   uint64 `json:"inflight"`
	Active     bool   `json:"active"`
	DiskFull   bool   `json:"disk_full,omitempty"`

	// In state snapshot: how many bytes of how many the node has.
	SnapshotSent uint64 `json:"snapshot_sent,omitempty"`
	SnapshotSize uint64 `json:"snapshot_size,omitempty"`

	// Where its state machine was last seen to equal the leader's, and first to differ.
	ComparedIndex uint64 `json:"compared_index,omitempty"`
	DivergedIndex uint64 `json:"diverged_index,omitempty"`
}

// Options tune the handler. The zero value is ready for use.
type Options struct {
	ReadyTimeout  time.Duration // how long /readyz waits for its read; 0: 1 s
	StatusTimeout time.Duration // how long /v1/status waits; 0: 2 s
	Admin         Admin         // nil: /v1/admin is not served
}

// Limits of a server made by NewServer. A header line holds the longest key, every
// byte percent-encoded.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 30 * time.Second
	replyTimeout   = 60 * time.Second
	idleTimeout    = 2 * time.Minute
	headerBytesMax = 256 << 10
)

const (
	keyPrefix  = "/v1/kv/"
	idsPrefix  = "/v1/ids/"
	lockPrefix = "/v1/lock/"
)

type handler struct {
	backend Backend
	status  StatusSource
	options Options
	probes  chan struct{} // holds a token per probe under way
}

// probesMax bounds the reads /readyz has under way when none is answered.
const probesMax = 4

// New returns the handler. Mounted in a mux of your own, give it whole paths: a
// mux that cleans paths changes keys with empty or dotted segments.
func New(backend Backend, status StatusSource, options Options) http.Handler {
	if options.ReadyTimeout == 0 {
		options.ReadyTimeout = time.Second
	}
	if options.StatusTimeout == 0 {
		options.StatusTimeout = 2 * time.Second
	}
	return &handler{backend: backend, status: status, options: options, probes: make(chan struct{}, probesMax)}
}

// NewServer returns an http.Server for h with every timeout and limit set, so that
// slow or endless clients hold no resources. Call its Serve and Shutdown.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout,
		WriteTimeout: replyTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytesMax,
	}
}

// ServeHTTP routes by the path as it was sent: a mux would clean keys.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	path := r.URL.EscapedPath()
	switch {
	case strings.HasPrefix(path, keyPrefix):
		h.serveKey(w, r, strings.TrimPrefix(path, keyPrefix))
	case strings.HasPrefix(path, idsPrefix):
		h.serveIDs(w, r, strings.TrimPrefix(path, idsPrefix))
	case strings.HasPrefix(path, lockPrefix):
		h.serveLock(w, r, strings.TrimPrefix(path, lockPrefix))
	case strings.HasPrefix(path, adminPrefix):
		h.serveAdmin(w, r, strings.TrimPrefix(path, adminPrefix))
	case path == "/livez":
		h.get(w, r, h.live)
	case path == "/readyz":
		h.get(w, r, h.ready)
	case path == "/v1/status":
		h.get(w, r, h.showStatus)
	default:
		writeError(w, http.StatusNotFound, problem{
			Error:   "no such path; there are /livez, /readyz, /v1/status, /v1/kv/{key}, /v1/ids/{key}, /v1/lock/{name} and /v1/admin/",
			Outcome: outcomeNotApplied, Reason: "no_such_path",
		})
	}
}

func (h *handler) get(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	serve(w, r)
}

func (h *handler) live(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "live"})
}

func (h *handler) showStatus(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.options.StatusTimeout)
	defer cancel()
	st, err := h.status.Status(ctx)
	if err != nil {
		writeError(w, http.StatusServiceUnavailable, problem{
			Error: "status: " + err.Error(), Outcome: outcomeNotApplied, Reason: "status_unavailable",
		})
		return
	}
	writeJSON(w, http.StatusOK, st)
}

func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	writeError(w, http.StatusMethodNotAllowed, problem{
		Error:   "method " + r.Method + " is not allowed here; allowed: " + strings.Join(methods, ", "),
		Outcome: outcomeNotApplied, Reason: "method_not_allowed",
	})
	return false
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // of our own types only: a bug
		panic("web: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n'))
}
