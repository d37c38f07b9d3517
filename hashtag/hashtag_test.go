package hashtag_test

import (
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh/hashtag"
)

// The numbers are Redis's: CLUSTER KEYSLOT gives the same.
var slots = []struct {
	key  string
	slot uint16
}{
	{"123456789", 12739},
	{"foo", 12182},
	{"bar", 5061},
	{"foo{bar}{zap}", 5061},
	{"{}{a}", 13650},
	{"{}", 15257},
	{"foo{}{bar}", 8363},
	{"foo{{bar}}zap", 4015},
	{"{user1000}.following", 3443},
	{"{user1000}.followers", 3443},
	{"", 0},
	{"hello", 866},
	{"somekey", 11058},
	{"mykey", 14687},
	{"日本語", 12788},
	{"\xff\xfe", 3374},
}

func TestSlotAgreesWithRedis(t *testing.T) {
	for _, tt := range slots {
		if got := hashtag.Slot(tt.key); got != tt.slot {
			t.Errorf("Slot(%q) = %d, want %d", tt.key, got, tt.slot)
		}
		if got := hashtag.SlotBytes([]byte(tt.key)); got != tt.slot {
			t.Errorf("SlotBytes(%q) = %d, want %d", tt.key, got, tt.slot)
		}
	}
	if got := hashtag.SlotBytes(nil); got != 0 {
		t.Errorf("SlotBytes(nil) = %d, want 0", got)
	}
}

func TestTag(t *testing.T) {
	for _, tt := range []struct{ name, key, want string }{
		{"no braces", "foo", "foo"},
		{"whole key is a tag", "{foo}", "foo"},
		{"first tag wins", "a{b}{c}", "b"},
		{"empty tag means whole key", "a{}{b}", "a{}{b}"},
		{"only an empty tag", "{}", "{}"},
		{"unclosed", "a{b", "a{b"},
		{"unopened", "a}b", "a}b"},
		{"closed before opened", "a}b{c}d", "c"},
		{"first open, first close", "foo{{bar}}zap", "{bar"},
		{"open at the end", "foo{", "foo{"},
		{"empty key", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := hashtag.Tag(tt.key); got != tt.want {
				t.Errorf("Tag(%q) = %q, want %q", tt.key, got, tt.want)
			}
		})
	}
}

func TestSlotDoesNotAllocate(t *testing.T) {
	key := "{" + strings.Repeat("user", 100) + "}.following"
	bytes := []byte(key)
	if n := testing.AllocsPerRun(100, func() { hashtag.Slot(key) }); n != 0 {
		t.Errorf("Slot allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { hashtag.SlotBytes(bytes) }); n != 0 {
		t.Errorf("SlotBytes allocates %v times, want 0", n)
	}
}

// plainTag and plainCRC are the specification's words, as short as they go.
func plainTag(key string) string {
	for i := range len(key) {
		if key[i] != '{' {
			continue
		}
		for j := i + 1; j < len(key); j++ {
			if key[j] == '}' && j > i+1 {
				return key[i+1 : j]
			} else if key[j] == '}' {
				return key
			}
		}
		return key
	}
	return key
}

func plainCRC(s string) (crc uint16) {
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

func FuzzSlot(f *testing.F) {
	for _, tt := range slots {
		f.Add([]byte(tt.key))
	}
	// Every length up to three rounds of eight, so that each remainder occurs.
	for n := range 25 {
		f.Add([]byte(strings.Repeat("\x80{}z\xff\x01", 5)[:n]))
		f.Add([]byte(strings.Repeat("key", 9)[:n]))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		if got, want := hashtag.Tag(string(key)), plainTag(string(key)); got != want {
			t.Errorf("Tag(%q) = %q, want %q", key, got, want)
		}
		want := plainCRC(plainTag(string(key))) % 16384
		if got := hashtag.Slot(string(key)); got != want {
			t.Errorf("Slot(%q) = %d, want %d", key, got, want)
		}
		if got := hashtag.SlotBytes(key); got != want {
			t.Errorf("SlotBytes(%q) = %d, want %d", key, got, want)
		}
	})
}
