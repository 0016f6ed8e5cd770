package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

func (d *demo) printHeader() {
	kept := "kept"
	if d.dir.temporary {
		kept = "removed at the end"
	}
	nodes := "nodes, a process each"
	if len(d.nodes) == 1 {
		nodes = "node, a process of its own"
	}
	fmt.Fprintf(d.out, "protoraft demo: %d %s; data in %s (%s)\n\n", len(d.nodes), nodes, d.dir.path, kept)
	fmt.Fprintf(d.out, "      %-6s%-18s%-18s%s\n", "node", "cluster", "RESP", "HTTP")
	for _, n := range d.nodes {
		fmt.Fprintf(d.out, "      %-6s%-18s%-18s%s\n", n.id, n.address, n.resp, n.http)
	}
	if len(d.passedOver) > 0 {
		fmt.Fprintf(d.out, "      (in use by others, so passed over: port %s)\n", strings.Join(d.passedOver, ", "))
	}
	fmt.Fprintln(d.out)
}

// printStep prints a line such as
//
//	2  10,000 writes acknowledged       0.21 s   47,000/s by RESP through n1, n2, n3
func (d *demo) printStep(what, detail string, took time.Duration) {
	fmt.Fprintf(d.out, "  %2d  %-32s%8s   %s\n", d.step, what, seconds(took), detail)
}

// seconds shows a duration as 1.23 s, so that the dots stand in one column.
func seconds(t time.Duration) string { return fmt.Sprintf("%.2f s", t.Seconds()) }

// grouped writes 10000 as 10,000.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

func names(nodes []*demoNode) string {
	ids := make([]string, len(nodes))
	for i, n := range nodes {
		ids[i] = n.id
	}
	return strings.Join(ids, ", ")
}

func (d *demo) printInvitation() {
	first, last := d.nodes[0], d.nodes[len(d.nodes)-1]
	var web []string
	for _, n := range d.nodes {
		web = append(web, n.http)
	}
	fmt.Fprintf(d.out, "\n  Try it; every node takes every command:\n\n")
	fmt.Fprintf(d.out, "    redis-cli -p %s set greeting hello\n", port(first.resp))
	fmt.Fprintf(d.out, "    redis-cli -p %s get greeting\n", port(last.resp))
	fmt.Fprintf(d.out, "    curl -X PUT --data-binary hi http://%s/v1/kv/greeting\n", first.http)
	fmt.Fprintf(d.out, "    curl http://%s/v1/kv/greeting\n", last.http)
	fmt.Fprintf(d.out, "    %s status --http %s\n", d.self(), strings.Join(web, ","))
	fmt.Fprintf(d.out, "    kill -9 %d     # %s, which will be restarted\n", last.cmd.Process.Pid, last.id)
	fmt.Fprintf(d.out, "\n  Logs: %s/*.log. Ctrl-C stops the nodes.\n\n", d.dir.path)
}

// self is how this program was called: "go run" puts it where nobody finds it.
func (d *demo) self() string {
	if strings.Contains(d.exe, "go-build") {
		return "go run ./cmd/node"
	}
	return os.Args[0]
}

func port(address string) string {
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return p
}

// tailLines is how much of each log is shown when a step has failed.
const tailLines = 12

// printTails shows what the nodes said last: of those that ended by themselves, or
// of all.
func (d *demo) printTails() {
	var blamed []*demoNode
	for _, n := range d.nodes {
		if n.cmd != nil && !n.running() {
			blamed = append(blamed, n)
		}
	}
	if len(blamed) == 0 {
		blamed = d.nodes
	}
	for _, n := range blamed {
		state := "running"
		if !n.running() {
			state = "not running"
			if n.cmd != nil {
				state = howEnded(n.err).Error()
			}
		}
		fmt.Fprintf(d.out, "\n  The last lines of %s (%s):\n", n.id, state)
		for _, line := range tail(n.log, tailLines) {
			fmt.Fprintf(d.out, "    %s\n", line)
		}
	}
	fmt.Fprintln(d.out)
}

func tail(name string, n int) []string {
	f, err := os.Open(name)
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
		if len(lines) > n {
			lines = lines[1:]
		}
	}
	return lines
}
