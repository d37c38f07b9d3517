package storetest

import (
	"errors"
	"sync"
	"testing"

	"github.com/slotmesh/slotmesh/store"
)

func testClosed(t *testing.T, e store.Engine) {
	fill(t, e, 1, 3)
	gen := begin(t, e, 1)
	fail(t, e.Close())
	_, err := e.Get(nil, 1, 0, "a", "", 0)
	wantErr(t, "Get", err, store.ErrClosed)
	_, err = e.Fetch(nil, 1, 0, "a", "", 0)
	wantErr(t, "Fetch", err, store.ErrClosed)
	wantErr(t, "Apply", e.Apply(1, []store.Record{value("a", "", 1)}), store.ErrClosed)
	wantErr(t, "Update", e.Update(1, 0, "a", "", 0, func(store.Item) (store.Record, bool) { return store.Record{}, false }), store.ErrClosed)
	_, _, err = e.Range(1, store.Cursor{}, func(store.Record) bool { return true })
	wantErr(t, "Range", err, store.ErrClosed)
	_, err = e.Digest(1, 0, 1)
	wantErr(t, "Digest", err, store.ErrClosed)
	_, err = e.Begin(1)
	wantErr(t, "Begin", err, store.ErrClosed)
	wantErr(t, "ApplyTo", e.ApplyTo(1, gen, nil), store.ErrClosed)
	_, err = e.Confirm(1, gen, 0, 1, store.Digest{})
	wantErr(t, "Confirm", err, store.ErrClosed)
	wantErr(t, "Commit", e.Commit(1, gen), store.ErrClosed)
	wantErr(t, "Abort", e.Abort(1, gen), store.ErrClosed)
	wantErr(t, "Purge", e.Purge(1, 1), store.ErrClosed)
	wantErr(t, "Drop", e.Drop(1), store.ErrClosed)
	wantErr(t, "SetMeta", e.SetMeta(map[string][]byte{"a": {1}}), store.ErrClosed)
	wantErr(t, "Meta", e.Meta("", func(string, []byte) bool { return true }), store.ErrClosed)
	wantErr(t, "Sync", e.Sync(1), store.ErrClosed)
	if got := e.Victims(nil, 5, nil); len(got) != 0 {
		t.Errorf("Victims of a closed engine = %v", got)
	}
	if got := e.Expired(nil, 5, at(1<<50), nil); len(got) != 0 {
		t.Errorf("Expired of a closed engine = %v", got)
	}
	e.SlotStats(1)
	e.Stats()
	e.MaxVersion(1)
	fail(t, e.Close())
}

// testCloseBeside has every call run beside Close: each one does what it should or
// says that the engine is closed, and nobody misses what is there.
func testCloseBeside(t *testing.T, e store.Engine) {
	const records = 500
	for slot := range uint16(6) {
		fill(t, e, slot, records)
	}
	recs := make([]store.Record, records)
	for i := range recs {
		recs[i] = value(key(i), "again", 2)
	}
	begun := func(slot uint16, end func(store.Generation) error) error {
		gen, err := e.Begin(slot)
		if err == nil {
			err = e.ApplyTo(slot, gen, recs)
		}
		if err == nil && end != nil {
			err = end(gen)
		}
		return err
	}
	var wg, under sync.WaitGroup
	for name, call := range map[string]func() error{
		"Begin":  func() error { return begun(1, nil) },
		"Commit": func() error { return begun(2, func(gen store.Generation) error { return e.Commit(2, gen) }) },
		"Abort":  func() error { return begun(3, func(gen store.Generation) error { return e.Abort(3, gen) }) },
		"Drop":   func() error { return errors.Join(e.Apply(4, recs), e.Drop(4)) },
		"Confirm": func() error {
			d, err := e.Digest(5, 0, 1<<62)
			if err == nil {
				err = begun(5, func(gen store.Generation) error { _, err := e.Confirm(5, gen, 0, 1<<62, d); return err })
			}
			return err
		},
		"Get": func() error {
			it, err := e.Get(nil, 0, 0, key(7), "", 0)
			if err == nil && it.State == store.Absent {
				t.Error("Get misses what is there")
			}
			return err
		},
		"Fetch": func() error {
			it, err := e.Fetch(nil, 0, 0, key(8), "", 0)
			if err == nil && it.State != store.Found {
				t.Errorf("Fetch says %v of what is there", it.State)
			}
			return err
		},
		"Range": func() error {
			n := 0
			_, _, err := e.Range(0, store.Cursor{}, func(store.Record) bool { n++; return true })
			if err == nil && n != records {
				t.Errorf("Range saw %d of %d", n, records)
			}
			return err
		},
		"Update": func() error {
			return e.Update(6, 0, "a", "", 0, func(it store.Item) (store.Record, bool) {
				return store.Record{Version: it.Version + 1, Value: make([]byte, it.Version%4<<14), Expiry: 1}, true
			})
		},
		"Purge": func() error { return errors.Join(e.Apply(6, []store.Record{tombstone("b", 1)}), e.Purge(6, 1)) },
		"counts": func() error {
			e.Expired(nil, 10, at(100), nil)
			e.Victims(nil, 10, nil)
			e.Stats()
			e.SlotStats(1)
			e.MaxVersion(1)
			e.Short(1)
			return errors.Join(e.Meta("", func(string, []byte) bool { return true }), e.SetMeta(map[string][]byte{"a": {1}}), e.Sync(1))
		},
	} {
		under.Add(1)
		wg.Go(func() {
			err := call()
			under.Done()
			for err == nil {
				err = call()
			}
			if !errors.Is(err, store.ErrClosed) {
				t.Errorf("%s beside Close = %v", name, err)
			}
		})
	}
	under.Wait()
	fail(t, e.Close())
	wg.Wait()
}
