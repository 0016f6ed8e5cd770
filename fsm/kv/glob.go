package kv

// Match says whether s matches a pattern of Redis: * any run, ? any byte, [a-z]
// and [^a-z] one byte of a class, \ takes the next byte as it is. Every element
// but * takes exactly one byte, so going back to the last * alone is enough, and
// the time is bounded by the product of the lengths.
func Match(pattern []byte, s string) bool {
	p, i := 0, 0
	star, from := -1, 0 // where to go on in the pattern, and in s, on a mismatch
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, from = p, i
			continue
		}
		if p < len(pattern) {
			if n, ok := matchOne(pattern[p:], s[i]); ok {
				p += n
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches c against the pattern's first element and says how long that is.
func matchOne(pattern []byte, c byte) (n int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		return matchClass(pattern, c)
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	}
	return 1, pattern[0] == c
}

// matchClass reads a class the way Redis does: it may lack its closing bracket,
// and the ends of a range may stand in either order.
func matchClass(pattern []byte, c byte) (n int, ok bool) {
	i := 1
	inverted := i < len(pattern) && pattern[i] == '^'
	if inverted {
		i++
	}
	for ; i < len(pattern) && pattern[i] != ']'; i++ {
		rest := pattern[i:]
		switch {
		case rest[0] == '\\' && len(rest) >= 2:
			i++
			ok = ok || rest[1] == c
		case len(rest) >= 3 && rest[1] == '-':
			i += 2
			ok = ok || min(rest[0], rest[2]) <= c && c <= max(rest[0], rest[2])
		default:
			ok = ok || rest[0] == c
		}
	}
	if i < len(pattern) {
		i++ // the closing bracket
	}
	return i, ok != inverted
}
