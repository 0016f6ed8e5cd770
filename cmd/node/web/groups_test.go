package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/cluster"
)

// grouper is an Admin of which only Groups is asked.
type grouper struct {
	Admin
	err error
}

func (g *grouper) Groups(context.Context) (GroupList, error) {
	return GroupList{Node: "n1", Groups: []Group{{Group: 7, Incarnation: 2, State: "running"}}}, g.err
}

func (g *grouper) CreateGroup(_ context.Context, n NewGroup) (Group, error) {
	return Group{Group: n.Group, Kind: n.Kind, Incarnation: n.Incarnation, State: "running"}, g.err
}
func (g *grouper) StopGroup(_ context.Context, n uint64) (Group, error) {
	return Group{Group: n, State: "stopped"}, g.err
}
func (g *grouper) StartGroup(_ context.Context, n uint64) (Group, error) {
	return Group{Group: n, State: "running"}, g.err
}
func (g *grouper) DeleteGroup(_ context.Context, n uint64) (Group, error) {
	return Group{Group: n, State: "deleted"}, g.err
}

// TestGroupPaths: each path does its own, and says why it did not.
func TestGroupPaths(t *testing.T) {
	refused := func(err error) error { return fmt.Errorf("group 7: %w: so", err) }
	for _, c := range []struct {
		method, path, body string
		err                error
		code               int
		says               string
	}{
		{"GET", "groups", "", nil, 200, `"group":7,"incarnation":2,"state":"running"`},
		{"POST", "groups", `{"group":7,"kind":"kv","incarnation":3}`, nil, 200, `"incarnation":3,"kind":"kv"`},
		{"POST", "groups/stop", `{"group":7}`, nil, 200, `"state":"stopped"`},
		{"POST", "groups/start", `{"group":7}`, nil, 200, `"state":"running"`},
		{"POST", "groups/delete", `{"group":7}`, nil, 200, `"state":"deleted"`},
		{"POST", "groups/delete", `{"groups":7}`, nil, 400, `bad_body`},
		{"GET", "groups/delete", "", nil, 405, ``},
		{"DELETE", "groups", "", nil, 405, ``},
		{"POST", "groups", `{}`, refused(cluster.ErrGroupSpec), 400, `"not_applied","reason":"bad_group"`},
		{"POST", "groups", `{}`, refused(cluster.ErrGroupKind), 400, `no_such_kind`},
		{"POST", "groups", `{}`, refused(cluster.ErrGroupExists), 409, `group_exists`},
		{"POST", "groups", `{}`, refused(cluster.ErrGroupDeleted), 409, `group_deleted`},
		{"POST", "groups/stop", `{}`, refused(cluster.ErrGroupBusy), 409, `group_busy`},
		{"POST", "groups/delete", `{}`, refused(cluster.ErrNoGroup), 404, `no_group`},
		{"POST", "groups/delete", `{}`, refused(cluster.ErrStorageFailed), 500, `"unknown","reason":"internal"`},
	} {
		w := httptest.NewRecorder()
		New(nil, nil, Options{Admin: &grouper{err: c.err}}).ServeHTTP(w, request(c.method, c.path, c.body))
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s %s with %v: %d %s, expected %d and %s", c.method, c.path, c.body, c.err, w.Code, w.Body, c.code, c.says)
		}
	}
	w := httptest.NewRecorder()
	New(nil, nil, Options{Admin: &fakeAdmin{}}).ServeHTTP(w, request("GET", "groups", ""))
	if w.Code != http.StatusNotFound {
		t.Errorf("a server that makes no groups: %d", w.Code)
	}
}
