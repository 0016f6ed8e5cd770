# Nothing here is needed to use the project: `go run ./cmd/node demo` and
# `go test ./...` are. These are for working on it.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: verify test race generate bench fuzz kills mutants

# verify changes nothing.
verify:
	@unformatted="$$(gofmt -l .)"; if [ -n "$$unformatted" ]; then echo "gofmt -w needed:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	cd test/bench && go vet ./...
	go run $(STATICCHECK) ./...

test:
	go test ./...

# race keeps the detector out of gRPC's logger, which Proto.Actor's remote sets while
# other remotes of the process may be using it.
race:
	PROTORAFT_RACE_REMOTES=1 go test -race '-gcflags=google.golang.org/grpc/grpclog/...=-race=false -l' ./...

# generate remakes messages/*.pb.go and docs/MESSAGES.md. It needs no protoc.
generate:
	go run ./messages/generate

# bench compares with other libraries; test/bench/README.md says how.
bench:
	cd test/bench && go run . -all

# kills runs real processes and kills them, far more often than go test does.
kills:
	go test ./test/cluster -count=1 -timeout 60m -cluster.kills=50

fuzz:
	go test ./messages -run '^$$' -fuzz FuzzBlock -fuzztime 1m
	for f in FuzzFile FuzzTold FuzzOps; do go test ./logstore/journal -run '^$$' -fuzz "^$$f$$" -fuzztime 1m || exit 1; done
	for f in FuzzApply FuzzExec FuzzParseReply FuzzRestore; do go test ./fsm/kv -run '^$$' -fuzz "^$$f$$" -fuzztime 1m || exit 1; done
	for f in FuzzApply FuzzRestore; do go test ./fsm/lock -run '^$$' -fuzz "^$$f$$" -fuzztime 1m || exit 1; done
	for f in FuzzFrames FuzzHello FuzzServe; do go test ./cluster/link -run '^$$' -fuzz "^$$f$$" -fuzztime 1m || exit 1; done

# mutants plants known bugs in a copy of the tree, one at a time, and fails when one
# is not noticed. test/mutants/README.md has the flags.
mutants:
	go run ./test/mutants $(MUTANTS)
