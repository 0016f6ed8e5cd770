// Package lint holds the rules of the house that a compiler does not check. Each
// rule is a function over parsed files, tested on planted offences beside it.
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/protoraft/protoraft"
)

// source is one Go file; its path is relative to the repository's top.
type source struct {
	path  string
	fset  *token.FileSet
	file  *ast.File
	names map[string]string // of imports in this file → import path
}

func parse(path string, text any) (source, error) {
	s := source{path: path, fset: token.NewFileSet(), names: map[string]string{}}
	name := path
	if text == nil {
		name = filepath.Join(root, path)
	}
	var err error
	if s.file, err = parser.ParseFile(s.fset, name, text, parser.SkipObjectResolution); err != nil {
		return s, err
	}
	for _, i := range s.file.Imports {
		p := importPath(i)
		switch {
		case i.Name != nil:
			s.names[i.Name.Name] = p
		default:
			s.names[baseName(p)] = p
		}
	}
	return s, nil
}

func importPath(i *ast.ImportSpec) string {
	p, err := strconv.Unquote(i.Path.Value)
	if err != nil {
		panic(err) // the parser has accepted it
	}
	return p
}

// baseName guesses a package's name from its import path.
func baseName(p string) string {
	base := path.Base(p)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(p))
	}
	return base
}

func (s source) at(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(n.Pos()).Line, fmt.Sprintf(format, args...))
}

// selected returns the import path and name of a selector like time.Now.
func (s source) selected(n ast.Node) (pkg, name string, ok bool) {
	sel, isSelector := n.(*ast.SelectorExpr)
	if !isSelector {
		return "", "", false
	}
	x, isName := sel.X.(*ast.Ident)
	if !isName {
		return "", "", false
	}
	pkg, ok = s.names[x.Name]
	return pkg, sel.Sel.Name, ok
}

// tree parses the Go files below dir that keep accepts; nested modules are left out.
func tree(t *testing.T, dir string, keep func(path string) bool) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			_, missing := os.Stat(filepath.Join(p, "go.mod"))
			if rel != "." && (missing == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || !keep(rel) {
			return nil
		}
		s, err := parse(rel, nil)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func isTest(path string) bool { return strings.HasSuffix(path, "_test.go") }

func report(t *testing.T, offences []string) {
	t.Helper()
	for _, o := range offences {
		t.Error(o)
	}
}

// planted is a file with an offence, or without where want is empty.
type planted struct {
	name, path, text string
	want             string // part of the one offence
}

// checkPlanted proves that a rule sees what it is there to see.
func checkPlanted(t *testing.T, rule func([]source) []string, cases []planted) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := parse(c.path, c.text)
			if err != nil {
				t.Fatal(err)
			}
			got := rule([]source{s})
			if c.want == "" && len(got) > 0 {
				t.Errorf("offences %q where there are none", got)
			}
			if c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("offences %q, expected one with %q", got, c.want)
			}
		})
	}
}
