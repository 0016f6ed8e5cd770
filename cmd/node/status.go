package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cmd/node/web"
)

// nodeStatus is one node's row: what it says, or why it says nothing.
type nodeStatus struct {
	HTTP      string      `json:"http"`
	Reachable bool        `json:"reachable"`
	Error     string      `json:"error,omitempty"`
	Status    *web.Status `json:"status,omitempty"`
}

// group is the node's member of the key-value group, nil while there is none.
func (n nodeStatus) group() *web.GroupStatus {
	if n.Status == nil {
		return nil
	}
	for i := range n.Status.Groups {
		if n.Status.Groups[i].Group == kvGroup {
			return &n.Status.Groups[i]
		}
	}
	return nil
}

type clusterStatus struct {
	Leader string       `json:"leader"` // empty while nobody knows one
	Term   uint64       `json:"term"`
	Nodes  []nodeStatus `json:"nodes"`
}

type statusFlags struct {
	http    string
	output  string
	timeout duration
}

func statusCommand() *cobra.Command {
	f := statusFlags{http: defaultHTTP(), output: "table", timeout: duration(2 * time.Second)}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what each node says of itself",
		Long: `status asks every node at --http for its role, term and indexes. It exits with 3
when no node answers, or none of them knows a leader.`,
		Example: `  node status
  node status --http 127.0.0.1:8001,127.0.0.1:8002 -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			addresses, err := f.check()
			if err != nil {
				return err
			}
			return showStatus(cmd.Context(), cmd.OutOrStdout(), addresses, &f)
		},
	}
	cmd.Flags().StringVar(&f.http, "http", f.http, "HTTP `addresses` of the nodes, host:port,...")
	cmd.Flags().StringVarP(&f.output, "output", "o", f.output, "`format`: table or json")
	cmd.Flags().Var(&f.timeout, "timeout", "how long to wait for a node")
	return cmd
}

func (f *statusFlags) check() (addresses []string, err error) {
	if err := checkOutput(f.output, "table"); err != nil {
		return nil, err
	}
	return parseHTTP(f.http)
}

func showStatus(ctx context.Context, out io.Writer, addresses []string, f *statusFlags) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.timeout))
	defer cancel()
	c := askCluster(ctx, addresses)
	if err := c.print(out, f.output); err != nil {
		return err
	}
	reachable := 0
	for _, n := range c.Nodes {
		if n.Reachable {
			reachable++
		}
	}
	switch {
	case reachable == 0:
		return unreachable("--http: none of %s answers, expected at least one node", strings.Join(addresses, ", "))
	case c.Leader == "":
		return unreachable("no leader: none of the %d nodes that answer knows one", reachable)
	}
	return nil
}

// askCluster asks all nodes at the same time.
func askCluster(ctx context.Context, addresses []string) clusterStatus {
	c := clusterStatus{Nodes: make([]nodeStatus, len(addresses))}
	var wait sync.WaitGroup
	for i, address := range addresses {
		wait.Go(func() { c.Nodes[i] = askNode(ctx, address) })
	}
	wait.Wait()
	// Of two leaders, the one of the later term.
	for _, n := range c.Nodes {
		if g := n.group(); g != nil && g.Leader != "" && g.Term >= c.Term {
			c.Leader, c.Term = g.Leader, g.Term
		}
	}
	return c
}

// statusBytesMax bounds what is read of an answer: whoever is at the port.
const statusBytesMax = 1 << 20

func askNode(ctx context.Context, address string) nodeStatus {
	st, err := fetchStatus(ctx, address)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer in time")
		}
		return nodeStatus{HTTP: address, Error: oneLine(err.Error())}
	}
	return nodeStatus{HTTP: address, Reachable: true, Status: st}
}

func fetchStatus(ctx context.Context, address string) (*web.Status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/status", nil)
	if err != nil {
		return nil, err
	}
	res, err := directHTTP.Do(req)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // the address is said elsewhere
		}
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, statusBytesMax))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %s: %.200s", res.Status, strings.TrimSpace(string(body)))
	}
	var st web.Status
	if err := json.Unmarshal(body, &st); err != nil || st.Node == "" {
		return nil, fmt.Errorf("answers, but not as a node does: %.80q", body)
	}
	return &st, nil
}

// directHTTP ignores proxies of the environment: nodes are close by.
var directHTTP = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (c *clusterStatus) print(out io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(c)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tROLE\tTERM\tLEADER\tLAST\tCOMMIT\tAPPLIED\tREACHABLE\tHTTP")
	var notes []string
	for _, n := range c.Nodes {
		fmt.Fprintln(w, strings.Join(n.row(), "\t"))
		notes = append(notes, n.notes()...)
		if !n.Reachable {
			notes = append(notes, fmt.Sprintf("%s: %s", n.HTTP, n.Error))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(notes) > 0 {
		fmt.Fprintln(out)
	}
	for _, note := range notes {
		fmt.Fprintln(out, note)
	}
	return nil
}

// notes is what an operator must not miss.
func (n nodeStatus) notes() (notes []string) {
	g := n.group()
	if g == nil {
		return nil
	}
	if g.Failure != "" {
		notes = append(notes, fmt.Sprintf("%s: group %d stopped: %s", n.Status.Node, g.Group, oneLine(g.Failure)))
	}
	if g.Recovering != "" {
		notes = append(notes, fmt.Sprintf("%s: group %d: memory lost: %s", n.Status.Node, g.Group, oneLine(g.Recovering)))
	}
	if len(g.Awaits) > 0 {
		notes = append(notes, fmt.Sprintf("%s: group %d waits for %s", n.Status.Node, g.Group, strings.Join(g.Awaits, ", ")))
	}
	if g.DiskFull {
		notes = append(notes, fmt.Sprintf("%s: disk full: nothing is written there until it has room", n.Status.Node))
	}
	for _, p := range g.Peers {
		if p.DivergedIndex > 0 {
			notes = append(notes, fmt.Sprintf("%s: group %d: its state is another than the leader's, %s, since entry %d at the latest", p.Node, g.Group, n.Status.Node, p.DivergedIndex))
		}
	}
	return notes
}

func (n nodeStatus) row() []string {
	row := []string{"-", "-", "-", "-", "-", "-", "-", "no", n.HTTP}
	if n.Status == nil {
		return row
	}
	row[0], row[7] = n.Status.Node, "yes"
	if g := n.group(); g != nil {
		leader := g.Leader
		if leader == "" {
			leader = "-"
		}
		number := func(v uint64) string { return strconv.FormatUint(v, 10) }
		copy(row[1:], []string{g.Role, number(g.Term), leader, number(g.LastIndex), number(g.CommitIndex), number(g.AppliedIndex)})
	}
	return row
}
