package resp

import "strconv"

// splitWords splits an inline command as Redis does: words apart by blanks,
// "double" quotes with \n \r \t \b \a \xHH and \ before anything else, 'single'
// ones with \' only. A closing quote must end the word. The words are copies.
func splitWords(line []byte) (words [][]byte, ok bool) {
	for i := 0; ; {
		for i < len(line) && isBlank(line[i]) {
			i++
		}
		if i == len(line) {
			return words, true
		}
		word := []byte{}
		for i < len(line) && !isBlank(line[i]) {
			if c := line[i]; c != '"' && c != '\'' {
				word = append(word, c)
				i++
				continue
			}
			var n int
			if word, n = unquote(word, line[i:]); n == 0 {
				return nil, false
			}
			i += n
			if i < len(line) && !isBlank(line[i]) {
				return nil, false
			}
		}
		words = append(words, word)
	}
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f'
}

// unquote appends the quoted text that s begins with and returns how long it is,
// 0 if its quote is not closed.
func unquote(word, s []byte) ([]byte, int) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return word, i + 1
		case s[i] == '\\' && i+1 < len(s) && quote == '"':
			if s[i+1] == 'x' && i+3 < len(s) {
				if v, err := strconv.ParseUint(string(s[i+2:i+4]), 16, 8); err == nil {
					word = append(word, byte(v))
					i += 3
					continue
				}
			}
			i++
			word = append(word, unescape(s[i]))
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '\'':
			i++
			word = append(word, '\'')
		default:
			word = append(word, s[i])
		}
	}
	return word, 0
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}
