// Package scenarios holds the protocol as transcripts: each *.txt shows one rule at
// work, on the production actors in the world of package sim, scripted step by step.
// `go test ./test/scenarios -rewrite` writes down what happens now.
package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/protoraft/protoraft/test/sim"
)

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".txt"), func(t *testing.T) { runFile(t, file) })
	}
}

func runFile(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "# ") {
		t.Errorf("%s does not begin with the rule it shows", file)
	}
	p := &play{}
	datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
		return p.directive(t, d)
	})
	if p.script == nil {
		t.Fatalf("%s plays nothing", file)
	}
	p.script.Finish()
	if f := p.script.Failure(); f != nil {
		t.Errorf("%s: %v", file, f)
	}
}

// play is one transcript's world.
type play struct {
	script *sim.Script
	nodes  []string
	reads  int
}

// directive plays a command and those in the lines below it, then tells the story.
func (p *play) directive(t *testing.T, d *datadriven.TestData) string {
	err := p.command(d.Cmd, d.CmdArgs)
	for _, line := range strings.Split(d.Input, "\n") {
		if err != nil || line == "" {
			break
		}
		name, args, parseErr := datadriven.ParseLine(line)
		if err = parseErr; err == nil {
			err = p.command(name, args)
		}
	}
	if p.script == nil {
		d.Fatalf(t, "%v; begin with cluster n=3", err)
	}
	story := p.script.Story()
	if f := p.script.Failure(); f != nil {
		t.Errorf("%s: %v", d.Pos, f)
	}
	if err != nil {
		story = strings.TrimPrefix(story+"\nerror: "+err.Error(), "\n")
	}
	return story
}

func (p *play) command(name string, list []datadriven.CmdArg) error {
	a := &arguments{named: map[string]string{}, lists: map[string][]string{}}
	for _, arg := range list {
		if len(arg.Vals) == 0 {
			a.plain = append(a.plain, arg.Key)
		} else {
			a.named[arg.Key], a.lists[arg.Key] = arg.Vals[0], arg.Vals
		}
	}
	if name == "cluster" {
		return p.cluster(a)
	}
	if p.script == nil {
		return fmt.Errorf("%s without a cluster", name)
	}
	do, known := commands[name]
	if !known {
		return fmt.Errorf("no command %q", name)
	}
	if err := do(p, a); err != nil {
		return err
	}
	return a.unused()
}

// nodesMax: above it, election waits would not all be different.
const nodesMax = 9

// cluster n=3 [groups=2] [spares=1] [witness] [sleep] [stopped]
func (p *play) cluster(a *arguments) error {
	if p.script != nil {
		return fmt.Errorf("there is a cluster already")
	}
	n, groups := a.number("n", 3), a.number("groups", 1)
	if n < 1 || n > nodesMax || groups < 1 {
		return fmt.Errorf("%d nodes and %d groups, expected 1 to %d and 1 or more", n, groups, nodesMax)
	}
	p.script = sim.NewScript(int(n), int(groups))
	spares := a.number("spares", 0)
	if spares >= n {
		return fmt.Errorf("%d spares of %d nodes, expected a member", spares, n)
	}
	p.script.Spares(int(spares))
	if a.word("witness") {
		p.script.Witness()
	}
	if a.word("sleep") {
		p.script.Sleep()
	}
	for i := range n {
		p.nodes = append(p.nodes, fmt.Sprintf("n%d", i+1))
	}
	if !a.word("stopped") {
		for _, id := range p.nodes {
			if err := p.script.Start(id, false); err != nil {
				return err
			}
		}
	}
	return a.unused()
}

// each does something for every node named, or for all.
func (p *play) each(a *arguments, f func(id string) error) error {
	ids := a.rest()
	if len(ids) == 1 && ids[0] == "all" {
		ids = p.nodes
	}
	if len(ids) == 0 {
		return fmt.Errorf("expected nodes, or all")
	}
	for _, id := range ids {
		if err := f(id); err != nil {
			return err
		}
	}
	return nil
}

// arguments are those of one command; what nobody asked for is an error.
type arguments struct {
	plain []string
	named map[string]string
	lists map[string][]string
	err   error
}

func (a *arguments) next() string {
	if len(a.plain) == 0 {
		return ""
	}
	first := a.plain[0]
	a.plain = a.plain[1:]
	return first
}

func (a *arguments) rest() []string {
	rest := a.plain
	a.plain = nil
	return rest
}

// word takes a plain argument if it is there.
func (a *arguments) word(w string) bool {
	for i, arg := range a.plain {
		if arg == w {
			a.plain = append(a.plain[:i:i], a.plain[i+1:]...)
			return true
		}
	}
	return false
}

func (a *arguments) name(key, otherwise string) string {
	v, ok := a.named[key]
	if !ok {
		return otherwise
	}
	delete(a.named, key)
	return v
}

func (a *arguments) number(key string, otherwise uint64) uint64 {
	v := a.name(key, "")
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("%s=%s: expected a number", key, v)
	}
	return n
}

// names are ids with commas between them: datadriven takes (n1,n2) for several values.
func (a *arguments) names(key string) []string {
	v, ok := a.lists[key]
	delete(a.named, key)
	if !ok {
		return nil
	}
	return v
}

func (a *arguments) group() uint64 { return a.number("group", 1) }

func (a *arguments) some() sim.Some {
	return sim.Some{From: a.name("from", ""), To: a.name("to", ""), Only: a.name("only", ""), N: int(a.number("n", 0))}
}

func (a *arguments) duration() (time.Duration, error) { return time.ParseDuration(a.next()) }

func (a *arguments) unused() error {
	if a.err == nil && len(a.plain)+len(a.named) > 0 {
		return fmt.Errorf("arguments not understood: %v %v", a.plain, a.named)
	}
	return a.err
}
