package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/protoraft/protoraft/logstore/snapshots"
	"github.com/protoraft/protoraft/logstore/vfs"
	"github.com/protoraft/protoraft/messages"
)

// A backup is a file:
//
//	"protoraft-backup 1 CRC {json}\n"   whose snapshot it is; CRC32C of the JSON, 8 hex digits
//	the snapshot's file, byte for byte  see package snapshots: every frame and the whole have checksums
const (
	backupMagic     = "protoraft-backup "
	backupVersion   = 1
	backupHeadBytes = 64 << 10 // no head is larger
)

// ErrBackup: a file is no backup, or a damaged one. The error says where and what was
// expected.
var ErrBackup = errors.New("not a whole backup")

// BackupInfo is what a backup is of.
type BackupInfo struct {
	Cluster string    // that it was taken in
	Node    string    // that has given it
	Taken   time.Time // by that node's clock

	Group       uint64
	Index, Term uint64    // of the last entry in it
	LogTime     time.Time // at that entry; zero where there was none
	Voters      []Member  // by the configuration of that entry
	Learners    []Member
	Machine     string // format of the state machine, empty where it has no name

	Size     int64  // of the file, in bytes
	Checksum uint64 // of the snapshot in it
	Sections []BackupSection
}

// BackupSection is a part of the state. The clients' sessions are one, the machine another.
type BackupSection struct {
	Name  string
	Bytes int64
}

// backupHead is the first line.
type backupHead struct {
	Cluster  string `json:"cluster_id"`
	Node     string `json:"node_id"`
	Taken    int64  `json:"taken_unix_ns"`
	Size     int64  `json:"size"` // of the snapshot
	Checksum uint64 `json:"checksum,string"`
}

func (h *backupHead) encode() ([]byte, error) {
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s%d %08x %s\n", backupMagic, backupVersion, crc32.Checksum(raw, castagnoli), raw), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Backup is a backup being read. Close it.
type Backup struct {
	io.Reader
	file *snapshots.Reader
	info BackupInfo
}

// Info says what it is of.
func (b *Backup) Info() BackupInfo { return b.info }

// Close releases the snapshot.
func (b *Backup) Close() error { return b.file.Close() }

// Backup opens a backup of a group: of what this node's member has applied by now, or,
// with newest, the newest snapshot that it has already. Read it to its end and close it.
// All of it was read and its checksums were right when Backup returns nil; whoever keeps
// it looks again with InspectBackup.
//
// A node that is a witness has no state: the error wraps ErrNoSnapshot.
//
// What is in it was committed. A member that lags gives an older state than the leader's:
// where all that was acknowledged before must be in it, ask the leader's node. Nothing
// bounds the wait for a snapshot but ctx.
func (n *Node) Backup(ctx context.Context, group uint64, newest bool) (*Backup, error) {
	if n.client.member(group) == nil {
		return nil, fmt.Errorf("group %d: %w", group, ErrNoGroup)
	}
	if n.witnessIn(group) {
		return nil, fmt.Errorf("group %d: %w: %s is a witness and has no state, ask the node of a voter that has", group, ErrNoSnapshot, n.options.ID)
	}
	if !newest {
		if _, err := n.TakeSnapshot(ctx, group); err != nil {
			return nil, err
		}
	}
	file, err := n.newestSnapshot(group)
	if err != nil {
		return nil, err
	}
	parts, err := file.Parts()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("group %d: back up: %w", group, err), file.Close())
	}
	s := file.Info()
	head := backupHead{
		Cluster: n.options.ClusterID, Node: n.options.ID, Taken: time.Now().UnixNano(), Size: s.Size, Checksum: s.Checksum,
	}
	line, err := head.encode()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Backup{
		Reader: io.MultiReader(strings.NewReader(string(line)), io.NewSectionReader(file, 0, s.Size)),
		file:   file, info: backupInfo(&head, file.Meta(), parts, int64(len(line))),
	}, nil
}

// newestSnapshot opens the newest that can be opened. One that is removed between the
// look and the opening has been replaced by a newer one.
func (n *Node) newestSnapshot(group uint64) (*snapshots.Reader, error) {
	for tries := 0; ; tries++ {
		infos, err := n.snapshots.List(group)
		if err != nil {
			return nil, fmt.Errorf("group %d: %w", group, err)
		}
		if len(infos) == 0 {
			return nil, fmt.Errorf("group %d: %w: there is none yet", group, ErrNoSnapshot)
		}
		if infos[0].Damage != nil {
			return nil, fmt.Errorf("group %d: the newest snapshot: %w", group, infos[0].Damage)
		}
		file, err := n.snapshots.Open(group, infos[0].Meta.Index)
		if err == nil || tries > 2 || !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
}

func backupInfo(head *backupHead, meta *messages.SnapshotMeta, parts []snapshots.Part, headBytes int64) BackupInfo {
	i := BackupInfo{
		Cluster: head.Cluster, Node: head.Node, Taken: time.Unix(0, head.Taken),
		Group: meta.Group, Index: meta.Index, Term: meta.Term, Machine: meta.Machine,
		Size: headBytes + head.Size, Checksum: head.Checksum,
	}
	if meta.Time != 0 {
		i.LogTime = time.Unix(0, meta.Time)
	}
	i.Voters, i.Learners = byRole(meta.GetConfiguration().GetMembers())
	for _, p := range parts {
		i.Sections = append(i.Sections, BackupSection(p))
	}
	return i
}

// InspectBackup reads all of a backup, checks it, and says what it is of. Errors wrap
// ErrBackup where the file is not a whole backup, logstore.ErrNewerFormat where a later
// version wrote it.
func InspectBackup(path string) (BackupInfo, error) {
	b, err := openBackup(path)
	if err != nil {
		return BackupInfo{}, err
	}
	return b.info, b.Close()
}

// openBackup opens a backup after all of it was checked.
func openBackup(path string) (*Backup, error) {
	f, err := vfs.OS{}.Open(path)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	head, length, err := readBackupHead(f, path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	where := fmt.Sprintf("%s, whose snapshot begins at byte %d", path, length)
	file, err := snapshots.OpenAt(f, where, length)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	parts, err := file.Parts()
	if err == nil {
		if s := file.Info(); s.Size != head.Size || s.Checksum != head.Checksum {
			err = fmt.Errorf("%s: a snapshot of %d bytes with checksum %016x, expected %d and %016x", path, s.Size, s.Checksum, head.Size, head.Checksum)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrBackup, err), file.Close())
	}
	return &Backup{Reader: io.NewSectionReader(file, 0, head.Size), file: file, info: backupInfo(head, file.Meta(), parts, length)}, nil
}

// readBackupHead reads the first line, and how long it is.
func readBackupHead(f io.ReaderAt, path string) (*backupHead, int64, error) {
	wrong := func(format string, args ...any) (*backupHead, int64, error) {
		return nil, 0, fmt.Errorf("%w: %s: %s", ErrBackup, path, fmt.Sprintf(format, args...))
	}
	raw := make([]byte, backupHeadBytes)
	n, err := f.ReadAt(raw, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("backup: read %s: %w", path, err)
	}
	line, _, whole := strings.Cut(string(raw[:n]), "\n")
	rest, ours := strings.CutPrefix(line, backupMagic)
	if !ours {
		return wrong("it begins with %.20q, expected %q", line, backupMagic)
	}
	version, rest, _ := strings.Cut(rest, " ")
	if version != fmt.Sprint(backupVersion) {
		return wrong("it says version %.20q, this program knows %d", version, backupVersion)
	}
	sum, text, _ := strings.Cut(rest, " ")
	if !whole {
		return wrong("its first line has no end within %d bytes", n)
	}
	if want := fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli)); sum != want {
		return wrong("at byte %d: checksum of the first line is %.20q, expected %s", len(backupMagic), sum, want)
	}
	h := &backupHead{}
	if err := json.Unmarshal([]byte(text), h); err != nil {
		return wrong("its first line: %v", err)
	}
	return h, int64(len(line)) + 1, nil
}
