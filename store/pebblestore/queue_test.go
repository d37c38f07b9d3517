package pebblestore

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// What is written while the flusher is at work waits for more of its kind, as if the
// flusher were at rest: under load it would write and sync without a pause otherwise,
// a few records each time.
func TestWhatComesDuringAFlushIsNotDueByIt(t *testing.T) {
	s, err := Open(Options{Dir: "data", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q := newQueue(s.parking, s.db, 1<<20, 1<<10, time.Hour)
	add := func(fn func(u *unit)) *unit {
		u, err := q.add(fn)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	few := func(u *unit) { u.set([]byte("k"), []byte("v")) }
	take := func(what string, want *unit) {
		t.Helper()
		if got := q.take(); got != want {
			t.Errorf("%s: took %p, want %p", what, got, want)
		}
	}

	add(few)
	take("a few records", nil)
	first := add(func(u *unit) { u.metas = append(u.metas, func() {}) })
	take("meta values", first)
	second := add(few)
	if second == first {
		t.Fatal("a unit grew while it was written")
	}
	q.finish(first)
	take("what came meanwhile", nil)
	add(func(u *unit) { u.set([]byte("large"), make([]byte, 1<<10)) })
	take("much of it", second)
	third := add(few)
	q.press()
	q.finish(second)
	take("what is pressed for during a flush", third)
	q.finish(third)
	if n := q.dirtyBytes(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}
