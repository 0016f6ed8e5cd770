package lint

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// coreImports is what a pure decision needs: no clock, chance, file or network,
// and no actor.
var coreImports = []string{"bytes", "cmp", "errors", "fmt", "iter", "maps", "math", "math/bits", "slices", "sort", "strconv", "strings"}

func coreIsPure(files []source) (offences []string) {
	for _, s := range files {
		for _, i := range s.file.Imports {
			if p := importPath(i); !slices.Contains(coreImports, p) {
				offences = append(offences, s.at(i, "actors/core imports %q; it may import %s", p, strings.Join(coreImports, ", ")))
			}
		}
	}
	return offences
}

func TestCoreIsPure(t *testing.T) {
	files := tree(t, "actors/core", func(p string) bool { return !isTest(p) })
	if len(files) == 0 {
		t.Fatal("actors/core has no files")
	}
	report(t, coreIsPure(files))
	checkPlanted(t, coreIsPure, []planted{
		{"allowed", "actors/core/x.go", "package core\nimport (\"fmt\"; \"slices\")", ""},
		{"time", "actors/core/x.go", "package core\nimport \"time\"", `imports "time"`},
		{"rand", "actors/core/x.go", "package core\nimport r \"math/rand/v2\"", `imports "math/rand/v2"`},
		{"os", "actors/core/x.go", "package core\nimport _ \"os\"", `imports "os"`},
		{"messages", "actors/core/x.go", "package core\nimport \"" + module + "/messages\"", "/messages"},
		{"actor", "actors/core/x.go", "package core\nimport \"github.com/asynkron/protoactor-go/actor\"", "protoactor-go"},
	})
}

// layers, lowest first. A package may import packages of lower layers, and those of
// its own folder.
var layers = [][]string{
	{"messages", "fsm", "actors/core", "actors/mailbox"},
	{"logstore"},
	{"actors"},
	{"cluster"},
	{"cmd", "examples"},
	{"test"},
	{"fsm/fsmtest"}, // runs machines in test/sim; only tests import it
}

// folderOf returns the folder of layers a package belongs to, and its layer.
func folderOf(dir string) (folder string, layer int, ok bool) {
	for i, folders := range layers {
		for _, f := range folders {
			if (dir == f || strings.HasPrefix(dir, f+"/")) && len(f) > len(folder) {
				folder, layer, ok = f, i, true
			}
		}
	}
	return folder, layer, ok
}

func importsPointDown(files []source) (offences []string) {
	for _, s := range files {
		folder, layer, ok := folderOf(path.Dir(s.path))
		if !ok {
			offences = append(offences, s.at(s.file, "package outside the folders of the house: %v", layers))
			continue
		}
		for _, i := range s.file.Imports {
			target, ours := strings.CutPrefix(importPath(i), module+"/")
			if !ours {
				continue
			}
			if f, l, ok := folderOf(target); !ok || f != folder && l >= layer {
				offences = append(offences, s.at(i, "%s imports %s, which is not below it", folder, target))
			}
		}
	}
	return offences
}

func TestImportsPointDown(t *testing.T) {
	report(t, importsPointDown(tree(t, ".", func(p string) bool { return !isTest(p) })))
	from := func(dir, target string) (string, string) {
		return dir + "/x.go", "package x\nimport _ \"" + module + "/" + target + "\""
	}
	var cases []planted
	for _, c := range [][3]string{
		{"cmd/node", "cluster", ""}, {"cmd/node", "cmd/node/resp", ""}, {"cluster", "actors", ""},
		{"actors", "actors/core", ""}, {"actors", "fsm", ""}, {"logstore/level", "messages", ""},
		{"fsm/kv", "fsm", ""}, {"test/sim", "actors", ""},
		{"fsm/fsmtest", "test/sim", ""}, {"fsm/fsmtest", "fsm", ""},
		{"fsm/kv", "fsm/fsmtest", "not below"}, {"examples/fsmtest", "fsm/fsmtest", "not below"},
		{"actors", "cluster", "not below"}, {"cluster", "cmd/node", "not below"}, {"messages", "fsm", "not below"},
		{"logstore", "actors", "not below"}, {"actors/mailbox", "actors", "not below"}, {"fsm", "messages", "not below"},
		{"cluster", "test/sim", "not below"}, {"examples/kv", "cmd/node", "not below"},
		{"cluster", "helpers", "not below"}, {"elsewhere", "messages", "outside the folders"},
	} {
		p, text := from(c[0], c[1])
		cases = append(cases, planted{c[0] + "→" + c[1], p, text, c[2]})
	}
	checkPlanted(t, importsPointDown, cases)
}

// A package is named after what it does.
func namesSaySomething(files []source) (offences []string) {
	for _, s := range files {
		switch name := s.file.Name.Name; name {
		case "util", "utils", "common", "types", "helpers", "misc":
			offences = append(offences, s.at(s.file, "package named %s: name it after what it does", name))
		}
	}
	return offences
}

func TestPackageNamesSaySomething(t *testing.T) {
	report(t, namesSaySomething(tree(t, ".", func(string) bool { return true })))
	checkPlanted(t, namesSaySomething, []planted{
		{"fine", "fsm/kv/x.go", "package kv", ""},
		{"util", "fsm/util/x.go", "package util", "package named util"},
		{"common", "fsm/common/x.go", "package common", "package named common"},
		{"types", "fsm/types/x.go", "package types", "package named types"},
	})
}

var topLevel = []string{"actors", "messages", "logstore", "fsm", "cluster", "cmd", "examples", "test", "docs"}

func strayFolders(names []string) (offences []string) {
	for _, n := range names {
		if !strings.HasPrefix(n, ".") && !slices.Contains(topLevel, n) {
			offences = append(offences, "folder "+n+" at the top; the house has "+strings.Join(topLevel, ", "))
		}
	}
	return offences
}

func TestTopLevelFolders(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	report(t, strayFolders(names))
	if got := strayFolders([]string{"actors", ".ci", "pkg"}); len(got) != 1 || !strings.Contains(got[0], "folder pkg") {
		t.Errorf("offences %q, expected one about pkg", got)
	}
}
