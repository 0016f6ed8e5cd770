package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)\s#]+)(?:#[^)\s]*)?\)`)

// deadLinks returns the links of a page to files that do not exist.
func deadLinks(page, text string, exists func(path string) bool) (offences []string) {
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		target := m[1]
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		if p := filepath.Join(filepath.Dir(page), target); !exists(p) {
			offences = append(offences, fmt.Sprintf("%s: link to %s, which does not exist", page, target))
		}
	}
	return offences
}

func TestLinksAreAlive(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*/*.md", "test/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	if len(pages) == 0 {
		t.Fatal("no pages found")
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		report(t, deadLinks(page, string(text), func(p string) bool {
			_, err := os.Stat(p)
			return err == nil
		}))
	}
}

func TestDeadLinksAreSeen(t *testing.T) {
	exists := func(p string) bool { return p == "docs/A.md" || p == "README.md" }
	text := "[a](A.md) [b](../README.md#top) [c](https://example.org/x) [d](gone.md) [e](#here) [f](../A.md#x)"
	got := deadLinks("docs/B.md", text, exists)
	if len(got) != 2 || !strings.Contains(got[0], "gone.md") || !strings.Contains(got[1], "../A.md") {
		t.Errorf("offences %q, expected gone.md and ../A.md", got)
	}
}
