package lint

import (
	"fmt"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// set is a set of message names, without package.
type set map[string]bool

// catalogue is what docs/MESSAGES.md says of who hears what. It is generated, and
// its freshness tested, from the comments of the messages themselves.
type catalogue struct {
	to    map[string]set // actor → messages that name it as receiver
	other set            // answers to whoever asked, and messages without a route
}

var actorName = regexp.MustCompile(`\b[A-Z]\w*`)

func readCatalogue(page string) catalogue {
	c := catalogue{to: map[string]set{}, other: set{}}
	for _, line := range strings.Split(page, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || strings.HasPrefix(cells[1], "-") {
			continue
		}
		name := inMemory(strings.TrimSpace(cells[1]))
		if !strings.Contains(cells[2], "→") || strings.Contains(cells[2], "from → to") {
			c.other[name] = true
			continue
		}
		for _, leg := range strings.Split(cells[2], ";") {
			_, receivers, _ := strings.Cut(leg, "→")
			if strings.Contains(receivers, "whoever") {
				c.other[name] = true
				continue
			}
			for _, actor := range actorName.FindAllString(receivers, -1) {
				if c.to[actor] == nil {
					c.to[actor] = set{}
				}
				c.to[actor][name] = true
			}
		}
	}
	return c
}

// inMemory is what an actor sees of a message that travels in another form.
func inMemory(name string) string {
	if name == "ResultsFrame" {
		return "Results"
	}
	return name
}

// receivers is what the code of package actors says of who hears what.
type receivers struct {
	routed   map[string]set // type → messages of its receive method's switch
	ignored  map[string]set // type → messages of its …Ignores list
	embeds   map[string]set // type → embedded types
	still    set            // roles that take no part in Raft, see standstill
	consumed set            // messages that inTerm never lets through
}

func readReceivers(files []source) receivers {
	r := receivers{map[string]set{}, map[string]set{}, map[string]set{}, set{}, set{}}
	for _, s := range files {
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				r.readMethod(d)
			case *ast.GenDecl:
				r.readDeclaration(d)
			}
		}
	}
	return r
}

func (r *receivers) readMethod(d *ast.FuncDecl) {
	if d.Recv == nil || d.Body == nil {
		return
	}
	on := typeName(d.Recv.List[0].Type)
	switch d.Name.Name {
	case "standstill":
		r.still[on] = true
	case "receive":
		r.routed[on] = set{}
		eachCase(d.Body, func(types []string, _ []ast.Stmt) {
			for _, t := range types {
				r.routed[on][t] = true
			}
		})
	case "inTerm":
		eachCase(d.Body, func(types []string, body []ast.Stmt) {
			if returnsFalse(body) {
				for _, t := range types {
					r.consumed[t] = true
				}
			}
		})
	}
}

func (r *receivers) readDeclaration(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if st, ok := spec.Type.(*ast.StructType); ok {
				r.embeds[spec.Name.Name] = set{}
				for _, f := range st.Fields.List {
					if len(f.Names) == 0 {
						r.embeds[spec.Name.Name][typeName(f.Type)] = true
					}
				}
			}
		case *ast.ValueSpec:
			role, isList := strings.CutSuffix(spec.Names[0].Name, "Ignores")
			if !isList || len(spec.Values) != 1 {
				continue
			}
			r.ignored[role] = set{}
			ast.Inspect(spec.Values[0], func(n ast.Node) bool {
				if lit, ok := n.(*ast.CompositeLit); ok {
					if name := messageName(lit.Type); name != "" {
						r.ignored[role][name] = true
					}
				}
				return true
			})
		}
	}
}

// eachCase visits the cases of every type switch.
func eachCase(body ast.Node, visit func(types []string, body []ast.Stmt)) {
	ast.Inspect(body, func(n ast.Node) bool {
		sw, ok := n.(*ast.TypeSwitchStmt)
		if !ok {
			return true
		}
		for _, s := range sw.Body.List {
			clause := s.(*ast.CaseClause)
			var types []string
			for _, e := range clause.List {
				if name := messageName(e); name != "" {
					types = append(types, name)
				}
			}
			visit(types, clause.Body)
		}
		return true
	})
}

func returnsFalse(body []ast.Stmt) bool {
	if len(body) == 0 {
		return false
	}
	ret, ok := body[len(body)-1].(*ast.ReturnStmt)
	if !ok || len(ret.Results) != 1 {
		return false
	}
	id, ok := ret.Results[0].(*ast.Ident)
	return ok && id.Name == "false"
}

func typeName(e ast.Expr) string {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// messageName is empty for Proto.Actor's own messages: they are not ours to list.
func messageName(e ast.Expr) string {
	t := e
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if sel, ok := t.(*ast.SelectorExpr); ok {
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "actor" {
			return ""
		}
	}
	return typeName(t)
}

// raftRoles are the types that a Raft actor may become and that take part.
func (r *receivers) raftRoles() (roles []string) {
	for _, name := range slices.Sorted(maps.Keys(r.routed)) {
		if r.embeds[name]["raft"] && !r.still[name] {
			roles = append(roles, name)
		}
	}
	return roles
}

// everyRoleDecides: in every role, each message of the catalogue to Raft is either
// routed (by the role, or for all roles by raft) or ignored on purpose.
func everyRoleDecides(c catalogue, r receivers) (offences []string) {
	for _, role := range r.raftRoles() {
		routed := set{}
		for _, from := range []set{r.routed["raft"], r.routed[role], r.consumed} {
			maps.Copy(routed, from)
		}
		for _, m := range slices.Sorted(maps.Keys(c.to["Raft"])) {
			if !routed[m] && !r.ignored[role][m] {
				offences = append(offences, fmt.Sprintf("%s neither handles nor ignores %s", role, m))
			}
		}
		for _, m := range slices.Sorted(maps.Keys(r.ignored[role])) {
			if routed[m] {
				offences = append(offences, fmt.Sprintf("%s both handles and ignores %s", role, m))
			}
		}
		maps.Copy(routed, r.ignored[role])
		offences = append(offences, uncatalogued(c, "Raft", role, routed)...)
	}
	return offences
}

// everyActorHears: an actor handles just the messages that name it as receiver.
func everyActorHears(c catalogue, r receivers) (offences []string) {
	for _, actor := range slices.Sorted(maps.Keys(c.to)) {
		on := strings.ToLower(actor[:1]) + actor[1:]
		if r.routed[on] == nil || on == "raft" {
			continue
		}
		for _, m := range slices.Sorted(maps.Keys(c.to[actor])) {
			if !r.routed[on][m] {
				offences = append(offences, fmt.Sprintf("%s does not handle %s", on, m))
			}
		}
		offences = append(offences, uncatalogued(c, actor, on, r.routed[on])...)
	}
	return offences
}

func uncatalogued(c catalogue, actor, on string, heard set) (offences []string) {
	for _, m := range slices.Sorted(maps.Keys(heard)) {
		if !c.to[actor][m] && !c.other[m] {
			offences = append(offences, fmt.Sprintf("%s knows %s, which its comment does not send to %s", on, m, actor))
		}
	}
	return offences
}

func TestEveryMessageIsHandledOrIgnored(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/MESSAGES.md"))
	if err != nil {
		t.Fatal(err)
	}
	c, r := readCatalogue(string(page)), readReceivers(actorFiles(t))
	if want := []string{"candidate", "follower", "leader", "preCandidate"}; !slices.Equal(r.raftRoles(), want) {
		t.Errorf("roles of Raft: %v, expected %v", r.raftRoles(), want)
	}
	if len(c.to["Raft"]) < 20 {
		t.Errorf("the catalogue sends %d messages to Raft: it has not been read right", len(c.to["Raft"]))
	}
	for _, actor := range []string{"LogWriter", "LogReader", "Replicator", "Applier", "Gateway", "Node"} {
		if on := strings.ToLower(actor[:1]) + actor[1:]; len(c.to[actor]) == 0 || len(r.routed[on]) == 0 {
			t.Errorf("%s: the catalogue sends it %d messages, its receive method knows %d", actor, len(c.to[actor]), len(r.routed[on]))
		}
	}
	report(t, everyRoleDecides(c, r))
	report(t, everyActorHears(c, r))
}

// A house with one role and one other actor, all in order; each case spoils it.
const plantedPage = `
| name | from → to | wire/local | stale when | says | fields |
|---|---|---|---|---|---|
| Ping | A → Raft | wire | – | – | x |
| Pong | Raft → B; → Raft(leader) → C | local | – | – | x |
| Beat | Clock → every Raft | local | – | – | x |
| High | B → Raft | local | – | – | x |
| Work | Raft → Helper | local | – | – | x |
| ResultsFrame | Raft → whoever asked | wire | – | – | x |
`

const plantedCode = `package actors
type raft struct{}
func (r *raft) receive(ctx actor.Context, message any) {
	switch m := message.(type) {
	case *messages.Ping:
	default:
		if r.inTerm(m) { r.role.receive(ctx, m) }
	}
}
func (r *raft) inTerm(message any) bool {
	switch message.(type) {
	case *messages.High:
		r.step()
		return false
	}
	return true
}
type follower struct{ *raft }
func (f *follower) receive(ctx actor.Context, message any) {
	switch message.(type) {
	case *Pong, *actor.Terminated:
	default:
		f.ignore(message, followerIgnores)
	}
}
var followerIgnores = ignored(&Beat{}, &actor.Stopped{})
type failed struct{ *raft }
func (f *failed) standstill() {}
func (f *failed) receive(ctx actor.Context, message any) {}
type helper struct{}
func (h *helper) receive(ctx actor.Context, message any) {
	switch message.(type) {
	case *Work, *messages.Results:
	}
}
`

func TestForgottenMessagesAreSeen(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"all in order", "", "", ""},
		{"not ignored", "&Beat{}, ", "", "follower neither handles nor ignores Beat"},
		{"not handled", "*Pong, ", "", "follower neither handles nor ignores Pong"},
		{"let through", "return false", "return true", "follower neither handles nor ignores High"},
		{"handled and ignored", "&Beat{}", "&Beat{}, &Pong{}", "follower both handles and ignores Pong"},
		{"not in the catalogue", "&Beat{}", "&Beat{}, &Gone{}", "follower knows Gone"},
		{"handled in error", "*Pong,", "*Pong, *Work,", "follower knows Work"},
		{"no standstill", "standstill", "stand", "failed neither handles nor ignores Beat"},
		{"helper is deaf", "*Work, ", "", "helper does not handle Work"},
		{"helper hears too much", "*Work,", "*Work, *Ping,", "helper knows Ping"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code := plantedCode
			if c.old != "" {
				code = strings.Replace(plantedCode, c.old, c.new, 1)
				if code == plantedCode {
					t.Fatalf("%q is not in the planted code", c.old)
				}
			}
			s, err := parse("actors/x.go", code)
			if err != nil {
				t.Fatal(err)
			}
			cat, r := readCatalogue(plantedPage), readReceivers([]source{s})
			got := append(everyRoleDecides(cat, r), everyActorHears(cat, r)...)
			if c.want == "" && len(got) > 0 {
				t.Errorf("offences %q where there are none", got)
			}
			if c.want != "" && !slices.Contains(got, c.want) && !(len(got) > 0 && strings.HasPrefix(got[0], c.want)) {
				t.Errorf("offences %q, expected %q", got, c.want)
			}
		})
	}
}
