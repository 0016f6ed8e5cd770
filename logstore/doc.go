// Package logstore is the contract between Raft and the disk: [Store] keeps the log
// blocks, terms and votes of all groups of a node. Package level is the engine,
// over goleveldb; memory is for tests; storetest is what an engine must pass; vfs is
// the file system below it.
//
// # What a disk may do
//
// Assumed: a sync that succeeded covers what was written to its file before; a
// rename is atomic; a sector of 512 bytes is written whole or not at all; a sector
// that never reached the disk reads as zeros, or as what it held before.
//
// Not assumed: that anything else is ordered. Of what no sync covered, any sectors
// may survive in any combination, the length of a file may run ahead of its bytes,
// and a name that was created, renamed or removed may be back after a crash until
// its directory was synced. After a failed sync nothing is known of the file, also
// when the next sync succeeds; therefore an engine that saw a failure writes no more.
//
// # Keys and values of the engine
//
// Numbers in keys are big endian, in values little endian. A sealed value ends in
// four bytes, the CRC32C of its key and itself.
//
//	key                         value
//	00 "fmt"                    format version (4), sealed; written when the store is made
//	01 group(8)                 messages.HardState, sealed; written when a part of it changes
//	02 group(8)                 log state, sealed; written with a group's first update, and
//	                            when the log begins or ends elsewhere than its blocks say
//	03 group(8) first index(8)  messages.EntryBlock, its bytes unchanged; has its own CRC32C
//
// The log state is five numbers of eight bytes: incarnation, first index, the term
// before it, the index the log had reached when this was written, and an index below
// which the group has no block. A group exists when it has a log state.
//
// One Write is one goleveldb batch: one journal record and one sync, whatever its
// size. A conflict rewrites the block it falls into and deletes those behind it in
// the same batch. Compaction moves the first index; the blocks that end below it are
// deleted a few at a time, in the batches of later writes, which costs no sync.
//
// # Files
//
//	CURRENT          name of the manifest, and its CRC32C in hexadecimal
//	MANIFEST-000000  which tables and journals count; goleveldb's format, as are
//	000000.log       journals: batches not in tables yet, and zeros behind them
//	000000.ldb       tables
//	LOCK             held by the process that has the store open
//	RESERVE          room for a full disk; what is in it counts for nothing
//
// Every new name is synced before it is used. Each record of a journal or manifest is
// synced before the next one is written, so only the last record of the last such
// file can be an interrupted write.
//
// A journal is filled with zeros ahead of its records, up to 1 MiB (MemtableBytes,
// where that is less) each time the records reach beyond them, under the sync those
// records need anyway. The syncs in between change neither the file's length nor its
// blocks, which on most file systems saves them a commit of the metadata. It costs
// writing each byte of a journal twice and up to 1 MiB of disk. Where zeros cannot be
// written the journal grows record by record. No file is used again: behind the
// records there is never anything but zeros, or an interrupted write.
//
// # A full disk
//
// The zeros are there before the batch is: where the file system refuses them for want of
// room, the batch is given to nobody and Write returns ErrFull. What else needs room
// takes it from RESERVE, a file kept for that (ReserveBytes): a batch without blocks,
// so that terms and votes are written; the table that a full memtable becomes, after
// which its journal goes; the manifest. A compaction that finds no room is dropped and
// begun again by goleveldb, after 1 s and then every 8 s; while one waits no memtable
// can be changed, and Write returns ErrFull. The next batch with blocks is taken when
// RESERVE is whole again. A store opens on a full disk, from RESERVE.
//
// Room that was refused at once costs nothing. Room that was promised and is missing
// when the journal or manifest is synced, or when zeros are written over, is a failed
// write as any other: so it may be on file systems that copy on write or compress.
//
// # What opening decides
//
// Where nothing but zeros follows, a file ends; they are cut off. A record that cannot
// be read was interrupted, and is cut off, when no whole record stands behind it and
// at least one of its sectors is zero or beyond the end of the file. Otherwise it was
// whole once: that is corruption. So is a journal that the manifest names and that is
// gone, and a step in the sequence numbers from record to record. Such damage cannot
// be laid to a group, and the store does not open; the error names the file. Damage
// within a table, a block or a sealed value stops only the groups whose keys are
// there, when they are loaded or read.
//
// What cannot be told from an interrupted write: damage to the very last record that
// also looks like a lost sector, as in a value with 512 zeros in a row; the last
// records all turned to zeros; and the newest journal gone as a whole while the
// manifest still names the one before.
package logstore
