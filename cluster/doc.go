// Package cluster is protoraft for embedding: start a node in an actor system,
// spawn members of groups on it, propose commands and ask queries.
//
//	system := cluster.NewSystem(logger)
//	node, err := cluster.Start(system, cluster.Options{
//		ID:      "n1",
//		Members: []cluster.Member{{ID: "n1", Address: "127.0.0.1:7001"}, …},
//		DataDir: "data/n1",
//	})
//	pid, err := node.StartGroup(1, machine)
//	reply, err := node.Client().Propose(ctx, 1, command)
//
// A process that is no node reaches the cluster by Dial and has the same Client.
//
// Members change while the cluster works: start the new node with Options.Join, its
// group too, then have any Client add it, in the place of another if you like:
//
//	members, err := client.ReplaceMember(ctx, 1, "n1", cluster.Member{ID: "n4", Address: "127.0.0.1:7004"})
//
// A node that moves to another address keeps its id and its data: see MoveMember.
//
// A member is an ordinary actor: spawn it yourself with node.Props and SpawnNamed,
// under the same name on every node, and send it *messages.Propose and
// *messages.Query; it answers the sender with *messages.Results. LeaderChanged and
// MemberFailed of package actors appear on the system's EventStream.
//
// The algorithm is that of the Raft paper (Ongaro, Ousterhout: In Search of an
// Understandable Consensus Algorithm, extended version) with pre-vote,
// check-quorum and ReadIndex as in Ongaro's thesis, §9.6, §6.2 and §6.4.
package cluster
