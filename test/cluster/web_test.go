package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/protoraft/protoraft/test/linearizability"
)

// webSession is a client of one node over HTTP. Connections are used once: on those
// used before, net/http sends some requests again by itself.
type webSession struct {
	address string
	client  http.Client
}

func newWebSession(address string, timeout time.Duration) *webSession {
	return &webSession{address, http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (s *webSession) close() {}

var webMethods = map[linearizability.Kind]string{
	linearizability.Get: http.MethodGet, linearizability.Put: http.MethodPut, linearizability.Delete: http.MethodDelete,
}

// do executes a Get, Put or Delete, as (*respSession).do.
func (s *webSession) do(op linearizability.Operation) (linearizability.Result, error) {
	request, err := http.NewRequest(webMethods[op.Kind], "http://"+s.address+"/v1/kv/"+op.Key, strings.NewReader(op.Value))
	if err != nil {
		return linearizability.Result{Outcome: linearizability.NotApplied}, complaint(err.Error())
	}
	code, body, err := fetch(&s.client, request)
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return linearizability.Result{Outcome: linearizability.NotApplied}, errors.Join(errNotSent, err)
	case err != nil:
		return linearizability.Result{Outcome: linearizability.Unknown}, err
	case code == http.StatusOK && op.Kind == linearizability.Get:
		return linearizability.Result{Outcome: linearizability.Applied, Text: string(body), Found: true}, nil
	case code == http.StatusNotFound && op.Kind == linearizability.Get:
		return linearizability.Result{Outcome: linearizability.Applied}, nil
	}
	var answer struct {
		Outcome, Error string
		Deleted        bool
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return linearizability.Result{Outcome: linearizability.Unknown}, complaint(fmt.Sprintf("HTTP %d with %q", code, body))
	}
	switch {
	case code == http.StatusOK && answer.Outcome == "applied":
		result := linearizability.Result{Outcome: linearizability.Applied}
		if answer.Deleted {
			result.Number = 1
		}
		return result, nil
	case code == http.StatusServiceUnavailable && answer.Outcome == "not_applied":
		return linearizability.Result{Outcome: linearizability.NotApplied}, errors.New(answer.Error)
	case code == http.StatusGatewayTimeout && answer.Outcome == "unknown":
		return linearizability.Result{Outcome: linearizability.Unknown}, errors.New(answer.Error)
	default:
		return linearizability.Result{Outcome: linearizability.Unknown}, complaint(fmt.Sprintf("HTTP %d with %q", code, body))
	}
}

func fetch(client *http.Client, request *http.Request) (code int, body []byte, err error) {
	reply, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer reply.Body.Close()
	body, err = io.ReadAll(reply.Body)
	return reply.StatusCode, body, err
}

// local reads a key from what the node itself has applied, however old.
func (n *node) local(client *http.Client, key string) (text string, found bool, err error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+n.http+"/v1/kv/"+key+"?consistency=stale", nil)
	if err != nil {
		return "", false, err
	}
	code, body, err := fetch(client, request)
	switch {
	case err != nil:
		return "", false, err
	case code == http.StatusOK:
		return string(body), true, nil
	case code == http.StatusNotFound:
		return "", false, nil
	default:
		return "", false, fmt.Errorf("stale read of %s on %s: HTTP %d with %q", key, n.id, code, body)
	}
}
