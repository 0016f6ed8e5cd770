package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Messages that carry live values have no .proto. localFile holds them and what
// they are made of; another file of localDir may declare one beside its actor.
const (
	localDir  = "actors"
	localFile = "local.go"
)

// row is one message of the catalogue. One without a route is a part of others.
type row struct {
	name, route, medium, stale, says string
	fields                           []string
}

// section is one conversation.
type section struct {
	title, intro string
	rows         []row
}

// catalogue renders docs/MESSAGES.md.
func catalogue(root string) ([]byte, error) {
	files, err := compileDir(root, "messages")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# Messages\n\n" +
		"What the actors say to each other, by conversation. Made by `make generate` from the comments in\n" +
		"`messages/*.proto` and `" + localDir + "/*.go`; do not edit. *Wire* messages pass between nodes, *local* ones\n" +
		"stay within a process. A stale message is dropped.\n")
	for _, f := range files {
		s, err := protoSection(f)
		if err != nil {
			return nil, err
		}
		s.write(&b)
	}
	local, err := localSection(filepath.Join(root, localDir))
	if err != nil {
		return nil, err
	}
	if len(local.rows) > 0 {
		local.write(&b)
	}
	return b.Bytes(), nil
}

func (s section) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %s\n\n", s.title)
	if s.intro != "" {
		fmt.Fprintf(b, "%s\n\n", s.intro)
	}
	var routed, parts []row
	for _, r := range s.rows {
		if r.route != "" {
			routed = append(routed, r)
		} else {
			parts = append(parts, r)
		}
	}
	if len(routed) > 0 {
		b.WriteString("| name | from → to | wire/local | stale when | says | fields |\n|---|---|---|---|---|---|\n")
		for _, r := range routed {
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", r.name, cell(r.route), r.medium, cell(r.stale), cell(r.says), strings.Join(r.fields, ", "))
		}
	}
	if len(parts) > 0 {
		if len(routed) > 0 {
			b.WriteString("\n")
		}
		b.WriteString("| carried by messages | is | fields |\n|---|---|---|\n")
		for _, r := range parts {
			fmt.Fprintf(b, "| %s | %s | %s |\n", r.name, cell(r.says), strings.Join(r.fields, ", "))
		}
	}
}

func cell(s string) string {
	if s == "" {
		return "–"
	}
	return strings.ReplaceAll(s, "|", `\|`)
}

func protoSection(f protoreflect.FileDescriptor) (section, error) {
	s := section{title: strings.TrimSuffix(filepath.Base(f.Path()), ".proto")}
	locations := f.SourceLocations()
	// The file's heading is the comment that stands apart, above the first message
	// or enum.
	for i := range locations.Len() {
		if l := locations.Get(i); len(l.LeadingDetachedComments) > 0 {
			s.intro = oneLine(strings.Join(l.LeadingDetachedComments, " "))
			break
		}
	}
	s.title, s.intro = cutTitle(s.title, s.intro)
	for i := range f.Messages().Len() {
		m := f.Messages().Get(i)
		var fields []string
		for j := range m.Fields().Len() {
			fields = append(fields, string(m.Fields().Get(j).Name()))
		}
		r, err := parseRow(string(m.Name()), locations.ByDescriptor(m).LeadingComments, fields)
		if err != nil {
			return s, fmt.Errorf("%s: %w", f.Path(), err)
		}
		s.rows = append(s.rows, r)
	}
	return s, nil
}

// cutTitle takes "Election: how one is won." apart.
func cutTitle(fallback, intro string) (title, rest string) {
	if head, tail, ok := strings.Cut(intro, ": "); ok && !strings.Contains(head, " ") {
		return head, strings.ToUpper(tail[:1]) + tail[1:]
	}
	return strings.ToUpper(fallback[:1]) + fallback[1:], intro
}

func localSection(dir string) (section, error) {
	s := section{
		title: "Local",
		intro: "Go values of package actors that never leave the process: they carry live blocks and PIDs.",
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return s, err
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return s, err
		}
		rows, err := localRows(file, filepath.Base(path) == localFile)
		if err != nil {
			return s, fmt.Errorf("%s: %w", path, err)
		}
		s.rows = append(s.rows, rows...)
	}
	return s, nil
}

// localRows reads the exported structs of a file: those whose comment is a
// message's, "Name: From → To, local.", or all of them.
func localRows(file *ast.File, all bool) (rows []row, err error) {
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.TYPE {
			continue
		}
		for _, spec := range d.Specs {
			t := spec.(*ast.TypeSpec)
			st, ok := t.Type.(*ast.StructType)
			if !ok || !t.Name.IsExported() {
				continue
			}
			doc, routed := strings.CutPrefix(d.Doc.Text(), t.Name.Name+": ")
			if !routed && !all {
				continue
			}
			r, err := parseRow(t.Name.Name, doc, fieldNames(st))
			if err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

func fieldNames(st *ast.StructType) []string {
	var names []string
	for _, f := range st.Fields.List {
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
		if len(f.Names) == 0 { // embedded
			switch t := f.Type.(type) {
			case *ast.Ident:
				names = append(names, t.Name)
			case *ast.SelectorExpr:
				names = append(names, t.Sel.Name)
			}
		}
	}
	return names
}

var (
	// "Replicator → Raft(peer), wire; answered with …"
	routed = regexp.MustCompile(`^([^.]+? → .+?), (local or wire|wire|local)\b`)
	// "Stale when term is below the receiver's."
	stale = regexp.MustCompile(`\bStale when (.+?)(?:\.(?: |$)|$)`)
)

// parseRow reads a message's comment. A message of the wire or of an actor begins
// with its route; what carries no arrow is a part of others.
func parseRow(name, comment string, fields []string) (row, error) {
	text := oneLine(comment)
	r := row{name: name, fields: fields}
	first, _, _ := strings.Cut(text, ". ")
	if !strings.Contains(first, "→") {
		r.says = text
		return r, nil
	}
	m := routed.FindStringSubmatchIndex(text)
	if m == nil {
		return r, fmt.Errorf("%s: expected a comment like \"From → To, wire.\" or \"…, local.\", got %q", name, first)
	}
	r.route, r.medium = text[m[2]:m[3]], text[m[4]:m[5]]
	rest := text[m[1]:]
	if strings.HasPrefix(rest, "; →") { // "…, local; → Gateway → Gateway on the wire."
		also, after, _ := strings.Cut(strings.TrimPrefix(rest, "; "), ".")
		r.route += "; " + strings.TrimSuffix(also, " on the wire")
		r.medium, rest = "local, wire", after
	}
	if s := stale.FindStringSubmatchIndex(rest); s != nil {
		r.stale = rest[s[2]:s[3]]
		rest = rest[:s[0]] + rest[s[1]:]
	}
	r.says = sentence(rest, fields)
	return r, nil
}

// sentence tidies what is left of a comment after its route. A field's name keeps
// its case.
func sentence(s string, fields []string) string {
	s = strings.TrimSpace(strings.TrimLeft(oneLine(s), ".;:, "))
	word, _, _ := strings.Cut(s, " ")
	if s == "" || slices.Contains(fields, word) {
		return s
	}
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:n]) + s[n:]
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
