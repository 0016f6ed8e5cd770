package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Nodes in network namespaces of their own can be cut off from each other while the
// test reaches all of them. The test runs in a namespace too, with a bridge that every
// node's one interface leads to; all of it is gone with the processes.

const insideEnv = "PROTORAFT_IN_NETNS"

// nobody is a hardware address that no interface has: what is sent there is lost in
// silence, as behind a cable that was pulled.
const nobody = "02:00:00:00:00:99"

// inNamespace runs the test again in a network namespace with a bridge and returns
// true there. Where that cannot be had it skips the test.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		for _, command := range [][]string{
			{"link", "set", "lo", "up"},
			{"link", "add", "br0", "type", "bridge"},
			{"addr", "add", "10.77.0.254/24", "dev", "br0"},
			{"link", "set", "br0", "up"},
		} {
			if out, err := exec.Command("ip", command...).CombinedOutput(); err != nil {
				t.Skipf("ip %v: %v: %s", command, err, out)
			}
		}
		return true
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is needed (packages iproute2 and util-linux): %v", tool, err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	again := exec.Command(os.Args[0], append(os.Args[1:len(os.Args):len(os.Args)], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.testlogfile=")...)
	again.Env = append(os.Environ(), insideEnv+"="+binary)
	out := &bytes.Buffer{}
	again.Stdout, again.Stderr = out, out
	if err := startChildIn(again, syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	if err := again.Wait(); err != nil {
		t.Errorf("in a network namespace: %v", err)
	}
	t.Logf("in a network namespace:\n%s", out)
	if bytes.Contains(out.Bytes(), []byte("--- SKIP")) {
		t.Skip("skipped there")
	}
	return false
}

// plug is a node's place on the bridge.
type plug struct {
	n       *node
	number  int
	address string
}

func newPlug(n *node, number int) *plug {
	p := &plug{n: n, number: number, address: fmt.Sprintf("10.77.0.%d", number)}
	n.plug = p
	return p
}

// command runs the node in a namespace of its own, once it has been plugged in there.
func (p *plug) command(args []string) (cmd *exec.Cmd, plugIn func()) {
	cmd = exec.Command("sh", append([]string{"-c", `read go && exec "$0" "$@"`, binary}, args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.n.t.Fatal(err)
	}
	return cmd, func() {
		link := fmt.Sprint("v", p.number)
		_ = exec.Command("ip", "link", "del", link).Run() // of a life before, if it is still there
		p.run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(cmd.Process.Pid))
		p.run("ip", "link", "set", link, "master", "br0", "up")
		p.within(cmd.Process.Pid, "ip", "addr", "add", p.address+"/24", "dev", "eth0")
		p.within(cmd.Process.Pid, "ip", "link", "set", "eth0", "up")
		p.within(cmd.Process.Pid, "ip", "link", "set", "lo", "up")
		if _, err := stdin.Write([]byte("go\n")); err != nil {
			p.n.t.Fatal(err)
		}
		_ = stdin.Close()
	}
}

func (p *plug) run(name string, args ...string) {
	p.n.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.n.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func (p *plug) within(pid int, args ...string) {
	p.n.t.Helper()
	p.run("nsenter", append([]string{"-t", fmt.Sprint(pid), "-n"}, args...)...)
}

// sendsNothingTo keeps what this node sends from others, in one direction.
func (n *node) sendsNothingTo(others ...*node) {
	n.t.Helper()
	for _, o := range others {
		n.plug.within(n.process.Pid, "ip", "neigh", "replace", o.plug.address, "lladdr", nobody, "nud", "permanent", "dev", "eth0")
	}
}

// sendsAgainTo ends that. What is forgotten is asked for anew.
func (n *node) sendsAgainTo(others ...*node) {
	n.t.Helper()
	for _, o := range others {
		n.plug.within(n.process.Pid, "ip", "neigh", "del", o.plug.address, "dev", "eth0")
	}
}

// operate runs the program where the node runs, as its operator would.
func (n *node) operate(args ...string) ([]byte, error) {
	cmd := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(n.process.Pid), "-n", binary}, args...)...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := startChild(cmd); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("node %v at %s: %w: %s", args, n.id, err, complaint.Bytes())
	}
	return out.Bytes(), nil
}
