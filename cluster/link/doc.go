// Package link is the direct way between two nodes: one TCP connection for each
// ordered pair of them, which carries Raft's own messages and the answers to clients.
// Everything else, and everything while there is no link, goes by Proto.Actor's remote.
//
// A connection begins with Magic, then TLS where the cluster has it, then a hello of
// who calls and whom it looks for; the called one answers with Magic and a welcome or a
// refusal. From then on the caller sends messages and pings, the called one pongs:
//
//	frame   header, target, sender, body, attachment
//	header  16 bytes, little endian: size of what follows u32, kind u8, 0 u8,
//	        bytes of target u16, bytes of sender u16, 0 u16, bytes of body u32
//
// Target and sender are ids of actors, the first at the called node, the second at the
// calling one. The body is the message in protobuf, but for the block of an
// AppendEntries: that is the attachment, written from the leader's memory and read into
// the follower's without a copy between.
//
// A link is lossy, like the remote. It never makes a sender wait: what does not fit its
// queue is dropped and counted. A peer that shows no sign of life for Options.Silence is
// given up, with all that was queued for it.
package link
