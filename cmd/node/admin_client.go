package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// adminFlags are those of every command that has a running node do something.
type adminFlags struct {
	http    string
	output  string
	timeout duration

	addresses []string // parsed from http
}

// register adds the flags to cmd. What timeout bounds is the command's to say.
func (f *adminFlags) register(cmd *cobra.Command, timeout time.Duration, bounds string) {
	f.http, f.output, f.timeout = defaultHTTP(), "table", duration(timeout)
	cmd.Flags().StringVar(&f.http, "http", f.http, "HTTP `addresses` of nodes, host:port,...; the nodes' own machine only")
	cmd.Flags().StringVarP(&f.output, "output", "o", f.output, "`format`: table or json")
	cmd.Flags().Var(&f.timeout, "timeout", bounds)
}

func (f *adminFlags) check() (err error) {
	if err := checkOutput(f.output, "table"); err != nil {
		return err
	}
	if time.Duration(f.timeout) < time.Millisecond || time.Duration(f.timeout) > time.Hour {
		return usage("--timeout %v, expected 1ms to 1h", &f.timeout)
	}
	f.addresses, err = parseHTTP(f.http)
	return err
}

// checkOutput wants one of the two formats of --output: that for people or json.
func checkOutput(output, people string) error {
	if output != people && output != "json" {
		return usage("--output %q, expected %s or json", output, people)
	}
	return nil
}

// parseHTTP reads --http.
func parseHTTP(text string) (addresses []string, err error) {
	for address := range strings.SplitSeq(text, ",") {
		if err := checkAddress("--http", address, 1); err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

// adminCall is a request to a node's /v1/admin.
type adminCall struct {
	method  string     // GET, or POST
	path    string     // after /v1/admin/
	query   url.Values // besides timeout
	body    any        // of a POST, nil for {}
	answer  any        // where to put what comes back
	file    io.Writer  // where it goes instead, byte by byte: timeout is for the first
	timeout time.Duration
}

// adminError is a node's answer that it has not done what was asked, or does not know.
type adminError struct {
	Code    int    `json:"-"` // of HTTP
	Text    string `json:"error"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
	Leader  string `json:"leader"`
}

func (e *adminError) Error() string { return e.Text }

// exit is the exit code that follows from the answer.
func (e *adminError) exit() int {
	switch {
	case e.Outcome == "unknown":
		return exitUnknown
	case e.Reason == "no_leader" || e.Reason == "status_unavailable":
		return exitUnreachable
	case e.Code == http.StatusBadRequest:
		return exitUsage
	}
	return exitFailed
}

// answerBytesMax bounds what is read of an answer: whoever is at the port.
const answerBytesMax = 8 << 20

// adminGrace is what an answer may take beyond the time the node was given.
const adminGrace = 5 * time.Second

// errNotReached: the request was surely not received.
var errNotReached = errors.New("not reached")

// at asks the node at one address. The error is an *exitError.
func (c *adminCall) at(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(c.timeout+adminGrace, func() { cancel(context.DeadlineExceeded) })
	defer patience.Stop()
	res, err := c.send(ctx, address)
	if err != nil {
		return c.unanswered(address, err)
	}
	defer res.Body.Close()
	code := res.StatusCode
	if code == http.StatusOK && c.file != nil {
		patience.Stop()
		if _, err := io.Copy(c.file, res.Body); err != nil {
			return &exitError{exitFailed, fmt.Errorf("--http: the file from %s broke off: %w", address, err)}
		}
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, answerBytesMax))
	if err != nil {
		return c.unanswered(address, err)
	}
	if code == http.StatusOK {
		if err := json.Unmarshal(body, c.answer); err != nil {
			return &exitError{exitFailed, fmt.Errorf("--http: %s answers, but not as a node does: %.80q", address, body)}
		}
		return nil
	}
	refused := &adminError{Code: code}
	if err := json.Unmarshal(body, refused); err != nil || refused.Text == "" {
		return &exitError{exitFailed, fmt.Errorf("--http: %s answers HTTP %d, but not as a node does: %.80q", address, code, body)}
	}
	return &exitError{refused.exit(), refused}
}

func (c *adminCall) send(ctx context.Context, address string) (res *http.Response, err error) {
	content := []byte("{}")
	if c.body != nil {
		if content, err = json.Marshal(c.body); err != nil {
			return nil, err
		}
	}
	query := url.Values{"timeout": {c.timeout.String()}}
	maps.Copy(query, c.query)
	at := "http://" + address + "/v1/admin/" + c.path + "?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, c.method, at, nil)
	if err != nil {
		return nil, err
	}
	if c.method == http.MethodPost {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
		req.Header.Set("Content-Type", "application/json")
	}
	return directHTTP.Do(req)
}

// unanswered tells a request that never arrived from one nobody knows the fate of.
func (c *adminCall) unanswered(address string, err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // the address is said here
	}
	var network *net.OpError
	switch {
	case errors.As(err, &network) && network.Op == "dial":
		return &exitError{exitUnreachable, fmt.Errorf("--http: %s: %w (%w)", address, err, errNotReached)}
	case c.method == http.MethodGet:
		return unreachable("--http: %s: %w", address, err)
	}
	return &exitError{exitUnknown, fmt.Errorf("--http: %s has not answered, whether it was done is not known: %w", address, err)}
}

// atAny asks one node after the other until one has surely got the request, and returns
// where that is. Any node passes it on to the leader.
func (c *adminCall) atAny(ctx context.Context, addresses []string) (string, error) {
	var errs []error
	for _, address := range addresses {
		err := c.at(ctx, address)
		if !errors.Is(err, errNotReached) {
			return address, err
		}
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return "", errs[0]
	}
	return "", unreachable("--http: none of %s answers, expected at least one node", strings.Join(addresses, ", "))
}

// lookAround bounds the look at who leads, before a request.
const lookAround = time.Second

// leaderFirst is --http with the leader's node first, then those that know it: any node
// passes a request on, but from one that is cut off it goes nowhere.
func (f *adminFlags) leaderFirst(ctx context.Context) []string {
	if len(f.addresses) == 1 {
		return f.addresses
	}
	ctx, cancel := context.WithTimeout(ctx, lookAround)
	defer cancel()
	c := askCluster(ctx, f.addresses)
	rank := func(n nodeStatus) int {
		switch g := n.group(); {
		case g == nil || g.Leader == "" || g.Leader != c.Leader:
			return 2
		case n.Status.Node == c.Leader:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(c.Nodes, func(a, b nodeStatus) int { return rank(a) - rank(b) })
	ordered := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		ordered[i] = n.HTTP
	}
	return ordered
}

// printJSON prints what a node answered, for programs.
func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
