// Counter is three server processes that keep one number, and a client that adds to
// it from outside. In four terminals:
//
//	go run ./examples/counter server --id 1
//	go run ./examples/counter server --id 2
//	go run ./examples/counter server --id 3
//	go run ./examples/counter client --delta 5
//
// Server 1 listens on 127.0.0.1:8081, server 2 on 8082, server 3 on 8083. Stop the
// one that leads, with Ctrl-C or kill -9, while the client counts: another takes
// over. Start it again: it catches up. The number survives even when all three stop.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/protoraft/protoraft/cluster"
)

const group = 1 // the servers could hold many counters, each its own group

func main() {
	root := &cobra.Command{
		Use:   "counter",
		Short: "A replicated counter: three servers and a client",
		Example: "  counter server --id 1   # and 2, and 3, each in a terminal of its own\n" +
			"  counter client --delta 5",
		SilenceUsage: true,
	}
	addresses := root.PersistentFlags().StringSlice("servers",
		[]string{"127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083"}, "addresses of server 1, 2 and 3, the same for everybody")
	root.AddCommand(serverCommand(addresses), clientCommand(addresses))
	if root.Execute() != nil { // it has printed the error
		os.Exit(1)
	}
}

// members gives each address its id: the first is server "1".
func members(addresses []string) []cluster.Member {
	var all []cluster.Member
	for i, address := range addresses {
		all = append(all, cluster.Member{ID: fmt.Sprint(i + 1), Address: address})
	}
	return all
}
