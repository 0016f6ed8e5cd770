package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cmd/node/web"
)

// transferCommand hands leadership over.
func transferCommand() *cobra.Command {
	var f adminFlags
	to := ""
	cmd := &cobra.Command{
		Use:   "transfer",
		Short: "Hand leadership over to another member",
		Long: `transfer has the leader hand over, to the member named or to the best one: of those
that keep up the one of the highest priority. Clients wait meanwhile, as a rule for
less than an election timeout. The leader's node must be among --http.`,
		Example: `  node transfer
  node transfer --to n2 --http 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return transfer(cmd.Context(), cmd.OutOrStdout(), &f, to)
		},
	}
	f.register(cmd, 10*time.Second, "how long to wait for the new leader")
	cmd.Flags().StringVar(&to, "to", "", "`id` of the member that is to lead (default: the best one)")
	return cmd
}

// transfer asks the nodes in turn until it was the leader's.
func transfer(ctx context.Context, out io.Writer, f *adminFlags, to string) error {
	var answer web.Leadership
	call := adminCall{method: http.MethodPost, path: "transfer", body: map[string]string{"to": to}, answer: &answer, timeout: time.Duration(f.timeout)}
	leader, unreached := "", 0
	for _, address := range f.addresses {
		err := call.at(ctx, address)
		var refused *adminError
		switch {
		case err == nil:
			return printLeadership(out, &answer, f.output)
		case errors.Is(err, errNotReached):
			unreached++
		case errors.As(err, &refused) && refused.Reason == "not_leader":
			if refused.Leader != "" {
				leader = refused.Leader
			}
		default:
			return err
		}
	}
	switch {
	case unreached == len(f.addresses):
		return unreachable("--http: none of %s answers, expected at least one node", strings.Join(f.addresses, ", "))
	case leader == "":
		return unreachable("no leader: no node that answers knows one")
	}
	return unreachable("--http: node %s leads and is not at any of %s, expected its HTTP address among them", leader, strings.Join(f.addresses, ", "))
}

func printLeadership(out io.Writer, l *web.Leadership, format string) error {
	switch {
	case format == "json":
		return printJSON(out, l)
	case l.Leader == "":
		_, err := fmt.Fprintln(out, "handed over; who leads is not known yet")
		return err
	}
	_, err := fmt.Fprintf(out, "node %s leads, term %d\n", l.Leader, l.Term)
	return err
}
