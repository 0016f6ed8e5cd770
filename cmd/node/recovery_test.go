package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/cmd/node/web"
)

// TestBackupAndRestore: a node is backed up, the file looked at, and a cluster of two made
// from it, in which the old node has no place.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	n := newNodeAt(t)
	p := n.serve(t)
	if err := n.redis(t).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "a.backup")
	code, out, errs := execute(t, "backup", file, "--http", n.http, "-o", "json")
	var taken backupRow
	if err := json.Unmarshal([]byte(out), &taken); err != nil || code != exitOK || errs != "" {
		t.Fatalf("exit %d, %v, stderr %q, stdout %s", code, err, errs, out)
	}
	if taken.Node != "n1" || taken.Machine != "protoraft-node" || len(taken.Voters) != 1 || len(taken.Sections) != 3 || taken.Index < 3 {
		t.Errorf("%+v", taken)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v: expected the backup and nothing else", left, err)
	}
	if code, _, errs := execute(t, "backup", file, "--http", n.http); code != exitUsage || !strings.Contains(errs, "nothing is overwritten") {
		t.Errorf("exit %d, %q: expected that nothing is overwritten", code, errs)
	}
	code, out, errs = execute(t, "backup", "inspect", file)
	for _, want := range []string{file, "whole", taken.Cluster, "voter", "sessions", "machine"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("inspect: exit %d, %q, %s does not say %q", code, errs, out, want)
		}
	}
	p.signal(os.Interrupt)
	p.exit()

	other := freeAddress(t)
	members := fmt.Sprintf("n1=%s,n2=%s", n.address, other)
	code, out, errs = execute(t, "restore", file, "--dir", filepath.Join(dir, "new"), "--cluster", members, "-o", "json")
	var made []restoreRow
	if err := json.Unmarshal([]byte(out), &made); err != nil || code != exitOK || len(made) != 2 || made[0].Cluster == taken.Cluster {
		t.Fatalf("exit %d, %v, stderr %q, stdout %s", code, err, errs, out)
	}
	code, out, errs = execute(t, "restore", file, "--dir", filepath.Join(dir, "elsewhere"), "--cluster", "n1=10.0.0.1:7001")
	if code != exitOK || !strings.Contains(out, "n1=10.0.0.1:7001 --insecure\n") {
		t.Errorf("exit %d, %q, %s: expected a start that is allowed beyond loopback", code, errs, out)
	}
	for _, engine := range []string{"journal", "goleveldb"} {
		to := filepath.Join(dir, engine)
		if code, _, errs := execute(t, "restore", file, "--dir", to, "--cluster", members, "--log-engine", engine); code != exitOK {
			t.Fatalf("with %s: exit %d, %s", engine, code, errs)
		}
		if code, out, _ := execute(t, "log", "convert", filepath.Join(to, "n2"), "--to", engine); code != exitOK || !strings.Contains(out, "is kept by "+engine+" already") {
			t.Errorf("exit %d, %s: expected a log that is kept by %s", code, out, engine)
		}
	}
	for _, row := range made {
		args := strings.Fields(row.Start)[1:] // without "node"
		if row.Node == "n1" {
			args = append(args, "--http", n.http, "--resp", n.resp)
		}
		start(t, args...)
	}
	n.awaitReady(t)
	if code, body := n.get(t, "/v1/kv/k"); code != http.StatusOK || body != "v" {
		t.Errorf("restored: HTTP %d %q, expected v", code, body)
	}
	n.refused(t, "the old directory with the new cluster running", "--cluster: node n1", "in use")
	if code, _, errs := execute(t, "serve", "--id", "n1", "--cluster", members, "--cluster-id", made[0].Cluster, "--data", n.data, "--log-level", "error"); code != exitFailed ||
		!strings.Contains(errs, "another cluster") || !strings.Contains(errs, taken.Cluster) {
		t.Errorf("exit %d, %q: expected that the old directory is of another cluster", code, errs)
	}
}

// awaitReady waits until the node serves reads and writes.
func (n nodeAt) awaitReady(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if res, err := http.Get("http://" + n.http + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready", n.http)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestResetPeersCommand: two of three nodes are lost, and the third goes on alone.
func TestResetPeersCommand(t *testing.T) {
	t.Parallel()
	var nodes []nodeAt
	var members []string
	for i := range 3 {
		n := newNodeAt(t)
		nodes = append(nodes, n)
		members = append(members, fmt.Sprintf("n%d=%s", i+1, n.address))
	}
	var lost []*process
	for i, n := range nodes {
		p := start(t, "serve", "--id", fmt.Sprintf("n%d", i+1), "--cluster", strings.Join(members, ","), "--data", n.data,
			"--http", n.http, "--resp", n.resp, "--election-timeout", "300ms", "--log-level", "warn")
		if i > 0 {
			lost = append(lost, p)
		}
	}
	n := nodes[0]
	n.awaitReady(t)
	if err := n.redis(t).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for _, p := range lost {
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.exit()
	}
	reset := func(more ...string) (int, string, string) {
		for deadline := time.Now().Add(patience); ; {
			code, out, errs := execute(t, append([]string{"reset-peers", "--http", n.http}, more...)...)
			early := strings.Contains(errs, "a leader was heard") || strings.Contains(errs, "it leads")
			if !early || time.Now().After(deadline) {
				return code, out, errs
			}
		}
	}
	if code, out, errs := reset(); code != exitFailed || out != "" || !strings.Contains(errs, "acceptance of loss was not given") {
		t.Fatalf("exit %d, stdout %q, stderr %q: expected that loss is to be accepted", code, out, errs)
	}
	code, out, errs := reset("--accept-loss", "-o", "json")
	var r web.PeersReset
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitOK || r.Node != "n1" || strings.Join(r.Removed, " ") != "n2 n3" {
		t.Fatalf("exit %d, %v, stderr %q, stdout %s", code, err, errs, out)
	}
	n.awaitReady(t)
	if got, err := n.redis(t).Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Fatalf("GET: %q, %v", got, err)
	}
	if code, _, errs := execute(t, "reset-peers", "--http", n.http, "--accept-loss"); code != exitFailed || !strings.Contains(errs, "it leads") {
		t.Errorf("exit %d, %q the second time, expected that it leads", code, errs)
	}
}

func TestRecoveryUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"backup"}, "expected one: the file to write"},
		{[]string{"backup", "a", "b"}, "expected one: the file to write"},
		{[]string{"backup", "never-made", "--http", "8001"}, "host:port"},
		{[]string{"backup", "inspect"}, "expected one: the backup"},
		{[]string{"backup", "inspect", "a", "-o", "yaml"}, "table or json"},
		{[]string{"restore"}, "expected one: the backup"},
		{[]string{"restore", "a"}, "--cluster is missing"},
		{[]string{"restore", "a", "--cluster", trio}, "--dir is missing"},
		{[]string{"restore", "a", "--cluster", trio, "--dir", "d", "--id", "n9"}, `--id "n9" is not in --cluster`},
		{[]string{"restore", "a", "--cluster", trio, "--dir", "d", "--id", "n1"}, "--id without --cluster-id"},
		{[]string{"restore", "a", "--cluster", trio, "--dir", "d", "-o", "yaml"}, "table or json"},
		{[]string{"restore", "a", "--cluster", trio, "--dir", "d", "--log-engine", "sqlite"}, `--log-engine "sqlite", expected one of goleveldb, journal`},
		{[]string{"reset-peers"}, "named expressly"},
		{[]string{"reset-peers", "--http", "127.0.0.1:1,127.0.0.1:2"}, "names 2 nodes"},
		{[]string{"reset-peers", "now"}, "flags only"},
	} {
		var out, errs strings.Builder
		if code := run(test.args, &out, &errs); code != exitUsage || out.Len() > 0 || !strings.Contains(errs.String(), test.want) {
			t.Errorf("%q: exit %d, stdout %q, stderr %q; expected exit 2 and %q", test.args, code, out.String(), errs.String(), test.want)
		}
	}
}
