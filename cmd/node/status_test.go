package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/web"
)

// TestStatusNotesWhoDiffers: a node whose state is not the leader's is named.
func TestStatusNotesWhoDiffers(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g := webGroup(cluster.GroupStatus{
			Group: kvGroup, Role: "leader", Leader: "n1", Term: 2,
			Peers: []cluster.PeerStatus{{ID: "n2", ComparedIndex: 192}, {ID: "n3", ComparedIndex: 64, DivergedIndex: 128}},
		})
		_ = json.NewEncoder(w).Encode(web.Status{Node: "n1", Groups: []web.GroupStatus{g}})
	}))
	defer s.Close()
	code, out, errs := execute(t, "status", "--http", strings.TrimPrefix(s.URL, "http://"))
	if code != exitOK || errs != "" || !strings.Contains(out, "\nn3: group 1: its state is another than the leader's, n1, since entry 128 at the latest\n") || strings.Contains(out, "n2:") {
		t.Errorf("exit %d, %q, %s", code, errs, out)
	}
}
