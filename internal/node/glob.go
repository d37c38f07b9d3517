package node

// ValidGlob reports whether a pattern is whole: every '[' is closed and no '\'
// stands last.
func ValidGlob(p string) bool {
	for len(p) > 0 {
		if p[0] != '[' && p[0] != '\\' {
			p = p[1:]
			continue
		}
		_, rest, ok := globUnit(p, 0)
		if !ok {
			return false
		}
		p = rest
	}
	return true
}

// matchGlob matches bytes as Redis's KEYS does: '*' any number of any, '?' one,
// "[a-c]" and "[^a-c]" one of a set, '\' takes the next literally. It looks at
// each byte at most len(p) times.
func matchGlob(p, s string) bool {
	star, retry := -1, 0
	full := p
	at := 0 // of s
	for at < len(s) || len(p) > 0 {
		if len(p) > 0 {
			if p[0] == '*' {
				star, retry = len(full)-len(p), at
				p = p[1:]
				continue
			}
			if at < len(s) {
				if ok, rest, whole := globUnit(p, s[at]); ok && whole {
					p, at = rest, at+1
					continue
				}
			}
		}
		if star < 0 || retry >= len(s) {
			return false
		}
		retry++ // the last star takes one more
		p, at = full[star+1:], retry
	}
	return true
}

// globUnit matches one byte against the pattern's first unit, which is no
// star, and returns the rest; whole is false where the unit is cut off.
func globUnit(p string, c byte) (ok bool, rest string, whole bool) {
	switch p[0] {
	case '?':
		return true, p[1:], true
	case '\\':
		if len(p) < 2 {
			return false, "", false
		}
		return p[1] == c, p[2:], true
	case '[':
		i := 1
		negate := i < len(p) && p[i] == '^'
		if negate {
			i++
		}
		hit := false
		for first := true; ; first = false {
			if i >= len(p) {
				return false, "", false
			}
			if p[i] == ']' && !first {
				return hit != negate, p[i+1:], true
			}
			low, next, ok := globByte(p, i)
			if !ok {
				return false, "", false
			}
			high := low
			if i = next; i+1 < len(p) && p[i] == '-' && p[i+1] != ']' {
				if high, i, ok = globByte(p, i+1); !ok {
					return false, "", false
				}
			}
			if low > high {
				low, high = high, low
			}
			hit = hit || low <= c && c <= high
		}
	}
	return p[0] == c, p[1:], true
}

// globByte reads one byte of a set.
func globByte(p string, i int) (c byte, next int, ok bool) {
	if p[i] == '\\' {
		if i++; i >= len(p) {
			return 0, i, false
		}
	}
	return p[i], i + 1, true
}
