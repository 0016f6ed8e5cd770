// Package logstore is the contract between Raft and the disk: [Store] keeps the log
// blocks, terms and votes of all groups of a node. Packages level, over goleveldb, and
// journal, over files of its own, are the engines; engine tells which one a directory is
// of, and copies from one to the other; memory is for tests; storetest is what an engine
// must pass; vfs is the file system below it.
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
// # goleveldb: keys and values
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
// # goleveldb: files
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
// # goleveldb: a full disk
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
// # goleveldb: what opening decides
//
// Where nothing but zeros follows, a file ends; they are cut off. A record that cannot
// be read was interrupted, and is cut off, when no whole record stands behind it and
// at least one of its sectors is zero or beyond the end of the file. Otherwise it was
// whole once: that is corruption. So is a journal that the manifest names and that is
// gone, and a step in the sequence numbers from record to record. Such damage cannot
// be laid to a group, and the store does not open; the error names the file. Damage
// within a table, a block or a sealed value stops only the groups whose keys are
// there, in the same 32 KiB, when they are loaded or read; a reset of the group leaves the
// table as it is. A compaction that reads the damage fails, and the store with it, at each
// start from then on.
//
// What cannot be told from an interrupted write: damage to the very last record that
// also looks like a lost sector, as in a value with 512 zeros in a row; the last
// records all turned to zeros; and the newest journal gone as a whole while the
// manifest still names the one before.
//
// # The journal: files
//
//	JOURNAL         format (1), how many segment files there are, checksum; one line of text
//	000001.journal  segments: what was written, in files that are used again
//	LOCK            held by the process that has the store open
//	RESERVE         room for a full disk; what is in it counts for nothing
//
// A segment has a number that is never given again, and ends where a file is about full
// or there is about 1 MiB to say of what is in it. It is made of frames, one for each
// Write, one behind the other, each from the beginning of a page (4 KiB) on. A frame is
// written and synced before the next one is written, so no byte that was acknowledged is
// written again, nor one that shares a page with it. It is written over zeros, or over
// what the file held before: the sync then has no new blocks and no new length to commit.
//
// Files consist of sectors (512 bytes), each with a checksum that begins with its place,
// the number of its segment and whether a frame begins there. Without those 12 bytes they
// are a stream; numbers are little endian. A frame in it is
//
//	header (40)   lengths; number of the frame; the oldest segment that is needed; a
//	              checksum over those of its sectors, one over all but the blocks
//	beginning     in a segment's first frame: the segments before it that are needed, with
//	              their lengths, and the index of the last of them: its directories
//	directory     ops, of groups: hard state; note; where the log begins; cut from an index
//	              on; delete; a block appended; a block moved; entries lost
//	blocks        messages.EntryBlock of the directory's blocks, their bytes unchanged
//
// What a group has is what the ops come to, in order. Only the oldest segment is given
// up, when no block or state in it is needed any more: so what removes something is never
// gone before what it removes. Where segments hold much more than is needed (SlackBytes),
// each Write moves a few of the oldest one's blocks and states to the end, in its own
// frame. A file is used again when a frame says that its segment is not needed, and no
// reader is left who was shown what is in it.
//
// # The journal: a full disk
//
// Zeros are there before a frame is: where the file system refuses them Write returns
// ErrFull, and nothing was written of it. A Write without blocks, and a start, take room
// from RESERVE; one with blocks makes it whole first. Compaction frees whole segments at
// once, whose files have their room already.
//
// # The journal: what opening decides
//
// The newest segment is the one with the highest number whose first frame is whole. Only
// its last frame may be an interrupted write: at least one of its sectors is then not of
// this segment, and no frame begins behind it. A sector that is neither whole, nor of an
// earlier segment, nor zeros, was damaged. In a frame with another one behind it, zeros and
// sectors of an earlier segment are damage, too. Where a frame's own checksum says that only
// bytes of blocks were damaged, the groups of those blocks stop when they are loaded.
// Otherwise, and where a file that JOURNAL counts is gone or its first sector cannot be
// read, the store does not open, and the error names the file. Of older segments only the
// first frames are read, which hold the indexes; where an index is damaged, the segment
// itself.
//
// Nothing is written behind what an earlier life has left. Each start begins a segment,
// with the last frame of the one before it: after a failed sync that one may have been in
// the cache only. So the new segment is not written into a file of which only that frame
// says that it is free.
//
// A sector that the disk cannot read any more is damage as well, of the group whose block is
// there; in the last frame it is an error, as that frame is written again. A block that is
// damaged when it is to be moved stays in the directory as lost: its group is not taken for
// a whole one afterwards, until it is reset. One that cannot be read for another reason stays
// where it is.
//
// A file that seems to be free, or to hold an older segment, is looked through: a frame in
// it that is of a segment after the newest says that the beginning of that one is gone.
//
// What cannot be told from an interrupted write: a sector of the last frame turned to
// zeros, or to what the file held before.
package logstore
