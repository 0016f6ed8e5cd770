package sim

import (
	"fmt"
	"strings"

	"github.com/protoraft/protoraft/messages"
)

// tell notes a line of what happened.
func (s *Script) tell(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// Story returns what happened since it was asked last, one thing a line, and then
// the members that are not what they were.
func (s *Script) Story() string {
	for _, n := range s.w.nodes {
		for group := uint64(1); group <= uint64(s.w.setup.groups); group++ {
			who := s.group(group) + n.id
			now := s.memberLine(n, group)
			if s.last[who] != now {
				s.last[who] = now
				s.tell("  %s %s", who, now)
			}
		}
	}
	if s.w.failure != nil {
		s.tell("BROKEN %v", s.w.failure)
	}
	story := merged(s.lines)
	s.lines = nil
	return story
}

// Status tells what every member is, changed or not.
func (s *Script) Status() { clear(s.last) }

// merged joins neighbours that say the same from one sender or to one receiver.
func merged(lines []string) string {
	var out []string
	var from, to, text string
	for _, line := range lines {
		way, what, _ := strings.Cut(line, " ")
		a, b, wire := strings.Cut(way, "→")
		last := len(out) - 1
		switch {
		case !wire:
			from, to, text = "", "", ""
			out = append(out, line)
		case what == text && a == from:
			to += "," + b
			out[last] = from + "→" + to + " " + text
		case what == text && b == to:
			from += "," + a
			out[last] = from + "→" + to + " " + text
		default:
			from, to, text = a, b, what
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// memberLine says what a member is.
func (s *Script) memberLine(n *node, group uint64) string {
	if !n.up {
		return "down"
	}
	st := s.describe(n, group)
	switch {
	case st == nil:
		return "gone"
	case st.Failure != "":
		return "failed: " + st.Failure
	case st.Role == "starting":
		return "starting"
	}
	m := s.w.checks.member(n, group)
	role := st.Role
	if (role == "follower" || role == "witness") && st.Leader != "" {
		role += " of " + st.Leader
	}
	if st.Recovering != "" {
		role = "recovering " + role
	}
	vote := ""
	if m.asked.Vote != "" {
		vote = " vote " + m.asked.Vote
	}
	if m.asked != m.hard && m.asked.Term != lastTerm(m.disk) {
		vote += fmt.Sprintf(" (not on disk, where it is t%d)", m.hard.Term)
	}
	rest := ""
	if st.SnapshotIndex > 0 {
		rest = fmt.Sprintf(", snapshot %d, log from %d on", st.SnapshotIndex, st.FirstIndex)
	}
	if st.DiskFull {
		rest += ", disk full"
	}
	rest += when(st.Asleep, ", asleep")
	return fmt.Sprintf("%s t%d%s, last %d@%d durable %d commit %d applied %d%s",
		role, st.Term, vote, st.LastIndex, lastTerm(m.log), st.DurableIndex, st.CommitIndex, st.AppliedIndex, rest)
}

// Log tells what a member's log holds, as it is in mind; what is not on disk yet
// stands behind a bar.
func (s *Script) Log(id string, group uint64) error {
	n, err := s.node(id)
	if err != nil {
		return err
	}
	m := s.w.checks.member(n, group)
	log := m.log
	if !n.up {
		log = m.disk
	}
	var words []string
	barred := false
	for i, e := range log {
		if !barred && (i >= len(m.disk) || m.disk[i].chain != e.chain) {
			barred = true
			words = append(words, "|")
		}
		words = append(words, fmt.Sprintf("%s@%d", s.entry(e.kind, e.data), e.term))
	}
	s.tell("%s%s: %s", s.group(group), id, strings.Join(words, " "))
	return nil
}

// Writes tells how many writes, each with one sync, a node's process has made.
func (s *Script) Writes(id string) error {
	n, err := s.running(id)
	if err == nil {
		s.tell("%s: %d writes", id, n.store.writes)
	}
	return err
}

// answered hears of an operation's end.
func (s *Script) answered(n *node, item *messages.ResultItem) {
	if o := s.w.checks.history.answered(n, item); o != nil {
		s.tell("%s: %s", s.names[o.request], s.outcome(item))
	}
}

func (s *Script) outcome(item *messages.ResultItem) string {
	reason := strings.ToLower(strings.ReplaceAll(item.Reason.String(), "_", " "))
	switch item.Outcome {
	case messages.Outcome_NOT_APPLIED:
		return "not applied, " + reason
	case messages.Outcome_UNKNOWN:
		return "unknown, " + reason
	}
	r, err := decodeResult(item.Data)
	if err != nil {
		return err.Error()
	}
	if r.appended {
		return fmt.Sprintf("applied at %d", item.Index)
	}
	return fmt.Sprintf("reads [%s]", strings.Join(s.lists[r.hash], " "))
}
