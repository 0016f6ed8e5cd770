package lint

import (
	"go/ast"
	"path"
	"strings"
	"testing"
)

const protoactor = "github.com/asynkron/protoactor-go/"

// forbidden names what an actor must not reach for: whatever locks, waits, or
// brings in time and chance that a simulation does not control.
var forbidden = map[string][]string{
	"sync": {"Mutex", "RWMutex", "WaitGroup", "Cond", "NewCond", "Locker"},
	"time": {"Sleep", "After", "AfterFunc", "Now", "NewTimer", "NewTicker", "Tick", "Since", "Until"},
}

// forbiddenMethods are Proto.Actor's ways to wait, with the reason against each.
var forbiddenMethods = map[string]string{
	"Result":            "it blocks the actor; the answer must arrive as a message",
	"SetReceiveTimeout": "any message restarts it; a timer is a message with a generation",
	"Stash":             "it is unbounded and replays in reverse; keep a named, bounded queue",
}

var forbiddenImports = map[string]string{
	protoactor + "scheduler": "time comes from the injected Clock",
	protoactor + "router":    "a message's receiver is decided by who sends it",
}

// exceptions: the one clock, and the seeds of the one source of chance.
var exceptions = map[string][]string{
	"actors/clock.go":       {"time.Now", "time.Since", "time.AfterFunc"},
	"actors/clock_linux.go": {"time.Since"},
	"actors/clock_other.go": {"time.Since"},
	"actors/spawn.go":       {"rand.Uint64"},
}

func noWaiting(files []source) (offences []string) {
	for _, s := range files {
		for _, i := range s.file.Imports {
			if why, bad := forbiddenImports[importPath(i)]; bad {
				offences = append(offences, s.at(i, "imports %s: %s", importPath(i), why))
			}
			if i.Name != nil && i.Name.Name == "." {
				offences = append(offences, s.at(i, "dot import of %s hides what is used", importPath(i)))
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				offences = append(offences, s.at(n, "go statement: concurrency is an actor's, by way of its mailbox"))
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok {
					if why, bad := forbiddenMethods[sel.Sel.Name]; bad {
						offences = append(offences, s.at(n, "call of %s: %s", sel.Sel.Name, why))
					}
				}
			case *ast.SelectorExpr:
				if what := s.forbiddenUse(n); what != "" {
					offences = append(offences, s.at(n, "use of %s: no locks, and time and chance come from Clock and Rand", what))
				}
			}
			return true
		})
	}
	return offences
}

// forbiddenUse names a forbidden function or type of another package, or is empty.
func (s source) forbiddenUse(n *ast.SelectorExpr) string {
	pkg, name, ok := s.selected(n)
	if !ok {
		return ""
	}
	what := baseName(pkg) + "." + name
	for _, e := range exceptions[s.path] {
		if e == what {
			return ""
		}
	}
	for _, f := range forbidden[pkg] {
		if f == name {
			return what
		}
	}
	if pkg == "math/rand" || pkg == "math/rand/v2" {
		// Types, and what makes a source of one's own, are fine.
		if name != "Rand" && name != "Source" && name != "PCG" && !strings.HasPrefix(name, "New") {
			return what
		}
	}
	return ""
}

// oneSpawn: Props are made in one place, which sets mailbox, dispatcher and
// supervision, so that a simulation can set its own.
func oneSpawn(files []source) (offences []string) {
	for _, s := range files {
		if s.path == "actors/spawn.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			pkg, name, ok := s.selected(n)
			if !ok || pkg != protoactor+"actor" {
				return true
			}
			if strings.HasPrefix(name, "PropsFrom") || name == "WithMailbox" || name == "WithDispatcher" || name == "WithSupervisor" || name == "WithSpawnFunc" {
				offences = append(offences, s.at(n, "actor.%s outside actors/spawn.go: describe actors with Runtime.props", name))
			}
			return true
		})
		ast.Inspect(s.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.CompositeLit); ok {
				if pkg, name, ok := s.selected(lit.Type); ok && pkg == protoactor+"actor" && name == "Props" {
					offences = append(offences, s.at(n, "actor.Props literal outside actors/spawn.go: describe actors with Runtime.props"))
				}
			}
			return true
		})
	}
	return offences
}

func actorFiles(t *testing.T) []source {
	t.Helper()
	files := tree(t, "actors", func(p string) bool { return path.Dir(p) != "actors/mailbox" && !isTest(p) })
	if len(files) == 0 {
		t.Fatal("actors/ has no files")
	}
	return files
}

func TestActorsNeverWait(t *testing.T) {
	report(t, noWaiting(actorFiles(t)))
	body := func(imports, body string) string {
		return "package actors\nimport (\n" + imports + "\n)\nfunc f(ctx, future, r any) {\n" + body + "\n}"
	}
	checkPlanted(t, noWaiting, []planted{
		{"fine", "actors/x.go", body(`"time"; "math/rand/v2"; "sync/atomic"`, "var d time.Duration = time.Second; var g *rand.Rand = rand.New(rand.NewPCG(1, 2)); _ = g.IntN(3); var n atomic.Int64"), ""},
		{"mutex", "actors/x.go", "package actors\nimport \"sync\"\ntype a struct{ mu sync.Mutex }", "sync.Mutex"},
		{"renamed", "actors/x.go", "package actors\nimport s \"sync\"\ntype a struct{ mu s.RWMutex }", "sync.RWMutex"},
		{"wait group", "actors/x.go", body(`"sync"`, "var w sync.WaitGroup"), "sync.WaitGroup"},
		{"cond", "actors/x.go", body(`"sync"`, "sync.NewCond(nil)"), "sync.NewCond"},
		{"sleep", "actors/x.go", body(`"time"`, "time.Sleep(1)"), "time.Sleep"},
		{"now", "actors/x.go", body(`"time"`, "_ = time.Now()"), "time.Now"},
		{"now as a value", "actors/x.go", body(`"time"`, "f := time.Now; _ = f"), "time.Now"},
		{"timer", "actors/x.go", body(`"time"`, "time.NewTimer(1)"), "time.NewTimer"},
		{"after func", "actors/core/x.go", body(`"time"`, "time.AfterFunc(1, nil)"), "time.AfterFunc"},
		{"the clock", "actors/clock.go", body(`"time"`, "time.AfterFunc(1, nil); time.Now()"), ""},
		{"the clock sleeps", "actors/clock.go", body(`"time"`, "time.Sleep(1)"), "time.Sleep"},
		{"global chance", "actors/x.go", body(`"math/rand/v2"`, "rand.IntN(3)"), "rand.IntN"},
		{"global chance, old", "actors/x.go", body(`"math/rand"`, "rand.Intn(3)"), "rand.Intn"},
		{"seed", "actors/spawn.go", body(`"math/rand/v2"`, "rand.New(rand.NewPCG(rand.Uint64(), 1))"), ""},
		{"result", "actors/x.go", body("", "future.Result()"), "call of Result"},
		{"receive timeout", "actors/x.go", body("", "ctx.SetReceiveTimeout(1)"), "call of SetReceiveTimeout"},
		{"stash", "actors/x.go", body("", "ctx.Stash()"), "call of Stash"},
		{"goroutine", "actors/x.go", body("", "go r()"), "go statement"},
		{"scheduler", "actors/x.go", body(`"`+protoactor+`scheduler"`, ""), "scheduler"},
		{"router", "actors/x.go", body(`"`+protoactor+`router"`, ""), "router"},
		{"dot import", "actors/x.go", body(`. "time"`, ""), "dot import"},
	})
}

func TestActorsAreDescribedInOnePlace(t *testing.T) {
	report(t, oneSpawn(actorFiles(t)))
	with := func(body string) string {
		return "package actors\nimport \"" + protoactor + "actor\"\nfunc f(ctx actor.Context) {\n" + body + "\n}"
	}
	checkPlanted(t, oneSpawn, []planted{
		{"fine", "actors/x.go", with("ctx.Spawn(rt.props(0, nil))"), ""},
		{"producer", "actors/x.go", with("ctx.Spawn(actor.PropsFromProducer(nil))"), "actor.PropsFromProducer"},
		{"func", "actors/x.go", with("_ = actor.PropsFromFunc(nil)"), "actor.PropsFromFunc"},
		{"mailbox", "actors/x.go", with("p.Configure(actor.WithMailbox(nil))"), "actor.WithMailbox"},
		{"literal", "actors/x.go", with("ctx.Spawn(&actor.Props{})"), "actor.Props literal"},
		{"the choke point", "actors/spawn.go", with("_ = actor.PropsFromProducer(nil)"), ""},
	})
}
