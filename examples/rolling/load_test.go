package main

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

func TestReadsAreJudgedByWhatWasAcknowledged(t *testing.T) {
	for _, tt := range []struct {
		name         string
		acked, tried uint64
		shown        uint64 // 0: nothing
		hit, lost    bool
	}{
		{"nothing was written", 0, 0, 0, false, false},
		{"what was acknowledged", 3, 3, 3, true, false},
		{"an older value", 3, 3, 2, true, true},
		{"nothing any more", 3, 3, 0, false, true},
		{"a write that failed and happened", 3, 4, 4, true, false},
		{"a write that nobody made", 3, 4, 5, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var value []byte
			if tt.shown > 0 {
				value = make([]byte, valueSize)
				binary.BigEndian.PutUint64(value, tt.shown)
			}
			k := known{tt.acked, tt.tried}
			if hit, lost := k.see(value); hit != tt.hit || lost != tt.lost {
				t.Errorf("see(%d) = %v, %v, want %v, %v", tt.shown, hit, lost, tt.hit, tt.lost)
			}
		})
	}
	k := known{acked: 3, tried: 4}
	seen, old := make([]byte, valueSize), make([]byte, valueSize)
	binary.BigEndian.PutUint64(seen, 4)
	binary.BigEndian.PutUint64(old, 3)
	k.see(seen)
	if _, lost := k.see(old); !lost {
		t.Error("a value that went back after it was seen is not counted as lost")
	}
}

func TestVerdictNamesEachFault(t *testing.T) {
	good := tally{reads: 2, hits: 2, writes: 1}
	if err := good.verdict(); err != nil {
		t.Errorf("verdict of %v = %v, want none", good, err)
	}
	for want, bad := range map[string]tally{
		"1 calls failed":   {reads: 1, hits: 1, writes: 1, errors: 1, firstError: errors.New("why")},
		"less than was":    {reads: 1, hits: 1, writes: 1, lost: 1},
		"1 reads of 2":     {reads: 2, hits: 1, writes: 1},
		"there was no loa": {},
	} {
		if err := bad.verdict(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("verdict of %v = %v, want %q", bad, err, want)
		}
	}
}

func TestScreenDrawsOverItsView(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out}
	s.draw([]string{"a", "b"})
	s.draw([]string{"c"})
	s.draw(nil)
	if want := "a\nb\n\033[2A\033[Jc\n\033[1A\033[J"; out.String() != want {
		t.Errorf("drawn %q, want %q", out.String(), want)
	}
}
