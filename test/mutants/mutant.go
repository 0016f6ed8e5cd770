package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mutant is one patch.
type mutant struct {
	file      string // base name
	path      string
	name      string
	catalogue string
	idea      string
	// killer is who should notice: a package with the name of a test, or "sim" with
	// the name of an invariant.
	killer    killer
	seeds     int    // of simulation it may live through; 0 where that is no part of the proof
	unreached string // why it is none
	liveness  bool   // a proof that hangs has killed it
	packages  []string
}

type killer struct{ where, what string }

func (k killer) sim() bool { return k.where == "sim" }

const folder = "test/mutants"

// repository is the root of the tree this command belongs to.
func repository() (string, error) {
	out, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("git rev-parse: %w: expected to be run within the repository", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func readMutants(root string) ([]*mutant, error) {
	paths, err := filepath.Glob(filepath.Join(root, folder, "*.patch"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var all []*mutant
	for _, path := range paths {
		m, err := readMutant(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, m)
	}
	return all, nil
}

var (
	fileName = regexp.MustCompile(`^[0-9]{3,4}-([a-z0-9-]+)\.patch$`)
	touched  = regexp.MustCompile(`(?m)^\+\+\+ b/(.+)/[^/]+\.go$`)
)

func readMutant(path string) (*mutant, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := &mutant{file: filepath.Base(path), path: path}
	head, _, found := strings.Cut(string(text), "\ndiff --git ")
	if !found {
		return nil, errors.New(`no line "diff --git"`)
	}
	seeds := ""
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Mutant":
			m.name = value
		case "Catalogue":
			m.catalogue = value
		case "Idea":
			m.idea = value
		case "Killer":
			m.killer.where, m.killer.what, _ = strings.Cut(value, " ")
		case "Seeds":
			seeds = value
		case "Unreached":
			m.unreached = value
		case "Liveness":
			m.liveness = true
		case "":
		default:
			return nil, fmt.Errorf("header line %q, expected Mutant, Catalogue, Idea, Killer, Seeds, Unreached or Liveness", key)
		}
	}
	for _, match := range touched.FindAllStringSubmatch(string(text), -1) {
		if p := "./" + match[1]; !slices.Contains(m.packages, p) {
			m.packages = append(m.packages, p)
		}
	}
	return m, m.check(seeds)
}

// check names the first thing in a header that cannot be.
func (m *mutant) check(seeds string) (err error) {
	named := fileName.FindStringSubmatch(m.file)
	switch m.seeds, err = strconv.Atoi(seeds); {
	case err != nil || m.seeds < 0:
		return fmt.Errorf("header Seeds: %q, expected a number, 0 where simulation is no part of the proof", seeds)
	case named == nil || named[1] != m.name:
		return fmt.Errorf("header Mutant: %q, expected the name of the file without its number", m.name)
	case m.idea == "" || m.catalogue == "":
		return errors.New("header Idea or Catalogue is missing")
	case m.killer.what == "" || !m.killer.sim() && !strings.HasPrefix(m.killer.where, "./"):
		return fmt.Errorf("header Killer: %q %q, expected a package and a test, or sim and an invariant", m.killer.where, m.killer.what)
	case m.killer.sim() && m.seeds == 0:
		return errors.New("header Seeds: 0, but simulation is the killer")
	case (m.seeds == 0) != (m.unreached != ""):
		return fmt.Errorf("header Seeds: %d, Unreached: %q, expected why simulation is no part of the proof where Seeds is 0, and only there", m.seeds, m.unreached)
	case len(m.packages) == 0:
		return errors.New("no Go file is changed")
	}
	return nil
}

// workCopy is a copy of the tree, uncommitted changes included.
type workCopy struct{ dir string }

func newCopy(root string) (c *workCopy, err error) {
	list := exec.Command("git", "ls-files", "-z", "-co", "--exclude-standard")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	c = &workCopy{}
	if c.dir, err = os.MkdirTemp("", "mutants"); err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if err := c.take(root, name); err != nil {
			c.remove()
			return nil, err
		}
	}
	return c, nil
}

func (c *workCopy) take(root, name string) error {
	from, to := filepath.Join(root, name), filepath.Join(c.dir, name)
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed and not yet committed
	}
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, info.Mode().Perm())
}

func (c *workCopy) remove() { os.RemoveAll(c.dir) }

// apply plants a bug; with "-R" it takes it out again.
func (c *workCopy) apply(m *mutant, flags ...string) error { return gitApply(c.dir, m.path, flags...) }

func gitApply(dir, patch string, flags ...string) error {
	cmd := exec.Command("git", append(append([]string{"apply"}, flags...), patch)...)
	cmd.Dir = dir
	// A copy may lie within some other repository, which is none of its business.
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git apply: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
