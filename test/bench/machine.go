package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// setting says where and with what something was measured.
func setting(s spec, impls []string) string {
	var b strings.Builder
	say := func(what, value string) {
		if value != "" {
			fmt.Fprintf(&b, "- %s: %s\n", what, value)
		}
	}
	say("begun", time.Now().UTC().Format(time.RFC3339))
	say("machine", fmt.Sprintf("%s, %d cores, %s RAM", field("/proc/cpuinfo", "model name"), runtime.NumCPU(), field("/proc/meminfo", "MemTotal")))
	say("kernel", line("/proc/sys/kernel/osrelease"))
	dir := s.Dir
	if dir == "" {
		dir = os.TempDir()
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	if absolute, err := filepath.Abs(dir); err == nil {
		say("data directories on", mountOf(string(mounts), absolute))
	}
	say("load of the machine when it began (1, 5, 15 minutes)", firstFields(line("/proc/loadavg"), 3))
	say("Go", runtime.Version())
	for _, v := range versions(impls) {
		say(v[0], v[1])
	}
	asked := "by the calls that return before the answer"
	if s.Calls {
		asked = "a goroutine for each operation"
	}
	say("settings", fmt.Sprintf("%v to warm up, %v measured; GOMAXPROCS %d in each of three processes; %s", s.Warm, s.Dur, runtime.GOMAXPROCS(0), asked))
	return b.String()
}

// versions tells each library's, this one's by its revision.
func versions(impls []string) (vs [][2]string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, impl := range impls {
		module := libraries[impl].module
		version := ""
		for _, dep := range info.Deps {
			if dep.Path == module {
				version = dep.Version
			}
		}
		if module == ourModule {
			version = revision()
		}
		vs = append(vs, [2]string{impl, strings.TrimSpace(module + " " + version)})
	}
	return vs
}

// revision is the commit of this folder's repository, with a mark where the files
// differ; empty where git does not know.
func revision() string {
	head, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	said := strings.TrimSpace(string(head))
	if changed, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no").Output(); err != nil || len(changed) > 0 {
		said += " and changes"
	}
	return said
}

// mountOf is device and type of the file system that holds a path.
func mountOf(mounts, path string) string {
	longest, said := -1, ""
	for _, l := range strings.Split(mounts, "\n") {
		f := strings.Fields(l)
		if len(f) < 3 {
			continue
		}
		at := strings.TrimSuffix(f[1], "/")
		if (path == at || strings.HasPrefix(path, at+"/")) && len(at) >= longest {
			longest, said = len(at), fmt.Sprintf("%s (%s)", f[0], f[2])
		}
	}
	return said
}

// field is the first "name : value" of a file.
func field(path, name string) string {
	text, _ := os.ReadFile(path)
	for _, l := range strings.Split(string(text), "\n") {
		if key, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func line(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

func firstFields(s string, n int) string {
	f := strings.Fields(s)
	return strings.Join(f[:min(n, len(f))], " ")
}

// comparison is the Markdown of a comparison.
func comparison(head string, outcomes []outcome) string {
	var b strings.Builder
	b.WriteString("# Comparison\n\n" + head)
	for _, table := range []string{loadTable(outcomes), failoverTable(outcomes)} {
		if table != "" {
			b.WriteString("\n" + table)
		}
	}
	told := map[string]bool{}
	for _, o := range outcomes {
		if names := leftOut(o.spec); len(names) > 0 && !told[o.Workload] {
			told[o.Workload] = true
			fmt.Fprintf(&b, "\n%s is not run with %s: they have one group a process.\n", o.Workload, strings.Join(slices.Sorted(slices.Values(names)), " and "))
		}
	}
	return b.String()
}
