package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/protoraft/protoraft/cluster"
)

// Groups is what an Admin may do besides with groups that are made at run time. All of it
// is about this node: a group begins when each of its members' nodes has been told.
//
//	GET  /v1/admin/groups          GroupList: those this node has, and the deleted ones
//	POST /v1/admin/groups          NewGroup: Group, durable on this node
//	POST /v1/admin/groups/stop     {"group": 7}: Group; its member is down until it is started
//	POST /v1/admin/groups/start    {"group": 7}: Group
//	POST /v1/admin/groups/delete   {"group": 7}: Group; nothing of it is left on this node
type Groups interface {
	Groups(ctx context.Context) (GroupList, error)
	CreateGroup(ctx context.Context, g NewGroup) (Group, error)
	StopGroup(ctx context.Context, group uint64) (Group, error)
	StartGroup(ctx context.Context, group uint64) (Group, error)
	DeleteGroup(ctx context.Context, group uint64) (Group, error)
}

// GroupList is what one node has.
type GroupList struct {
	Node   string  `json:"node"`
	Groups []Group `json:"groups"`
}

// Group is one group on one node.
type Group struct {
	Group       uint64   `json:"group"`
	Incarnation uint64   `json:"incarnation,omitempty"` // 0 for one that the program starts itself
	Kind        string   `json:"kind,omitempty"`
	State       string   `json:"state"` // running, stopped, deleting, deleted
	Join        bool     `json:"join,omitempty"`
	Members     []Member `json:"members,omitempty"` // it was made with
	Failure     string   `json:"failure,omitempty"`
}

// NewGroup is the body of POST /v1/admin/groups.
type NewGroup struct {
	Group       uint64   `json:"group"`
	Kind        string   `json:"kind"`                  // a witness has no machine, and may name any
	Incarnation uint64   `json:"incarnation,omitempty"` // 0: one above the last this node knows of
	Members     []Member `json:"members,omitempty"`     // none: those the node was started with
	Join        bool     `json:"join,omitempty"`
}

type groupRequest struct {
	Group uint64 `json:"group"`
}

func (h *handler) serveGroups(w http.ResponseWriter, r *http.Request, path string) {
	a, ok := h.options.Admin.(Groups)
	if !ok {
		writeError(w, http.StatusNotFound, problem{Error: "this server makes no groups", Outcome: outcomeNotApplied, Reason: "no_such_path"})
		return
	}
	do := func(f func(context.Context, uint64) (Group, error)) {
		adminPost(w, r, func(ctx context.Context, in groupRequest) (Group, error) {
			g, err := f(ctx, in.Group)
			return g, groupRefusal(err)
		})
	}
	switch path {
	case "groups":
		if r.Method == http.MethodPost {
			adminPost(w, r, func(ctx context.Context, in NewGroup) (Group, error) {
				g, err := a.CreateGroup(ctx, in)
				return g, groupRefusal(err)
			})
		} else if allow(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
			adminGet(w, r, a.Groups)
		}
	case "groups/stop":
		do(a.StopGroup)
	case "groups/start":
		do(a.StartGroup)
	case "groups/delete":
		do(a.DeleteGroup)
	}
}

// groupRefusal names what was refused; other errors are as they are.
func groupRefusal(err error) error {
	for _, one := range []struct {
		err    error
		code   int
		reason string
	}{
		{cluster.ErrGroupSpec, http.StatusBadRequest, "bad_group"},
		{cluster.ErrGroupKind, http.StatusBadRequest, "no_such_kind"},
		{cluster.ErrGroupExists, http.StatusConflict, "group_exists"},
		{cluster.ErrGroupDeleted, http.StatusConflict, "group_deleted"},
		{cluster.ErrGroupBusy, http.StatusConflict, "group_busy"},
		{cluster.ErrNoGroup, http.StatusNotFound, "no_group"},
	} {
		if errors.Is(err, one.err) {
			return &Refusal{Code: one.code, Reason: one.reason, Text: err.Error()}
		}
	}
	return err
}
