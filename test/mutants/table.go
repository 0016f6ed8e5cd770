package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// summarize prints the table and returns how many mutants were not killed.
func summarize(to io.Writer, verdicts []verdict) (alive int) {
	fmt.Fprintln(to)
	t := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "mutant\tcatalogue\tkilled by\tseeds\ttime")
	var seeds []int
	for _, v := range verdicts {
		by, n := v.by, "-"
		switch {
		case v.broken != "":
			by = "BROKEN"
		case by == "":
			by = "SURVIVES"
		case !v.expected:
			by += " (not the one expected)"
		}
		if v.seeds > 0 {
			n = fmt.Sprint(v.seeds)
			seeds = append(seeds, v.seeds)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%v\n", v.name, v.catalogue, by, n, v.took.Round(100*time.Millisecond))
	}
	t.Flush()
	for _, v := range verdicts {
		if v.by == "" {
			alive++
			fmt.Fprintf(to, "\n%v\n\t%s\n", v, v.idea)
		}
	}
	fmt.Fprintf(to, "\n%d mutants, %d not killed", len(verdicts), alive)
	if len(seeds) > 0 {
		slices.Sort(seeds)
		fmt.Fprintf(to, "; by simulation %d, median seed %d, last %d", len(seeds), seeds[len(seeds)/2], seeds[len(seeds)-1])
	}
	fmt.Fprintln(to)
	return alive
}
