package resp

import "testing"

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"", "", true}, {"", "a", false}, {"a*c", "abbc", true}, {"a*c", "abbd", false},
		{"*a*b", "xaab", true}, {"?", "", false}, {"a?c", "abc", true}, {"[abc]x", "bx", true}, {"[abc]x", "dx", false},
		{"[^abc]", "d", true}, {"[^abc]", "a", false}, {"[a-c]", "b", true}, {"[c-a]", "b", true}, {"[a-c]", "d", false},
		{`\*`, "*", true}, {`\*`, "a", false}, {`[\]]`, "]", true}, {"[a", "a", true}, {"[a", "b", false}, {"[]", "a", false},
		{"__key*__:*", "__keyspace@0__:foo", true}, {"__keyevent@0__:*", "__keyspace@0__:foo", false}, {`a\`, `a\`, true},
	} {
		if got := match([]byte(tt.pattern), tt.name); got != tt.want {
			t.Errorf("match(%q, %q) = %v, want %v", tt.pattern, tt.name, got, tt.want)
		}
	}
}
