// Package snapshots keeps the snapshots of all groups of a node in files: it writes
// them, reads them, and receives them from elsewhere. It knows bytes and what they are
// of, and decides nothing.
//
// # Files
//
//	LOCK                                              held by the process that has the store open
//	GROUP/INCARNATION-INDEX.snapshot                  a finished one
//	GROUP/INCARNATION-INDEX-N.unfinished              being written
//	GROUP/INCARNATION-INDEX-SIZE-CHECKSUM.partial     being received
//
// The names' numbers have sixteen hexadecimal digits. A file gets the name of a
// finished snapshot only after its bytes were synced, by a rename, and that name is
// synced before anybody is told: a finished snapshot is whole, or its disk has damaged
// it. A crash leaves of a commit either all or nothing; of a replacement, the old or
// the new.
//
// # Layout
//
// Numbers are little endian, checksums CRC32C unless said otherwise.
//
//	"PRSNAPS\n"                8   the same in all versions, as are the next two
//	format version (1)         4
//	checksum of the above      4
//	length of the meta         4   at most 1 MiB
//	messages.SnapshotMeta      –
//	checksum of all above      4   the seed of the frames' checksums
//	frames                     –
//
//	frame: kind 1, length of the payload 4, payload, checksum 4
//	kind 1   a section begins   payload: its name, 1 to 64 bytes, unique in the file
//	kind 2   bytes of it        payload: 1 byte to 64 KiB less 9
//	kind 3   the end            payload: length of the file 8, checksum of the whole 8
//
// A frame's checksum covers the seed, the frame's offset in the file (8) and the frame:
// one from another file, or from elsewhere in this one, is damage. The checksum of the
// whole is the first eight bytes of the SHA-256 of all before the frame of the end.
// There are at most 64 sections. All frames of a section but its last are full, so the
// same meta and the same bytes make the same file, however they were written.
//
// # What a reader needs
//
// The meta, and one frame of 64 KiB. No frame's bytes are handed out before its
// checksum was right. Damage is an error wrapping logstore.ErrCorrupt that names file,
// section and offset; errors of the disk stay what they are.
//
// # When the disk fails
//
// A write, sync or rename that fails ends what it was part of and removes its file;
// the same can be tried again with a new one. The directory is swept of leftovers when
// the store opens and when a group's next snapshot begins.
package snapshots
