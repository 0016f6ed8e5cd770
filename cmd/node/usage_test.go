package main

import (
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/cluster"
)

const trio = "n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003"

// TestUsage: what is wrong with a command line is said in one line that names the
// flag and what was expected.
func TestUsage(t *testing.T) {
	serve := func(more ...string) []string {
		return append([]string{"serve", "--id", "n1", "--cluster", trio, "--data", "never-made"}, more...)
	}
	members := func(list string) []string {
		return []string{"serve", "--id", "n1", "--data", "never-made", "--cluster", list}
	}
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"sevre"}, []string{`unknown command "sevre"`, "backup, demo, groups, log, members, reset-peers, restore, serve, snapshot, status, transfer, version"}},
		{[]string{"--bogus"}, []string{"--bogus"}},
		{[]string{"serve"}, []string{"--cluster is missing", "id=host:port"}},
		{serve("--address", "127.0.0.1"), []string{"--address", "host:port"}},
		{serve("--address", ":7011"), []string{"--address", "no host"}},
		{serve("--address", "10.0.0.1:7011"), []string{"--address 10.0.0.1:7011", "--insecure"}},
		{serve("--address", "127.0.0.1:6011", "--resp", "127.0.0.1:6011"), []string{"--resp 127.0.0.1:6011", "--address"}},
		{[]string{"serve", "--cluster", trio, "--data", "d"}, []string{"--id is missing", "n1, n2, n3"}},
		{[]string{"serve", "--cluster", trio, "--id", "n9", "--data", "d"}, []string{`--id "n9"`, "n1, n2, n3"}},
		{[]string{"serve", "--cluster", trio, "--id", "n1"}, []string{"--data is missing", "directory"}},
		{serve("extra"), []string{`"extra"`, "flags only"}},
		{serve("--nope"), []string{"--nope"}},
		{members("n1"), []string{`--cluster: "n1"`, "id=host:port"}},
		{members("n1=127.0.0.1:7001,"), []string{`--cluster: ""`, "id=host:port"}},
		{members("=127.0.0.1:7001"), []string{"--cluster", "id=host:port"}},
		{members("n 1=127.0.0.1:7001"), []string{"--cluster", "without spaces"}},
		{members("n1=127.0.0.1"), []string{"--cluster: member n1", "host:port"}},
		{members("n1=:7001"), []string{"--cluster: member n1", "no host"}},
		{members("n1=127.0.0.1:0"), []string{"--cluster: member n1", "1 to 65535"}},
		{members("n1=127.0.0.1:70000"), []string{"--cluster: member n1", "1 to 65535"}},
		{members("n1=127.0.0.1:7001,n1=127.0.0.1:7002"), []string{"--cluster: node n1", "twice"}},
		{members("n1=127.0.0.1:7001,n2=127.0.0.1:7001"), []string{"--cluster: nodes n1 and n2", "same address"}},
		{members("n1=127.0.0.1:7001,n2=10.0.0.2:7001"), []string{"--cluster: node n2", "10.0.0.2:7001", "--insecure"}},
		{serve("--listen", ":7001"), []string{"--listen", "--insecure"}},
		{serve("--resp", "0.0.0.0:6379"), []string{"--resp 0.0.0.0:6379", "--insecure"}},
		{serve("--http", "example.org:80"), []string{"--http", "--insecure"}},
		{serve("--resp", "6379"), []string{"--resp", "host:port"}},
		{serve("--http", "127.0.0.1:http"), []string{"--http", "0 to 65535"}},
		{serve("--listen", "127.0.0.1:0"), []string{"--listen", "1 to 65535"}},
		{serve("--resp", "127.0.0.1:7001"), []string{"--resp 127.0.0.1:7001", "--cluster: node n1"}},
		{serve("--resp", "127.0.0.1:8001", "--http", "127.0.0.1:8001"), []string{"--http 127.0.0.1:8001", "--resp"}},
		{serve("--election-timeout", "-1s"), []string{"--election-timeout", "above zero"}},
		{serve("--election-timeout", "1"), []string{"--election-timeout", "such as 1s"}},
		{serve("--link", "maybe"), []string{"--link", "on or off"}},
		{serve("--heartbeat", "0s"), []string{"--heartbeat", "above zero"}},
		{serve("--heartbeat", "500ms"), []string{"--election-timeout 1s", "--heartbeat 500ms", "three heartbeats"}},
		{serve("--witness", "n9"), []string{`--witness "n9"`, "n1, n2, n3"}},
		{append(members("n1=127.0.0.1:7001,n2=127.0.0.1:7002"), "--witness", "n2"), []string{"--witness n2 of 2 nodes", "at least two"}},
		{[]string{"members", "add", "n4=127.0.0.1:7004", "--learner", "--witness"}, []string{"--learner and --witness", "one of them"}},
		{serve("--snapshot-entries", "-1"), []string{"--snapshot-entries -1", "0 or more"}},
		{serve("--snapshot-bytes", "2MB"), []string{"--snapshot-bytes", `"2MB"`, "256MiB"}},
		{serve("--snapshot-bytes", "9999999GiB"), []string{"--snapshot-bytes", "1 PiB"}},
		{serve("--transfer-rate", "-5B"), []string{"--transfer-rate", "64KiB"}},
		{serve("--snapshot-interval", "-1h"), []string{"--snapshot-interval -1h", "0 or more"}},
		{serve("--keep-entries", "-1"), []string{"--keep-entries -1", "0 or more"}},
		{serve("--log-level", "loud"), []string{"--log-level", "trace, debug, info, warn or error"}},
		{[]string{"demo", "--nodes", "0"}, []string{"--nodes 0", "1 to 9"}},
		{[]string{"demo", "--nodes", "many"}, []string{"--nodes"}},
		{[]string{"demo", "--resp-port", "-1"}, []string{"--resp-port -1", "0 to 65535"}},
		{[]string{"demo", "--http-port", "65536"}, []string{"--http-port 65536", "0 to 65535"}},
		{[]string{"demo", "now"}, []string{`"now"`, "flags only"}},
		{[]string{"status", "--http", "8001"}, []string{"--http", "host:port"}},
		{[]string{"status", "-o", "yaml"}, []string{"--output", "table or json"}},
		{serve("--join"), []string{"--join without --cluster-id", "node members list"}},
		{[]string{"serve", "--id", "n1", "--data", "d", "--cluster", "n1=127.0.0.1:7001", "--join", "--cluster-id", "c"}, []string{"--join", "no node in --cluster but n1"}},
		{[]string{"members", "lst"}, []string{`unknown command "lst"`, "abort, add, demote, list, move, promote, remove, replace"}},
		{[]string{"members", "list", "n1"}, []string{`"n1"`, "flags only"}},
		{[]string{"members", "list", "-o", "yaml"}, []string{"--output", "table or json"}},
		{[]string{"members", "list", "--http", "8001"}, []string{"--http", "host:port"}},
		{[]string{"members", "list", "--timeout", "2h"}, []string{"--timeout", "1ms to 1h"}},
		{[]string{"members", "add"}, []string{"no member", "id=host:port"}},
		{[]string{"members", "add", "n4"}, []string{`"n4"`, "id=host:port"}},
		{[]string{"members", "add", "n,4=127.0.0.1:1"}, []string{"','"}},
		{[]string{"members", "add", "n4=127.0.0.1"}, []string{"member n4", "host:port"}},
		{[]string{"members", "add", "n4=:7004"}, []string{"member n4", "no host"}},
		{[]string{"members", "add", "n4=127.0.0.1:0"}, []string{"member n4", "1 to 65535"}},
		{[]string{"members", "add", "n4=127.0.0.1:http"}, []string{"member n4", "1 to 65535"}},
		{[]string{"members", "add", "n4=127.0.0.1:1", "n4=127.0.0.1:2"}, []string{"n4 appears twice"}},
		{[]string{"members", "add", "n4=127.0.0.1:1", "--if-index", "x"}, []string{"--if-index"}},
		{[]string{"members", "remove"}, []string{"no member", "node members list"}},
		{[]string{"members", "remove", "n1=127.0.0.1:1"}, []string{`"n1=127.0.0.1:1"`, "not the id"}},
		{[]string{"members", "remove", "n1", "n1"}, []string{"n1 appears twice"}},
		{[]string{"members", "replace", "n1"}, []string{"1 arguments, expected two"}},
		{[]string{"members", "replace", "n1", "n4"}, []string{`"n4"`, "id=host:port"}},
		{[]string{"members", "promote"}, []string{"no member"}},
		{[]string{"members", "demote", ""}, []string{"not the id"}},
		{[]string{"members", "move", "n4"}, []string{`"n4"`, "id=host:port"}},
		{[]string{"members", "move", "n4=127.0.0.1"}, []string{"member n4", "host:port"}},
		{[]string{"members", "abort", "now"}, []string{`"now"`, "flags only"}},
		{[]string{"transfer", "n2"}, []string{`"n2"`, "flags only"}},
		{[]string{"transfer", "--timeout", "0s"}, []string{"--timeout", "above zero"}},
		{[]string{"snapshot", "-o", "text"}, []string{"--output", "table or json"}},
		{[]string{"log", "dmup"}, []string{`unknown command "dmup"`, "expected convert, dump"}},
		{[]string{"log", "dump"}, []string{"0 arguments", "data directory"}},
		{[]string{"log", "convert", "--to", "journal"}, []string{"0 arguments", "data directory"}},
		{[]string{"log", "convert", "d"}, []string{`--to ""`, "goleveldb, journal"}},
		{[]string{"log", "convert", "d", "--to", "sqlite"}, []string{`"sqlite"`, "goleveldb, journal"}},
		{serve("--log-engine", "sqlite"), []string{`--log-engine "sqlite"`, "goleveldb, journal"}},
		{[]string{"log", "dump", "d", "-o", "table"}, []string{"--output", "text or json"}},
		{[]string{"log", "dump", "d", "--from", "5", "--to", "4"}, []string{"--from 5 --to 4"}},
		{[]string{"version", "-o", "yaml"}, []string{"--output", "text or json"}},
	} {
		var out, errs strings.Builder
		code := run(test.args, &out, &errs)
		line := errs.String()
		if code != exitUsage || out.Len() > 0 || strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "node") {
			t.Errorf("%q: exit %d, stdout %q, stderr %q; expected exit 2 and one line", test.args, code, out.String(), line)
		}
		for _, want := range test.want {
			if !strings.Contains(line, want) {
				t.Errorf("%q: %q does not say %q", test.args, line, want)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	for _, command := range []string{"", "serve", "demo", "status", "version", "members", "members list", "members add", "members remove", "members replace",
		"members promote", "members demote", "members abort", "transfer", "snapshot", "log", "log dump"} {
		var out, errs strings.Builder
		args := strings.Fields(command + " --help")
		if code := run(args, &out, &errs); code != exitOK || errs.Len() > 0 {
			t.Errorf("%q: exit %d, stderr %q", args, code, errs.String())
		}
		for _, want := range []string{"Usage:", "Examples:", "node " + command} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q does not say %q:\n%s", args, want, out.String())
			}
		}
		if strings.Contains(out.String(), "follow-stdin") {
			t.Errorf("%q shows a flag that is not for users", args)
		}
	}
}

func TestVersion(t *testing.T) {
	var out, errs strings.Builder
	if code := run([]string{"version"}, &out, &errs); code != exitOK || errs.Len() > 0 {
		t.Fatalf("exit %d, stderr %q", code, errs.String())
	}
	for _, want := range []string{"protoraft ", "commit ", "go1.", "protocol 2"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not say %q: %s", want, out.String())
		}
	}
}

// TestServeFlags: what is right is taken, and what is left out is filled in.
func TestServeFlags(t *testing.T) {
	f := serveFlags{id: "n2", cluster: trio, data: "d", election: duration(2 * time.Second)}
	if err := f.check(); err != nil {
		t.Fatal(err)
	}
	want := []cluster.Member{{ID: "n1", Address: "127.0.0.1:7001"}, {ID: "n2", Address: "127.0.0.1:7002"}, {ID: "n3", Address: "127.0.0.1:7003"}}
	if len(f.members) != 3 || f.members[0] != want[0] || f.members[1] != want[1] || f.members[2] != want[2] {
		t.Errorf("members %v, expected %v", f.members, want)
	}
	if time.Duration(f.heartbeat) != 200*time.Millisecond {
		t.Errorf("heartbeat %v, expected a tenth of 2s", &f.heartbeat)
	}
	for _, f := range []serveFlags{
		{cluster: "n1=[::1]:7001", resp: "[::1]:0", http: "localhost:0"},
		{cluster: "n1=10.0.0.1:7001", listen: ":7001", resp: ":6379", http: "0.0.0.0:80", insecure: true},
		{cluster: "n1=127.0.0.1:7001", listen: "127.0.0.1:7001"},
	} {
		f.id, f.data, f.election = "n1", "d", duration(time.Second)
		if err := f.check(); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{usage("x"), exitUsage},
		{unreachable("x"), exitUnreachable},
		{cluster.ErrDataDirLocked, exitFailed},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrBusy}, exitFailed},
		{&cluster.Error{Outcome: cluster.NotApplied, Reason: cluster.ErrNoLeader}, exitUnreachable},
		{&cluster.Error{Outcome: cluster.Unknown, Reason: cluster.ErrTimeout}, exitUnknown},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: exit code %d, expected %d", test.err, got, test.want)
		}
	}
}
