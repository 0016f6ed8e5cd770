package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
	"github.com/protoraft/protoraft/fsm/counter"
)

func clientCommand(addresses *[]string) *cobra.Command {
	var delta int64
	var times int
	var every time.Duration
	cmd := &cobra.Command{
		Use:     "client [--delta N] [--times N]",
		Short:   "Add to the counter, printing each result, and read it",
		Example: "  counter client --delta -3 --times 1000 --every 10ms",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			client, err := cluster.Dial(cluster.NewSystem(nil), cluster.ClientOptions{Members: members(*addresses)})
			if err != nil {
				return err
			}
			defer client.Close()
			return count(ctx, client, cmd.OutOrStdout(), delta, times, every)
		},
	}
	cmd.Flags().Int64Var(&delta, "delta", 1, "what to add, also below 0")
	cmd.Flags().IntVar(&times, "times", 10, "how often; 0 only reads")
	cmd.Flags().DurationVar(&every, "every", 0, "pause between additions, such as 100ms")
	return cmd
}

// count adds delta that many times, one after the other, then reads.
func count(ctx context.Context, client *cluster.Client, out io.Writer, delta int64, times int, every time.Duration) error {
	leader, err := client.Leader(ctx, group)
	if err != nil {
		return fmt.Errorf("find the leader: %w", err)
	}
	fmt.Fprintf(out, "leader is server %s at %s\n", leader.ID, leader.Address)

	done, begin := 0, time.Now()
	for i := 0; i < times && ctx.Err() == nil; i++ {
		start := time.Now()
		reply, err := client.Propose(ctx, group, counter.Add(delta))
		took := time.Since(start).Round(time.Microsecond)
		switch {
		case err == nil:
			value, err := counter.Parse(reply)
			if err != nil {
				return err
			}
			done++
			fmt.Fprintf(out, "add %+d: %d  (%v)\n", delta, value, took)
		case cluster.OutcomeOf(err) == cluster.Unknown:
			// Sent again for as long as the request timeout, and no answer. Adding it
			// anew could count twice, so that is for a person to decide; here we go on.
			fmt.Fprintf(out, "add %+d: %v  (%v)\n", delta, err, took)
		default:
			return err
		}
		pause(ctx, every)
	}
	if done > 0 {
		fmt.Fprintf(out, "%d acknowledged in %v\n", done, time.Since(begin).Round(time.Microsecond))
	}

	start := time.Now()
	answer, err := client.Query(context.WithoutCancel(ctx), group, counter.Read(), cluster.Linearizable)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	value, err := counter.Parse(answer)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "read: %d  (%v)\n", value, time.Since(start).Round(time.Microsecond))
	return nil
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
