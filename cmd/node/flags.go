package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/protoraft/protoraft/cluster"
)

// duration is a flag's value: a duration above zero.
type duration time.Duration

func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (d *duration) Type() string { return "duration" }

func (d *duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil || v <= 0 {
		return fmt.Errorf("expected a duration above zero, such as 1s or 150ms")
	}
	*d = duration(v)
	return nil
}

// onOff is a flag's value.
type onOff bool

func (o *onOff) Type() string { return "on|off" }

func (o *onOff) String() string {
	if *o {
		return "on"
	}
	return "off"
}

func (o *onOff) Set(text string) error {
	if text != "on" && text != "off" {
		return fmt.Errorf("expected on or off")
	}
	*o = text == "on"
	return nil
}

// logLevel is a flag's value.
type logLevel hclog.Level

func (l *logLevel) String() string { return hclog.Level(*l).String() }
func (l *logLevel) Type() string   { return "level" }

func (l *logLevel) Set(text string) error {
	v := hclog.LevelFromString(text)
	if v == hclog.NoLevel || v == hclog.Off {
		return fmt.Errorf("expected trace, debug, info, warn or error")
	}
	*l = logLevel(v)
	return nil
}

// parseMembers reads --cluster.
func parseMembers(text string) ([]cluster.Member, error) {
	if text == "" {
		return nil, usage("--cluster is missing, expected every node as id=host:port, such as n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003")
	}
	var members []cluster.Member
	ids, addresses := map[string]bool{}, map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		m, err := parseMember(part)
		switch {
		case err != nil:
			return nil, usage("--cluster: %v", err)
		case ids[m.ID]:
			return nil, usage("--cluster: node %s appears twice, expected each id once", m.ID)
		case addresses[m.Address] != "":
			return nil, usage("--cluster: nodes %s and %s have the same address %s, expected one each", addresses[m.Address], m.ID, m.Address)
		}
		ids[m.ID], addresses[m.Address] = true, m.ID
		members = append(members, m)
	}
	return members, nil
}

// parseMember reads id=host:port.
func parseMember(text string) (m cluster.Member, err error) {
	var found bool
	if m.ID, m.Address, found = strings.Cut(text, "="); !found || m.ID == "" {
		return m, fmt.Errorf("%q is not a member, expected id=host:port", text)
	}
	return m, cluster.CheckMember(m)
}

func findMember(members []cluster.Member, id string) (cluster.Member, bool) {
	i := slices.IndexFunc(members, func(m cluster.Member) bool { return m.ID == id })
	if i < 0 {
		return cluster.Member{}, false
	}
	return members[i], true
}

func memberIDs(members []cluster.Member) string {
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	return strings.Join(ids, ", ")
}

// checkAddress wants host:port with a port of at least portMin. The host may be
// empty: every interface.
func checkAddress(what, address string, portMin uint64) error {
	_, portText, err := net.SplitHostPort(address)
	if err != nil {
		return usage("%s: address %q, expected host:port", what, address)
	}
	if port, err := strconv.ParseUint(portText, 10, 16); err != nil || port < portMin {
		return usage("%s: port %q of address %q, expected a number from %d to 65535", what, portText, address, portMin)
	}
	return nil
}

// checkLoopback refuses an address that others can reach.
func checkLoopback(what, address string) error {
	if isLoopback(address) {
		return nil
	}
	return usage("%s %s can be reached from other machines and there is no TLS: expected an address on 127.0.0.1, or --insecure to allow it", what, address)
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
