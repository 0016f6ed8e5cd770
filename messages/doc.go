// Package messages holds what protoraft's actors say to each other.
//
// One .proto file a conversation: election, replication, log, membership,
// client. The comment of each message is its row in the catalogue: from → to,
// whether it crosses the wire or stays local, and what makes it stale. Commands
// are imperative (RequestVote), facts past tense (VoteGranted), and accepting and
// refusing are separate messages.
//
// A message is frozen once sent: sender and receiver share it.
//
// Formats evolve by adding fields; a field's number and meaning never change.
// The one hand-written encoding is EntryBlock (block.go), which is valid
// protobuf with a header of fixed layout.
//
// The generated code is committed. `make generate` makes it anew; a test fails
// when it and the .proto files differ in meaning.
package messages
