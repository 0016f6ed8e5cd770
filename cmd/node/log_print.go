package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/cmd/node/machine"
	"github.com/protoraft/protoraft/fsm/kv"
	"github.com/protoraft/protoraft/logstore"
	"github.com/protoraft/protoraft/messages"
)

// dumpPrinter prints a log, for people or a line of JSON each.
type dumpPrinter struct {
	out     io.Writer
	flags   *dumpFlags
	limit   int // bytes of a string that are shown
	entries int
	damaged int
	failure error // of writing
}

func newDumpPrinter(out io.Writer, f *dumpFlags) *dumpPrinter {
	p := &dumpPrinter{out: out, flags: f, limit: shownBytes}
	if f.full {
		p.limit = 0
	}
	return p
}

// Lines of JSON. The fields are stable.
type (
	dumpDirectory struct {
		Type    string `json:"type"` // directory
		Path    string `json:"path"`
		Node    string `json:"node,omitempty"` // empty for a log without its data directory
		Cluster string `json:"cluster,omitempty"`
		Format  int    `json:"format,omitempty"`
	}
	dumpGroup struct {
		Type        string `json:"type"` // group
		Group       uint64 `json:"group"`
		Incarnation uint64 `json:"incarnation"`
		Term        uint64 `json:"term"`
		Vote        string `json:"vote,omitempty"` // in that term
		FirstIndex  uint64 `json:"first_index"`    // 0 where that is damaged
		PrevTerm    uint64 `json:"prev_term"`      // of the entry before the first
	}
	dumpEntry struct {
		Type     string    `json:"type"` // entry
		Group    uint64    `json:"group"`
		Index    uint64    `json:"index"`
		Term     uint64    `json:"term"`
		Time     time.Time `json:"time"`
		Kind     string    `json:"kind"`
		Size     int       `json:"size"` // of the data, in bytes
		Session  uint64    `json:"session,omitempty"`
		Sequence uint64    `json:"sequence,omitempty"`
		Command  string    `json:"command"` // for people
	}
	dumpDamage struct {
		Type   string `json:"type"` // damage
		Group  uint64 `json:"group,omitempty"`
		Index  uint64 `json:"index,omitempty"`
		Where  string `json:"where"`
		Reason string `json:"reason"`
	}
	dumpSnapshot struct {
		Type  string    `json:"type"` // snapshot
		Path  string    `json:"path"`
		Group uint64    `json:"group"`
		Index uint64    `json:"index"` // of the last entry in it
		Term  uint64    `json:"term"`
		Time  time.Time `json:"time"`
		Size  int64     `json:"size"`
	}
	dumpEnd struct {
		Type    string `json:"type"` // end
		Entries int    `json:"entries"`
		Damaged int    `json:"damaged"`
	}
)

// print writes a line, of JSON or of text.
func (p *dumpPrinter) print(line any, format string, args ...any) {
	text := ""
	if p.flags.output == "json" {
		raw, err := json.Marshal(line)
		if err != nil {
			p.failure = errors.Join(p.failure, err)
			return
		}
		text = string(raw)
	} else {
		text = fmt.Sprintf(format, args...)
	}
	if _, err := fmt.Fprintln(p.out, text); err != nil && p.failure == nil {
		p.failure = err
	}
}

func (p *dumpPrinter) directory(d *cluster.InspectedDir) {
	line := dumpDirectory{"directory", d.Path, d.NodeID, d.ClusterID, d.Format}
	if d.NodeID == "" {
		p.print(line, "log %s, without its data directory", d.Path)
		return
	}
	p.print(line, "data directory %s of node %s in cluster %s, format %d", d.Path, d.NodeID, d.ClusterID, d.Format)
}

func (p *dumpPrinter) group(id uint64, info *logstore.GroupInfo) {
	line := dumpGroup{"group", id, info.Incarnation, info.HardState.Term, info.HardState.Vote, info.FirstIndex, info.PrevTerm}
	vote := "nobody"
	if line.Vote != "" {
		vote = line.Vote
	}
	p.print(line, "\ngroup %d: term %d, voted for %s, the log begins at %d\n\n%8s %5s  %-20s %-13s %8s  %s",
		id, line.Term, vote, line.FirstIndex, "INDEX", "TERM", "TIME", "KIND", "SIZE", "COMMAND")
}

// record prints the entries of a block that are asked for.
func (p *dumpPrinter) record(group uint64, r logstore.Record) error {
	if r.Damage != nil {
		p.damages([]error{r.Damage})
		return p.failure
	}
	err := r.Block.Entries(func(index uint64, e messages.EntryView) error {
		if p.flags.shows(index) {
			p.entry(dumpEntry{
				Type: "entry", Group: group, Index: index, Term: r.Block.Term, Time: time.Unix(0, r.Block.Time).UTC(),
				Kind: kindName(e.Kind), Size: len(e.Data), Session: e.Session, Sequence: e.Sequence, Command: p.describe(e),
			})
		}
		return p.failure
	})
	return err
}

func (p *dumpPrinter) entry(e dumpEntry) {
	p.entries++
	session := ""
	if e.Session != 0 {
		session = fmt.Sprintf("  (session %d, sequence %d)", e.Session, e.Sequence)
	}
	p.print(e, "%8d %5d  %-20s %-13s %8d  %s%s", e.Index, e.Term, e.Time.Format(time.RFC3339), e.Kind, e.Size, e.Command, session)
}

func kindName(k messages.EntryKind) string { return strings.ToLower(k.String()) }

// describe shows what an entry says.
func (p *dumpPrinter) describe(e messages.EntryView) string {
	switch e.Kind {
	case messages.EntryKind_COMMAND, messages.EntryKind_QUERY:
		return machine.Describe(e.Data, p.limit)
	case messages.EntryKind_NAMED_COMMAND:
		name, command, ok := messages.SplitNamed(e.Data)
		if !ok {
			return "without the name it should have"
		}
		return fmt.Sprintf("once %s %d: %s", kv.Quote(name, p.limit), e.Sequence, machine.Describe(command, p.limit))
	case messages.EntryKind_CONFIGURATION:
		return describeConfiguration(e.Data)
	case messages.EntryKind_NOOP, messages.EntryKind_SESSION:
		return ""
	}
	return kv.Quote(e.Data, p.limit)
}

func describeConfiguration(data []byte) string {
	var c messages.Configuration
	if err := proto.Unmarshal(data, &c); err != nil {
		return "cannot be read: " + err.Error()
	}
	text := listMembers(c.Members)
	if len(c.Outgoing) > 0 {
		text += "; and, until the next, voters " + strings.Join(c.Outgoing, ", ")
	}
	if len(c.Next) > 0 {
		text += "; to become " + listMembers(c.Next)
	}
	if len(c.Removed) > 0 {
		text += "; removed " + strings.Join(c.Removed, ", ")
	}
	return text
}

func listMembers(members []*messages.Member) string {
	list := make([]string, len(members))
	for i, m := range members {
		list[i] = m.GetId() + "=" + m.GetAddress()
		if m.GetRole() != messages.Role_VOTER {
			list[i] += " (" + strings.ToLower(m.GetRole().String()) + ")"
		}
	}
	return strings.Join(list, ", ")
}

func (p *dumpPrinter) damages(found []error) {
	for _, err := range found {
		p.damaged++
		line := dumpDamage{Type: "damage", Where: "log", Reason: err.Error()}
		var c *logstore.CorruptError
		if errors.As(err, &c) {
			line.Group, line.Index, line.Where, line.Reason = c.Group, c.Index, c.Where, c.Reason
		}
		at := line.Where
		if line.Index != 0 {
			at = fmt.Sprintf("index %d, %s", line.Index, at)
		}
		p.print(line, "DAMAGED: %s: %s", at, oneLine(line.Reason))
	}
}

func (p *dumpPrinter) snapshot(path string, meta *messages.SnapshotMeta, size int64) {
	line := dumpSnapshot{"snapshot", path, meta.GetGroup(), meta.GetIndex(), meta.GetTerm(), time.Unix(0, meta.GetTime()).UTC(), size}
	p.print(line, "\nsnapshot %s: group %d, up to index %d of term %d, %d bytes, whole", path, line.Group, line.Index, line.Term, size)
}

func (p *dumpPrinter) end() error {
	p.print(dumpEnd{"end", p.entries, p.damaged}, "\n%d entries shown, %d places damaged", p.entries, p.damaged)
	return p.failure
}
