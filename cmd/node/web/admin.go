package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/protoraft/protoraft/cluster"
)

// Admin is what an operator does to a running cluster through one of its nodes, besides
// the paths of Recovery and Groups. Only its own machine may ask for it, until callers can be told apart:
//
//	GET  /v1/admin/status          AdminStatus: this node's, with its members in detail
//	GET  /v1/admin/members         Members, as the leader knows them
//	POST /v1/admin/members         MembersChange: Members when it is done
//	POST /v1/admin/members/abort   undoes a change whose new voters still catch up
//	POST /v1/admin/transfer        {"to": "n2"}, or {}: the leader's node hands over
//	POST /v1/admin/snapshot        {}: this node's member takes a snapshot
//
// A POST has Content-Type application/json and waits for its end, as long as
// ?timeout=30s says; the outcome is unknown then, and what was begun may go on. So it is
// after an error of reason "internal".
type Admin interface {
	Status(ctx context.Context) (AdminStatus, error)
	Members(ctx context.Context) (Members, error)
	ChangeMembers(ctx context.Context, change MembersChange) (Members, error)
	AbortChange(ctx context.Context) (Members, error)
	// TransferLeadership and TakeSnapshot are about this node's member.
	TransferLeadership(ctx context.Context, to string) (Leadership, error)
	TakeSnapshot(ctx context.Context) (Snapshot, error)
}

// AdminStatus is this node with its members in detail.
type AdminStatus struct {
	Status
	StorageFailure string       `json:"storage_failure,omitempty"`
	Groups         []AdminGroup `json:"groups"`
}

// AdminGroup is this node's member of one group.
type AdminGroup struct {
	GroupStatus
	Membership Members `json:"membership"` // as this member knows it
}

// Members is who belongs to the group.
type Members struct {
	Cluster  string   `json:"cluster,omitempty"`
	Leader   string   `json:"leader,omitempty"`
	Index    uint64   `json:"index"` // of the configuration in the log, for expected_index
	Voters   []Member `json:"voters"`
	Learners []Member `json:"learners"`
	Removed  []string `json:"removed"`          // ids that may not come back
	Change   *Change  `json:"change,omitempty"` // under way
}

// Member is one of them.
type Member struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Priority int    `json:"priority,omitempty"`
	Witness  bool   `json:"witness,omitempty"` // votes, and has no state; of those in add and voters only
}

// Change is a change of members under way.
type Change struct {
	Phase     string     `json:"phase"` // catching up, joint
	Voters    []Member   `json:"voters"`
	Learners  []Member   `json:"learners"`
	Newcomers []Newcomer `json:"newcomers"` // while they catch up
}

// Newcomer is a new voter that catches up.
type Newcomer struct {
	ID         string `json:"id"`
	MatchIndex uint64 `json:"match_index"`
	LastIndex  uint64 `json:"last_index"` // the leader's
	CaughtUp   bool   `json:"caught_up"`
	PatienceMS int64  `json:"patience_ms"` // until the change is rolled back, unless it advances
}

// MembersChange is the body of POST /v1/admin/members: all of it happens or nothing.
type MembersChange struct {
	ExpectedIndex uint64   `json:"expected_index,omitempty"` // 0 for any
	Add           []Member `json:"add,omitempty"`
	AddLearners   []Member `json:"add_learners,omitempty"`
	Remove        []string `json:"remove,omitempty"`
	Promote       []string `json:"promote,omitempty"`
	Demote        []string `json:"demote,omitempty"`
	Move          []Member `json:"move,omitempty"` // by id, with the address each is to have
}

// Leadership is who leads after a transfer: an empty id while that is not known.
type Leadership struct {
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`
}

// Snapshot says which one is durable.
type Snapshot struct {
	Node  string `json:"node"`
	Index uint64 `json:"index"` // of the last entry in it
}

// Refusal is an error of Admin: nothing was done, for a reason to branch on.
type Refusal struct {
	Code   int // of HTTP
	Reason string
	Text   string
	Leader string // where known
}

func (r *Refusal) Error() string { return r.Text }

const (
	adminPrefix    = "/v1/admin/"
	adminBodyMax   = 64 << 10
	adminTimeout   = 30 * time.Second
	adminLongest   = time.Hour
	adminPathsText = "status, members, members/abort, groups, groups/stop, groups/start, groups/delete, transfer, snapshot, backup and reset-peers"
)

func (h *handler) serveAdmin(w http.ResponseWriter, r *http.Request, path string) {
	if h.options.Admin == nil {
		writeError(w, http.StatusNotFound, problem{Error: "this server has no " + adminPrefix, Outcome: outcomeNotApplied, Reason: "no_such_path"})
		return
	}
	if refusal := foreign(r); refusal != "" {
		writeError(w, http.StatusForbidden, problem{Error: refusal, Outcome: outcomeNotApplied, Reason: "forbidden"})
		return
	}
	a := h.options.Admin
	switch path {
	case "status":
		adminGet(w, r, a.Status)
	case "members":
		if r.Method == http.MethodPost {
			adminPost(w, r, a.ChangeMembers)
		} else if allow(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
			adminGet(w, r, a.Members)
		}
	case "members/abort":
		adminPost(w, r, func(ctx context.Context, _ struct{}) (Members, error) { return a.AbortChange(ctx) })
	case "transfer":
		adminPost(w, r, func(ctx context.Context, to struct {
			To string `json:"to"`
		},
		) (Leadership, error) {
			return a.TransferLeadership(ctx, to.To)
		})
	case "snapshot":
		adminPost(w, r, func(ctx context.Context, _ struct{}) (Snapshot, error) { return a.TakeSnapshot(ctx) })
	case "backup":
		h.serveBackup(w, r)
	case "reset-peers":
		h.serveResetPeers(w, r)
	case "groups", "groups/stop", "groups/start", "groups/delete":
		h.serveGroups(w, r, path)
	default:
		writeError(w, http.StatusNotFound, problem{
			Error: "no such path; under " + adminPrefix + " there are " + adminPathsText, Outcome: outcomeNotApplied, Reason: "no_such_path",
		})
	}
}

// foreign says why a request is not one of this machine's operator: a peer elsewhere,
// or a browser here that a page of somebody else's has sent, by a name of that page's
// own (Host) or from another origin.
func foreign(r *http.Request) string {
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(peer); err != nil || ip == nil || !ip.IsLoopback() {
		return fmt.Sprintf("%s is open to this machine alone, and %s is another: ask from there", adminPrefix, r.RemoteAddr)
	}
	for _, via := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Get(via) != "" {
			return fmt.Sprintf("%s is open to this machine alone, and the header %s says that a proxy forwards for another", adminPrefix, via)
		}
	}
	if !loopbackHost(r.Host) {
		return fmt.Sprintf("the header Host names %.100q, expected localhost or an address of loopback", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return fmt.Sprintf("the header Origin names %.100q, which is not this server", origin)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return fmt.Sprintf("the header Sec-Fetch-Site says %.40q: a page of another origin asks", site)
	}
	return ""
}

func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// adminGet answers a question.
func adminGet[T any](w http.ResponseWriter, r *http.Request, ask func(context.Context) (T, error)) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	answerAdmin(w, r, ask)
}

// adminPost reads what is to be done and does it.
func adminPost[In, Out any](w http.ResponseWriter, r *http.Request, do func(context.Context, In) (Out, error)) {
	if !allow(w, r, http.MethodPost) {
		return
	}
	// What a form of another site can send has no such type.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		writeError(w, http.StatusUnsupportedMediaType, problem{
			Error:   fmt.Sprintf("Content-Type %.100q, expected application/json", r.Header.Get("Content-Type")),
			Outcome: outcomeNotApplied, Reason: "bad_content_type",
		})
		return
	}
	in, ok := readAdminBody[In](w, r)
	if !ok {
		return
	}
	answerAdmin(w, r, func(ctx context.Context) (Out, error) { return do(ctx, in) })
}

// readAdminBody reads one JSON object; none at all is an empty one.
func readAdminBody[In any](w http.ResponseWriter, r *http.Request) (in In, ok bool) {
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, adminBodyMax))
	body.DisallowUnknownFields()
	err := body.Decode(&in)
	if errors.Is(err, io.EOF) {
		return in, true
	}
	if _, more := body.Token(); err == nil && !errors.Is(more, io.EOF) {
		err = errors.New("something follows the object")
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		tooLarge(w, fmt.Sprintf("the body is too large: more than %d bytes", adminBodyMax))
	case err != nil:
		badRequest(w, "bad_body", "the body is not the JSON object this path takes: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	return in, err == nil
}

// adminLimit is how long the caller waits. Of the parameters it heeds timeout, and refuses
// those that are not among the others.
func adminLimit(w http.ResponseWriter, r *http.Request, others ...string) (limit time.Duration, ok bool) {
	limit = adminTimeout
	for name, values := range r.URL.Query() {
		if slices.Contains(others, name) {
			continue
		}
		if name != "timeout" {
			badRequest(w, "bad_parameter", fmt.Sprintf("parameter %.40q is unknown; expected %s", name, strings.Join(append(others, "timeout or none"), ", ")))
			return 0, false
		}
		var err error
		if limit, err = time.ParseDuration(values[0]); err != nil || limit < time.Millisecond || limit > adminLongest {
			badRequest(w, "bad_timeout", fmt.Sprintf("timeout %.40q, expected a duration from 1ms to %v, such as 30s", values[0], adminLongest))
			return 0, false
		}
	}
	return limit, true
}

// answerAdmin waits as long as the caller says.
func answerAdmin[Out any](w http.ResponseWriter, r *http.Request, do func(context.Context) (Out, error)) {
	limit, ok := adminLimit(w, r)
	if !ok {
		return
	}
	// The server's own deadlines are for requests that are answered at once. A writer
	// that has none cannot be cut off by one.
	until := http.NewResponseController(w)
	_ = until.SetReadDeadline(time.Now().Add(limit + replyTimeout))
	_ = until.SetWriteDeadline(time.Now().Add(limit + replyTimeout))
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	out, err := do(ctx)
	if err != nil {
		writeAdminFailure(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, out)
}

// writeAdminFailure says what became of it. An error that does not tell leaves that open,
// but for a GET, which changes nothing.
func writeAdminFailure(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *Refusal
	var op *cluster.Error
	open := outcomeNotApplied
	if r.Method == http.MethodPost {
		open = outcomeUnknown
	}
	p := problem{Error: err.Error(), Outcome: outcomeNotApplied}
	switch {
	case errors.As(err, &refusal):
		p.Reason, p.Leader = refusal.Reason, refusal.Leader
		writeError(w, refusal.Code, p)
	case errors.As(err, &op):
		writeFailure(w, err)
	case errors.Is(err, cluster.ErrLeadershipKept):
		p.Reason = "leadership_kept"
		writeError(w, http.StatusConflict, p)
	case errors.Is(err, cluster.ErrNoSnapshot):
		p.Reason = "no_snapshot"
		writeError(w, http.StatusConflict, p)
	case errors.Is(err, cluster.ErrNoGroup):
		p.Reason = "no_group"
		writeError(w, http.StatusServiceUnavailable, p)
	case errors.Is(err, context.DeadlineExceeded):
		p.Reason, p.Outcome = "timeout", open
		writeError(w, http.StatusGatewayTimeout, p)
	default:
		p.Reason, p.Outcome = "internal", open
		writeError(w, http.StatusInternalServerError, p)
	}
}

// Empty says whether nothing is asked for.
func (c *MembersChange) Empty() bool {
	return len(c.Add)+len(c.AddLearners)+len(c.Remove)+len(c.Promote)+len(c.Demote)+len(c.Move) == 0
}

// Check says what is wrong with a change whoever the members are, empty for nothing.
func (c *MembersChange) Check() string {
	if c.Empty() {
		return "nothing is to be changed: expected at least one of add, add_learners, remove, promote, demote and move"
	}
	var ids []string
	for _, m := range slices.Concat(c.Add, c.AddLearners, c.Move) {
		if err := cluster.CheckMember(cluster.Member{ID: m.ID, Address: m.Address, Priority: m.Priority}); err != nil {
			return err.Error()
		}
		ids = append(ids, m.ID)
	}
	if slices.ContainsFunc(c.AddLearners, func(m Member) bool { return m.Witness }) {
		return "a learner is marked as a witness, expected it in add: a witness votes"
	}
	all := slices.Sorted(slices.Values(slices.Concat(ids, c.Remove, c.Promote, c.Demote)))
	for _, id := range all {
		if err := cluster.CheckMemberID(id); err != nil {
			return err.Error()
		}
	}
	for i := 1; i < len(all); i++ {
		if all[i] == all[i-1] {
			return fmt.Sprintf("member %.100s appears twice, expected each once", all[i])
		}
	}
	return ""
}
