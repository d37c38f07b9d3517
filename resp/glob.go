package resp

// match reports whether a name matches a pattern as Redis's do: '*', '?',
// [abc], [^a-z] and backslashes. Its time is at most the product of the two
// lengths.
func match(pattern []byte, name string) bool {
	p, star, retry, at := 0, -1, 0, 0
	for at < len(name) || p < len(pattern) {
		if p < len(pattern) && pattern[p] == '*' {
			star, retry = p, at
			p++
			continue
		}
		if p < len(pattern) && at < len(name) {
			if next, ok := matchByte(pattern, p, name[at]); ok {
				p, at = next, at+1
				continue
			}
		}
		if star < 0 || retry >= len(name) {
			return false
		}
		retry++
		p, at = star+1, retry
	}
	return true
}

// matchByte matches one byte with what stands at p of a pattern, and returns
// where that ends.
func matchByte(pattern []byte, p int, b byte) (next int, ok bool) {
	switch c := pattern[p]; {
	case c == '?':
		return p + 1, true
	case c == '\\' && p+1 < len(pattern):
		return p + 2, pattern[p+1] == b
	case c != '[':
		return p + 1, c == b
	}
	p++
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	found := false
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			found = found || pattern[p] == b
		case p+2 < len(pattern) && pattern[p+1] == '-':
			low, high := pattern[p], pattern[p+2]
			found = found || min(low, high) <= b && b <= max(low, high)
			p += 2
		default:
			found = found || pattern[p] == b
		}
	}
	return p + 1, found != not // without a bracket at the end it ends there
}
