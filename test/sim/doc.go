// Package sim runs protoraft's own actors, unmodified and with their real codecs,
// on one thread from one seed: nodes, disks, links, clocks and clients are
// simulated, and every choice of order, delay and fault is drawn from the seed. The
// rules that must never be broken are checked at every step.
//
// The same seed gives the same run, to the last byte of every message.
//
//	world.go     the run: the loop, chaos, then heal, converge and scan
//	setup.go     what a seed draws: sizes, limits, faults and their rates
//	node.go      a process: actor system, store on its disk, members, crash, restart
//	mailbox.go   turns of a seeded size, in a seeded order
//	clock.go     virtual time, and each node's wrong idea of it
//	network.go   directed links that delay, lose, repeat, reorder and reset
//	chaos.go     what each strike does; strikes.go those that need more than a line
//	chance.go    where randomness comes from; decide.go what it decides, or a plan does
//	plan.go      a run told as its decisions; minimise.go the fewest that break a rule
//	machine.go   the replicated state; client.go who works on it
//	model.go     what the checks know of every member's log, in memory and on disk
//	check_*.go   one invariant, or a few that share their state, each; check_turn.go
//	             compares what an actor says in a turn with what it heard
//	guest.go     somebody else's state machine in a run, for package fsmtest
//	script*.go   a world without chance, for test/scenarios
package sim
