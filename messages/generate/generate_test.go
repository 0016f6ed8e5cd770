package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

const root = "../.."

// The committed Go code says what the .proto files say.
func TestGeneratedCodeIsUpToDate(t *testing.T) {
	for _, dir := range protoDirs {
		files, err := compileDir(root, dir)
		if err != nil {
			t.Fatal(err)
		}
		if dir == "messages" && len(files) == 0 {
			t.Fatal("no .proto files in messages/")
		}
		want := map[string]bool{}
		for _, f := range files {
			path := strings.TrimSuffix(f.Path(), ".proto") + ".pb.go"
			want[path] = true
			generated, err := generatedMeaning(filepath.Join(root, path))
			if err != nil {
				t.Errorf("%v; run make generate", err)
				continue
			}
			if !proto.Equal(generated, meaning(describe(f))) {
				t.Errorf("%s does not mean what %s says; run make generate", path, f.Path())
			}
		}
		present, err := filepath.Glob(filepath.Join(root, dir, "*.pb.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range present {
			if path := dir + "/" + filepath.Base(p); !want[path] {
				t.Errorf("%s has no .proto file", path)
			}
		}
	}
}

func TestCatalogueIsUpToDate(t *testing.T) {
	want, err := catalogue(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, cataloguePath))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date; run make generate", cataloguePath)
	}
}

// What the freshness test compares sees a change of meaning and overlooks one of
// words.
func TestMeaningSeesFieldsAndNotComments(t *testing.T) {
	compile := func(source string) []byte {
		t.Helper()
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "messages"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "messages", "a.proto"), []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		files, err := compileDir(dir, "messages")
		if err != nil {
			t.Fatal(err)
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(meaning(describe(files[0])))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const head = "syntax = \"proto3\";\n"
	one := compile(head + "// Said.\nmessage A { uint64 term = 1; }")
	if !bytes.Equal(one, compile(head+"\n// Said otherwise.\nmessage A {\n  uint64 term = 1; // with a word\n}")) {
		t.Error("a comment changed the meaning")
	}
	for _, changed := range []string{
		"message A { uint64 term = 2; }", "message A { int64 term = 1; }",
		"message A { uint64 turn = 1; }", "message A { uint64 term = 1; uint64 more = 2; }",
	} {
		if bytes.Equal(one, compile(head+changed)) {
			t.Errorf("%s means the same as the original", changed)
		}
	}
}

// The code generator accepts what compileDir makes, and what it answers means what
// is committed.
func TestGenerateMakesTheSameCode(t *testing.T) {
	if testing.Short() {
		t.Skip("runs protoc-gen-go")
	}
	files, err := compileDir(root, "messages")
	if err != nil {
		t.Fatal(err)
	}
	responses, err := runPlugin(root, files)
	if err != nil {
		t.Fatal(err)
	}
	if len(responses) != len(files) {
		t.Fatalf("%d files made of %d", len(responses), len(files))
	}
	for _, f := range responses {
		dir := t.TempDir()
		path := filepath.Join(dir, "made.pb.go")
		if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
			t.Fatal(err)
		}
		made, err := generatedMeaning(path)
		if err != nil {
			t.Fatal(err)
		}
		committed, err := generatedMeaning(filepath.Join(root, f.GetName()))
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(made, committed) {
			t.Errorf("%s is not what the generator makes", f.GetName())
		}
	}
}

func TestImportsComeFirst(t *testing.T) {
	files, err := compileDir(root, "messages")
	if err != nil {
		t.Fatal(err)
	}
	var before []string
	for _, f := range withImports(files) {
		for _, i := range f.Dependency {
			if !slices.Contains(before, i) {
				t.Errorf("%s stands before its import %s", f.GetName(), i)
			}
		}
		before = append(before, f.GetName())
	}
}

func TestGeneratedMeaningRefusesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.go")
	if err := os.WriteFile(path, []byte("package x\n\nconst a = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var f *descriptorpb.FileDescriptorProto
	f, err := generatedMeaning(path)
	if err == nil || !strings.Contains(err.Error(), "no embedded descriptor") {
		t.Errorf("got %v, %v, expected an error that names the missing descriptor", f, err)
	}
}

func TestParseRow(t *testing.T) {
	for _, c := range []struct {
		comment string
		want    row
		err     string
	}{
		{"Raft(a) → Raft(b), wire.\nDo it. Stale when term is low.", row{route: "Raft(a) → Raft(b)", medium: "wire", stale: "term is low", says: "Do it."}, ""},
		{"Clock → Raft, local. Stale when old.", row{route: "Clock → Raft", medium: "local", stale: "old"}, ""},
		{"A → B, who passes it to C, local; answered with D\nto it. Go.", row{route: "A → B, who passes it to C", medium: "local", says: "Answered with D to it. Go."}, ""},
		{"A → B, local; → C → C on the wire. Go.", row{route: "A → B; → C → C", medium: "local, wire", says: "Go."}, ""},
		{"A → B, local or wire: the answers.", row{route: "A → B", medium: "local or wire", says: "The answers."}, ""},
		{"A → B, wire. term is its own.", row{route: "A → B", medium: "wire", says: "term is its own."}, ""},
		{"A part of others.", row{says: "A part of others."}, ""},
		{"A → B. Says not how it travels.", row{}, "expected a comment like"},
	} {
		c.want.name, c.want.fields = "M", []string{"term"}
		got, err := parseRow("M", c.comment, []string{"term"})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: error %v, expected one with %q", c.comment, err, c.err)
			}
			continue
		}
		if err != nil || got.route != c.want.route || got.medium != c.want.medium || got.stale != c.want.stale || got.says != c.want.says {
			t.Errorf("%q: got %+v, %v\nexpected %+v", c.comment, got, err, c.want)
		}
	}
}
