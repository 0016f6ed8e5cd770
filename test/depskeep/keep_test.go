package depskeep

import (
	_ "github.com/anishathalye/porcupine"
	_ "github.com/bufbuild/protocompile"
	_ "github.com/cockroachdb/datadriven"
	_ "github.com/gofrs/flock"
	_ "github.com/hashicorp/go-hclog"
	_ "github.com/redis/go-redis/v9"
	_ "github.com/spf13/cobra"
	_ "github.com/syndtr/goleveldb/leveldb"
	_ "github.com/tidwall/btree"
	_ "github.com/tidwall/redcon"
	_ "go.uber.org/goleak"
	_ "google.golang.org/grpc"
	_ "golang.org/x/sys/unix"
	_ "github.com/asynkron/protoactor-go/remote"
)
