package node

import (
	"strings"
	"testing"
)

func TestMatchGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"a*c", "abbc", true}, {"a*c", "abbd", false},
		{"a*b*c", "aXbYbZc", true}, {"**a", "ba", true}, {"a*", "a", true}, {"*a", "b", false},
		{"?", "", false}, {"?", "x", true}, {"??", "x", false}, {"a?c", "abc", true},
		{"[abc]", "b", true}, {"[abc]x", "dx", false}, {"[a-c]", "d", false}, {"[c-a]", "b", true}, {"[^a-c]", "d", true}, {"[^a]", "a", false},
		{`[\]]`, "]", true}, {`[\^a]`, "^", true}, {`[a\-c]`, "b", false}, {`[\`, `\`, true}, {"[\x80-\xff]", "\x90", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {`a\`, `a\`, true}, {`a\`, "a", false},
		{"a", "a", true}, {"a", "ab", false}, {"", "", true}, {"", "a", false},
		{"*.txt", "a.txt.txt", true}, {"*[0-9]", "a1", true}, {"*[0-9]", "1a", false},
		{"__key*__:*", "__keyspace@0__:foo", true}, {"__keyevent@0__:*", "__keyspace@0__:foo", false},
		// The first ']' ends a set, and so does the pattern's end.
		{"[]", "]", false}, {"[]]", "]", false}, {"[]abc]", "a", false}, {"[^]", "x", true}, {"[^]", "", false}, {"[^]]", "x]", true}, {"[^]]", "x", false},
		{"[ab", "b", true}, {"[ab", "c", false}, {"[", "[", false}, {"[^", "x", true}, {"x[^a", "xb", true}, {"*[ab", "xxb", true}, {"[ab*", "a*", false},
		{"[a-]", "_", true}, {"[a-]", "-", false}, {"[a-", "-", true},
		{strings.Repeat("a*", 1000) + "b", strings.Repeat("a", 10000), false},
	} {
		if got := MatchGlob(tt.pattern, tt.name); got != tt.want {
			t.Errorf("MatchGlob(%.40q, %.40q) = %v, want %v", tt.pattern, tt.name, got, tt.want)
		}
	}
}

// matchSlow is what Redis does (stringmatchlen in util.c of 7.0), in bytes without sign.
// Its time is exponential in the number of stars.
func matchSlow(p, s string) bool {
	for len(p) > 0 && len(s) > 0 {
		switch {
		case p[0] == '*':
			for i := range len(s) + 1 {
				if matchSlow(p[1:], s[i:]) {
					return true
				}
			}
			return false
		case p[0] == '[':
			p = p[1:]
			not, found := len(p) > 0 && p[0] == '^', false
			if not {
				p = p[1:]
			}
			for ; len(p) > 0 && p[0] != ']'; p = p[1:] {
				if len(p) >= 2 && p[0] == '\\' {
					p = p[1:]
					found = found || p[0] == s[0]
				} else if len(p) >= 3 && p[1] == '-' {
					found = found || min(p[0], p[2]) <= s[0] && s[0] <= max(p[0], p[2])
					p = p[2:]
				} else {
					found = found || p[0] == s[0]
				}
			}
			if found == not {
				return false
			}
		case p[0] == '?':
		case p[0] == '\\' && len(p) >= 2:
			p = p[1:]
			fallthrough
		default:
			if p[0] != s[0] {
				return false
			}
		}
		p, s = p[min(1, len(p)):], s[1:]
	}
	return strings.Trim(p, "*") == "" && s == ""
}

func FuzzMatchGlob(f *testing.F) {
	f.Add("a*[b-c]?\\d", "axbyd")
	f.Add("[]a]*[^]]", "x")
	f.Add("[^", "a")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 100 || len(name) > 50 || strings.Count(pattern, "*") > 4 {
			return
		}
		if got, want := MatchGlob(pattern, name), matchSlow(pattern, name); got != want {
			t.Errorf("MatchGlob(%q, %q) = %v, want %v", pattern, name, got, want)
		}
	})
}
