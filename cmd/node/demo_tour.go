package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/protoraft/protoraft/cmd/node/web"
)

// What the tour writes.
const (
	tourWrites   = 10_000
	missedWrites = 1_000 // while a node is dead
	pipeline     = 100   // commands sent before their replies are read
)

// stepTimeout bounds a step: what takes that long has failed.
const stepTimeout = 60 * time.Second

// tour is the demonstration, step by step. A minority of dead nodes is survived;
// where one node is no minority, it is restarted before anything is expected.
func (d *demo) tour(ctx context.Context) error {
	var leader *demoNode
	var term uint64
	began := time.Now()
	if err := d.measure(ctx, "leader elected", func(ctx context.Context) (string, error) {
		if err := d.startAll(); err != nil {
			return "", err
		}
		var err error
		leader, term, err = d.leader(ctx, d.nodes, 0)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s, term %d", leader.id, term), d.everyoneAnswers(ctx, d.nodes)
	}); err != nil {
		return err
	}
	if err := d.write(ctx, "writes acknowledged", 0, tourWrites); err != nil {
		return err
	}
	survives := len(d.nodes) > 2
	dead := leader
	killed := time.Now()
	if err := d.measure(ctx, "leader killed with SIGKILL", func(context.Context) (string, error) {
		pid := dead.cmd.Process.Pid
		dead.kill()
		return fmt.Sprintf("%s, process %d", dead.id, pid), nil
	}); err != nil {
		return err
	}
	written := tourWrites
	if survives {
		if err := d.succession(ctx, killed, term); err != nil {
			return err
		}
		if err := d.readBack(ctx, written); err != nil {
			return err
		}
		if err := d.write(ctx, "more writes without "+dead.id, written, missedWrites); err != nil {
			return err
		}
		written += missedWrites
	}
	if err := d.restart(ctx, dead, written); err != nil {
		return err
	}
	if !survives {
		if err := d.readBack(ctx, written); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.out, "\n  Nothing was lost. All of it took %s.\n", seconds(time.Since(began)))
	return nil
}

// measure runs a step and prints how it went and how long it took.
func (d *demo) measure(ctx context.Context, what string, step func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stepTimeout, fmt.Errorf("not done within %v", stepTimeout))
	defer cancel()
	d.step++
	began := time.Now()
	detail, err := step(ctx)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		detail = "interrupted"
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		detail = "FAILED"
	case err != nil:
		detail = "FAILED"
	}
	d.printStep(what, detail, time.Since(began))
	if err != nil {
		return fmt.Errorf("step %d, %s: %w", d.step, what, err)
	}
	return nil
}

// everyoneAnswers waits until every node answers a linearizable read.
func (d *demo) everyoneAnswers(ctx context.Context, nodes []*demoNode) error {
	for _, n := range nodes {
		c, err := dialRedis(ctx, n.resp)
		if err != nil {
			return fmt.Errorf("%s: %w", n.id, err)
		}
		_, err = c.do([]string{"DBSIZE"})
		c.close()
		if err != nil {
			return fmt.Errorf("%s: %w", n.id, err)
		}
	}
	return nil
}

func (d *demo) key(i int) string   { return fmt.Sprintf("demo:%05d", i) }
func (d *demo) value(i int) string { return fmt.Sprintf("%s:%d", d.run, i) }

// write sets the keys from first on, through every running node at the same time.
func (d *demo) write(ctx context.Context, what string, first, count int) error {
	nodes := d.running()
	what = grouped(count) + " " + what
	return d.measure(ctx, what, func(ctx context.Context) (string, error) {
		began := time.Now()
		errs := make([]error, len(nodes))
		var wait sync.WaitGroup
		for k, n := range nodes {
			from, to := first+count*k/len(nodes), first+count*(k+1)/len(nodes)
			wait.Go(func() {
				errs[k] = d.inPipelines(ctx, n, from, to,
					func(i int) []string { return []string{"SET", d.key(i), d.value(i)} },
					func(int) string { return "OK" })
			})
		}
		wait.Wait()
		rate := float64(count) / time.Since(began).Seconds()
		return fmt.Sprintf("%s/s by RESP through %s", grouped(int(rate)), names(nodes)), errors.Join(errs...)
	})
}

// readBack reads what was written through every running node, in full.
func (d *demo) readBack(ctx context.Context, count int) error {
	nodes := d.running()
	return d.measure(ctx, "every write read back", func(ctx context.Context) (string, error) {
		errs := make([]error, len(nodes))
		var wait sync.WaitGroup
		for k, n := range nodes {
			wait.Go(func() {
				errs[k] = d.inPipelines(ctx, n, 0, count,
					func(i int) []string { return []string{"GET", d.key(i)} }, d.value)
			})
		}
		wait.Wait()
		return fmt.Sprintf("%s of %s, linearizable, from %s", grouped(count), grouped(count), names(nodes)), errors.Join(errs...)
	})
}

// inPipelines sends the commands from first to before end and compares the replies.
func (d *demo) inPipelines(ctx context.Context, n *demoNode, first, end int, command func(int) []string, want func(int) string) error {
	c, err := dialRedis(ctx, n.resp)
	if err != nil {
		return fmt.Errorf("%s: %w", n.id, err)
	}
	defer c.close()
	for from := first; from < end; from += pipeline {
		var commands [][]string
		for i := from; i < min(from+pipeline, end); i++ {
			commands = append(commands, command(i))
		}
		replies, err := c.do(commands...)
		if err != nil {
			return fmt.Errorf("%s: %w", n.id, err)
		}
		for k, got := range replies {
			if got == nil {
				return fmt.Errorf("%s: %s: nothing, expected %q", n.id, strings.Join(commands[k], " "), want(from+k))
			}
			if *got != want(from+k) {
				return fmt.Errorf("%s: %s: %q, expected %q", n.id, strings.Join(commands[k], " "), *got, want(from+k))
			}
		}
	}
	return nil
}

// succession waits for the next leader. It counts once a write through it is
// acknowledged, and must within three election timeouts of the kill.
func (d *demo) succession(ctx context.Context, killed time.Time, term uint64) error {
	const limit = 3 * demoElectionTimeout
	return d.measure(ctx, "new leader answers", func(ctx context.Context) (string, error) {
		leader, term, err := d.leader(ctx, d.running(), term)
		if err != nil {
			return "", err
		}
		c, err := dialRedis(ctx, leader.resp)
		if err != nil {
			return "", fmt.Errorf("%s: %w", leader.id, err)
		}
		defer c.close()
		if _, err := c.do([]string{"SET", "demo:leader", leader.id}); err != nil {
			return "", fmt.Errorf("%s: %w", leader.id, err)
		}
		took := time.Since(killed)
		if took > limit {
			return "", fmt.Errorf("%s acknowledged a write %s after the kill, expected within three election timeouts (%s)", leader.id, seconds(took), seconds(limit))
		}
		return fmt.Sprintf("%s, term %d: a write acknowledged %s after the kill (at most %s)", leader.id, term, seconds(took), seconds(limit)), nil
	})
}

// restart starts the dead node again and waits until it has applied what it missed.
func (d *demo) restart(ctx context.Context, n *demoNode, written int) error {
	what := n.id + " restarted and caught up"
	return d.measure(ctx, what, func(ctx context.Context) (string, error) {
		if err := d.start(n); err != nil {
			return "", err
		}
		at := slices.Index(d.nodes, n)
		var applied uint64
		err := d.until(ctx, d.nodes, func(statuses []*web.GroupStatus) bool {
			// A leader that is new has all that is committed, and does not know it yet.
			var last uint64
			for _, g := range statuses {
				if g != nil && g.Role == "leader" {
					last = max(last, g.LastIndex)
				}
			}
			if g := statuses[at]; g != nil {
				applied = g.AppliedIndex
			}
			return last > 0 && applied >= last
		})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s log entries applied, the last write among them", grouped(int(applied))), d.hasItself(ctx, n, written-1)
	})
}

// hasItself asks the node for a value it must answer from what it has applied.
func (d *demo) hasItself(ctx context.Context, n *demoNode, i int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+"/v1/kv/"+d.key(i)+"?consistency=stale", nil)
	if err != nil {
		return err
	}
	res, err := directHTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, statusBytesMax))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || string(body) != d.value(i) {
		return fmt.Errorf("%s: GET %s: HTTP %d %q, expected %q", n.id, d.key(i), res.StatusCode, body, d.value(i))
	}
	return nil
}

// restartDelay lets a node that somebody has killed be dead for a while.
const restartDelay = 3 * time.Second

// watch keeps the nodes up until ctx ends: kill one to see what happens.
func (d *demo) watch(ctx context.Context) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	died := map[*demoNode]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, n := range d.nodes {
			if n.running() {
				continue
			}
			at, noted := died[n]
			switch {
			case !noted:
				died[n] = time.Now()
				fmt.Fprintf(d.out, "  %s has ended (%v), restarting it in %v\n", n.id, howEnded(n.err), restartDelay)
			case time.Since(at) >= restartDelay:
				delete(died, n)
				if err := d.start(n); err != nil {
					fmt.Fprintf(d.out, "  %s cannot be started: %v\n", n.id, err)
					continue
				}
				fmt.Fprintf(d.out, "  %s is started again, process %d\n", n.id, n.cmd.Process.Pid)
			}
		}
	}
}
