package journal

import "slices"

// held are free files that a start must not write over before its first frame is durable.
// The last frame that was read may be in the cache only, after a sync that failed, and no
// other brings it to the disk. Should the power fail now, the next start goes by what stood
// before that frame, and needs what that names.
func (r *recovery) held() []*segment {
	if r.newest == nil {
		return nil
	}
	if n := len(r.frames); n > 1 {
		return r.freeOf(r.begin.chain, r.frames[n-2].oldest)
	}
	// All there is of the newest segment may be gone.
	for i := slices.Index(r.used, r.newest) - 1; i >= 0; i-- {
		seg := r.used[i]
		f, _, err := r.firstFrame(seg, seg.seq)
		if err != nil || int64(f.size) > seg.filled {
			continue // it was never begun
		}
		data, err := readFull(seg.file, 0, f.size)
		if err != nil {
			continue
		}
		if _, v, _ := judgeFrame(data, 0, seg.seq); v != whole && v != harmed {
			continue
		}
		begin := make([]byte, f.begin)
		streamAt(begin, data, 0, frameHeader)
		s, err := readStart(begin)
		if err != nil {
			continue
		}
		return r.freeOf(append(s.chain, link{seq: seg.seq}), f.oldest)
	}
	return nil
}

// freeOf are the free files of these segments, from oldest on.
func (r *recovery) freeOf(chain []link, oldest uint64) (held []*segment) {
	for _, l := range chain {
		i := slices.IndexFunc(r.free, func(s *segment) bool { return s.seq == l.seq })
		if i >= 0 && l.seq >= oldest {
			held = append(held, r.free[i])
		}
	}
	return held
}
