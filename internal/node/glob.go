package node

// MatchGlob reports whether a name matches a pattern, byte for byte as in Redis: '*'
// stands for any number of any, '?' for one, "[abc]", "[a-c]" and "[^a-c]" for one of
// a set, and '\' takes the next literally. A set has what stands before the next ']',
// or before the pattern's end. It looks at each byte of the name at most len(pattern)
// times.
func MatchGlob(pattern, name string) bool {
	p, star, retry, at := 0, -1, 0, 0
	for at < len(name) || p < len(pattern) {
		if p < len(pattern) && pattern[p] == '*' {
			star, retry = p, at
			p++
			continue
		}
		if p < len(pattern) && at < len(name) {
			if next, ok := globByte(pattern, p, name[at]); ok {
				p, at = next, at+1
				continue
			}
		}
		if star < 0 || retry >= len(name) {
			return false
		}
		retry++ // the last star takes one more
		p, at = star+1, retry
	}
	return true
}

// globByte matches one byte with what stands at p of a pattern, which is no star, and
// returns where that ends.
func globByte(pattern string, p int, b byte) (next int, ok bool) {
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
	return min(p+1, len(pattern)), found != not
}
