package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gofrs/flock"

	"github.com/protoraft/protoraft/cluster"
)

// demoDir is where a demo keeps its nodes' data and logs.
type demoDir struct {
	path      string
	temporary bool
	lock      *flock.Flock
	members   []cluster.Member

	passedOver []int // ports that were taken
}

// Files of a demo's directory, beside one directory and one log a node.
const (
	demoMarker  = "demo.json"
	demoLock    = "demo.lock"
	demoFormat  = 1
	markerBytes = 64 << 10 // no marker is larger
)

// demoFile is the marker. The nodes' addresses are in their logs, so a demo that
// goes on with a directory needs the same ones.
type demoFile struct {
	Format int               `json:"format"`
	Nodes  []demoFileAddress `json:"nodes"`
}

type demoFileAddress struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

// openDemoDir makes a temporary directory, or opens the one asked for: a new or
// empty one, or an earlier demo's.
func openDemoDir(f *demoFlags) (_ *demoDir, err error) {
	d := &demoDir{path: f.dir, temporary: f.dir == ""}
	if d.temporary {
		if d.path, err = os.MkdirTemp("", "protoraft-demo-"); err != nil {
			return nil, fmt.Errorf("cannot make a temporary directory: %w (--dir names another)", err)
		}
	}
	if err := d.claim(f); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *demoDir) claim(f *demoFlags) error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return fmt.Errorf("--dir %s: %w", d.path, err)
	}
	known, err := d.read(f)
	if err != nil {
		return err
	}
	d.lock = flock.New(filepath.Join(d.path, demoLock), flock.SetPermissions(0o600))
	if locked, err := d.lock.TryLock(); err != nil || !locked {
		if err == nil {
			err = errors.New("a demo is running in it, expected a directory of its own")
		}
		return fmt.Errorf("--dir %s: %w", d.path, err)
	}
	if known {
		return d.checkPorts()
	}
	return d.create(f)
}

// read tells whether the directory is an earlier demo's.
func (d *demoDir) read(f *demoFlags) (known bool, err error) {
	name := filepath.Join(d.path, demoMarker)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, d.checkEmpty()
	}
	if err != nil {
		return false, fmt.Errorf("--dir %s: %w", d.path, err)
	}
	var file demoFile
	raw := []byte{}
	if info.Mode().IsRegular() && info.Size() <= markerBytes {
		if raw, err = os.ReadFile(name); err != nil {
			return false, fmt.Errorf("--dir %s: %w", d.path, err)
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil || file.Format != demoFormat || len(file.Nodes) == 0 {
		return false, fmt.Errorf("--dir %s: %s is not of this version's demo, expected format %d", d.path, demoMarker, demoFormat)
	}
	for _, n := range file.Nodes {
		d.members = append(d.members, cluster.Member{ID: n.ID, Address: n.Address})
	}
	if f.nodesSet && f.nodes != len(d.members) {
		return false, usage("--nodes %d, but --dir %s holds a demo of %d nodes", f.nodes, d.path, len(d.members))
	}
	return true, nil
}

func (d *demoDir) checkEmpty() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("--dir %s: %w", d.path, err)
	}
	for _, e := range entries {
		if e.Name() != demoLock {
			return fmt.Errorf("--dir %s: holds %s and is not a demo's, expected a new or empty directory, or one that a demo has made", d.path, e.Name())
		}
	}
	return nil
}

// checkPorts: the nodes must be found where their logs say they are.
func (d *demoDir) checkPorts() error {
	for _, m := range d.members {
		l, err := net.Listen("tcp", m.Address)
		if err != nil {
			return fmt.Errorf("--dir %s: its node %s has the address %s, which cannot be had: %w; expected it free, or another --dir", d.path, m.ID, m.Address, err)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (d *demoDir) create(f *demoFlags) error {
	ports, passedOver, err := freePorts(f.nodePort, f.nodes)
	if err != nil {
		return err
	}
	d.passedOver = passedOver
	file := demoFile{Format: demoFormat}
	for i, port := range ports {
		id := "n" + strconv.Itoa(i+1)
		d.members = append(d.members, cluster.Member{ID: id, Address: loopback(port)})
		file.Nodes = append(file.Nodes, demoFileAddress{ID: id, Address: loopback(port)})
	}
	raw, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.path, demoMarker), append(raw, '\n'), 0o600)
}

// close gives the directory up and removes a temporary one.
func (d *demoDir) close() error {
	var err error
	if d.lock != nil {
		err = d.lock.Close()
	}
	if d.temporary {
		err = errors.Join(err, os.RemoveAll(d.path))
	}
	return err
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts finds n ports that are free now: from first on, passing over those that
// are taken; any where first is 0.
func freePorts(first, n int) (ports, passedOver []int, err error) {
	var held []net.Listener // until all are found, so that none is found twice
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for next := first; len(ports) < n; next++ {
		port := next
		if first == 0 || next > 65535 {
			port = 0
		}
		l, err := net.Listen("tcp", loopback(port))
		if err != nil && port == 0 {
			return nil, nil, fmt.Errorf("no free port on 127.0.0.1: %w", err)
		}
		if err != nil {
			passedOver = append(passedOver, port)
			continue
		}
		held = append(held, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, passedOver, nil
}
