package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestTxn runs the behaviour of transactions.
func TestTxn(t *testing.T) {
	parallel(t)
	onOneAndThree(t, map[string]func(*testing.T, pair){
		"reads and writes take effect together":   txnTogether,
		"own writes are seen":                     txnOwnWrites,
		"an error writes nothing":                 txnError,
		"keys of another slot":                    txnCrossSlot,
		"a conflict runs it again":                txnConflict,
		"a key that others keep writing":          txnConflictForEver,
		"a context that ends amid conflicts":      txnTimeIsUp,
		"conditions":                              txnConditions,
		"expiry":                                  txnExpiry,
		"expiry of own writes":                    txnOwnExpiry,
		"absent keys are guarded too":             txnAbsent,
		"transfers keep the sum":                  txnTransfers,
		"limits":                                  txnLimits,
		"bad input":                               txnBadInput,
		"typed values":                            txnTyped,
		"large values":                            txnLargeReads,
		"keys without their values":               txnBareReads,
		"what was read together belongs together": txnIsolatedErrors,
	})
}

func txnTogether(t *testing.T, p pair) {
	for i := range 20 {
		tag := unique(t, strconv.Itoa(i))
		a, b := "{"+tag+"}a", "{"+tag+"}b"
		set(t, p.w, a, "1")
		err := p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
			got, err := tx.Get(a)
			if err != nil {
				return err
			}
			return errors.Join(tx.Set(b, append(got, '!')), tx.Delete(a), tx.Set(tag, nil))
		})
		wantErr(t, "Txn", err, nil)
		wantValue(t, p.w, b, "1!")
		wantValue(t, p.w, tag, "")
		_, err = p.w.Get(t.Context(), a)
		wantErr(t, "Get of the deleted key", err, slotmesh.ErrNotFound)
	}
	wantErr(t, "empty Txn", p.r.Txn(t.Context(), "x", func(*slotmesh.Tx) error { return nil }), nil)
}

func txnOwnWrites(t *testing.T, p pair) {
	key := unique(t, "")
	set(t, p.w, key, "before")
	err := p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error {
		wantErr(t, "Set", tx.Set(key, []byte("mine")), nil)
		if got, err := tx.Get(key); string(got) != "mine" || err != nil {
			t.Errorf("Get = %q, %v, want mine", got, err)
		}
		wantErr(t, "Delete", tx.Delete(key), nil)
		_, err := tx.Get(key)
		wantErr(t, "Get of what was deleted", err, slotmesh.ErrNotFound)
		wantErr(t, "Set", tx.Set(key, []byte("again"), slotmesh.IfAbsent()), nil)
		many := tx.GetMany(key, "{"+key+"}none")
		if string(many[0].Value) != "again" || !errors.Is(many[1].Err, slotmesh.ErrNotFound) {
			t.Errorf("GetMany = %+v", many)
		}
		wantValue(t, p.w, key, "before") // not outside
		return nil
	})
	wantErr(t, "Txn", err, nil)
	wantValue(t, p.w, key, "again")
}

func txnError(t *testing.T, p pair) {
	key, mine := unique(t, ""), errors.New("mine")
	err := p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error {
		return errors.Join(tx.Set(key, []byte("v")), mine)
	})
	wantErr(t, "Txn", err, mine)
	_, err = p.w.Get(t.Context(), key)
	wantErr(t, "Get", err, slotmesh.ErrNotFound)
	func() {
		defer func() { _ = recover() }()
		_ = p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error {
			_ = tx.Set(key, []byte("v"))
			panic("user's own")
		})
	}()
	_, err = p.w.Get(t.Context(), key)
	wantErr(t, "Get after a panic", err, slotmesh.ErrNotFound)
}

func txnCrossSlot(t *testing.T, p pair) {
	tag := unique(t, "")
	for name, call := range map[string]func(tx *slotmesh.Tx) error{
		"Get":     func(tx *slotmesh.Tx) error { _, err := tx.Get("elsewhere"); return err },
		"GetMany": func(tx *slotmesh.Tx) error { return tx.GetMany(tag, "elsewhere")[1].Err },
		"Set":     func(tx *slotmesh.Tx) error { return tx.Set("elsewhere", nil) },
		"Delete":  func(tx *slotmesh.Tx) error { return tx.Delete("elsewhere") },
	} {
		runs := 0
		err := p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
			runs++
			wantErr(t, name, call(tx), slotmesh.ErrCrossSlot)
			_ = tx.Set(tag, []byte("v"))
			return nil // the transaction fails all the same
		})
		wantErr(t, "Txn", err, slotmesh.ErrCrossSlot)
		if runs != 1 {
			t.Errorf("it ran %d times, want once", runs)
		}
	}
	_, err := p.w.Get(t.Context(), tag)
	wantErr(t, "Get", err, slotmesh.ErrNotFound)
}

func txnConflict(t *testing.T, p pair) {
	key := unique(t, "")
	set(t, p.w, key, "0")
	runs := 0
	err := p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error {
		got, err := tx.Get(key)
		if runs++; runs == 1 {
			set(t, p.w, key, "1")
		}
		return errors.Join(err, tx.Set(key, append(got, '+')))
	})
	wantErr(t, "Txn", err, nil)
	if runs != 2 {
		t.Errorf("it ran %d times, want twice", runs)
	}
	wantValue(t, p.w, key, "1+")
	// Writes alone meet no conflict.
	wantErr(t, "Txn", p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error {
		set(t, p.w, key, "2")
		return tx.Set(key, []byte("blind"))
	}), nil)
	wantValue(t, p.w, key, "blind")
}

func txnConflictForEver(t *testing.T, p pair) {
	key := unique(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // for a hundred attempts
	defer cancel()
	err := p.r.Txn(ctx, key, func(tx *slotmesh.Tx) error {
		_, _ = tx.Get(key)
		set(t, p.w, key, "other")
		return tx.Set(key, nil)
	})
	wantErr(t, "Txn", err, slotmesh.ErrConflict)
	wantValue(t, p.w, key, "other")
}

// A call whose time is up amid conflicts says both.
func txnTimeIsUp(t *testing.T, p pair) {
	key := unique(t, "")
	v := slotmesh.For[int](p.r, key)
	for name, call := range map[string]func(ctx context.Context, other func()) error{
		"Txn": func(ctx context.Context, other func()) error {
			return p.r.Txn(ctx, key, func(tx *slotmesh.Tx) error {
				_, err := tx.Get(key)
				other()
				return errors.Join(err, tx.Set(key, nil))
			})
		},
		"Update": func(ctx context.Context, other func()) error {
			_, err := v.Update(ctx, "", func(int) (int, error) { other(); return 0, nil })
			return err
		},
	} {
		wantErr(t, "Set", v.Set(t.Context(), "", 1), nil)
		ctx, end := context.WithCancel(t.Context())
		runs := 0
		err := call(ctx, func() {
			if runs++; runs <= 3 {
				wantErr(t, "Set", v.Set(t.Context(), "", 1), nil)
			} else {
				end()
			}
		})
		wantErr(t, name, err, context.Canceled)
		wantErr(t, name, err, slotmesh.ErrConflict)
		err = call(ctx, func() { t.Error("called") })
		wantErr(t, name, err, context.Canceled)
		if errors.Is(err, slotmesh.ErrConflict) {
			t.Errorf("%s with a done context = %v, want no conflict", name, err)
		}
		end()
	}
}

func txnConditions(t *testing.T, p pair) {
	key := unique(t, "")
	err := p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error {
		wantErr(t, "IfPresent", tx.Set(key, nil, slotmesh.IfPresent()), slotmesh.ErrConditionFailed)
		wantErr(t, "IfVersion", tx.Set(key, nil, slotmesh.IfVersion(9)), slotmesh.ErrVersionMismatch)
		wantErr(t, "IfVersion(0)", tx.Set(key, []byte("v"), slotmesh.IfVersion(0)), nil)
		wantErr(t, "IfAbsent", tx.Set(key, nil, slotmesh.IfAbsent()), slotmesh.ErrConditionFailed)
		return nil
	})
	wantErr(t, "Txn", err, nil)
	wantValue(t, p.w, key, "v")
	runs := 0
	err = p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error {
		err := tx.Set(key, []byte("w"), slotmesh.IfPresent())
		if runs++; runs == 1 {
			_, _ = p.w.Delete(t.Context(), key)
		}
		return err
	})
	wantErr(t, "Txn whose condition ceased to hold", err, slotmesh.ErrConditionFailed)
}

func txnExpiry(t *testing.T, p pair) {
	key, other := unique(t, ""), "{"+unique(t, "")+"}x"
	wantErr(t, "Txn", p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error {
		return errors.Join(tx.Set(key, []byte("v"), slotmesh.TTL(time.Hour)), tx.Set(other, nil, slotmesh.ExpireAt(time.Now().Add(-time.Hour))))
	}), nil)
	wantTTL(t, p.w, key, 59*time.Minute, time.Hour)
	_, err := p.w.Get(t.Context(), other)
	wantErr(t, "Get of what expired in the past", err, slotmesh.ErrNotFound)
	wantErr(t, "Txn", p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error {
		return tx.Set(key, []byte("w"), slotmesh.KeepTTL())
	}), nil)
	wantTTL(t, p.w, key, 59*time.Minute, time.Hour)
	wantErr(t, "Txn", p.r.Txn(t.Context(), key, func(tx *slotmesh.Tx) error { return tx.Set(key, nil) }), nil)
	wantTTL(t, p.w, key, slotmesh.NoTTL, slotmesh.NoTTL)
}

func txnOwnExpiry(t *testing.T, p pair) {
	tag, at := unique(t, ""), time.Now().Add(time.Hour).Truncate(time.Millisecond)
	fixed, relative, kept, lasting := "{"+tag+"}fixed", "{"+tag+"}relative", "{"+tag+"}kept", "{"+tag+"}lasting"
	wantErr(t, "Set", p.w.Set(t.Context(), kept, nil, slotmesh.ExpireAt(at)), nil)
	wantErr(t, "Txn", p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
		before := time.Now()
		err := errors.Join(tx.Set(fixed, nil, slotmesh.ExpireAt(at)), tx.Set(relative, nil, slotmesh.TTL(time.Hour)),
			tx.Set(kept, []byte("own"), slotmesh.KeepTTL()), tx.Set(lasting, nil))
		for _, got := range [][]slotmesh.ItemResult{tx.ExistsMany(fixed, relative, kept, lasting), tx.GetMany(fixed, relative, kept, lasting)} {
			err = errors.Join(err, got[0].Err, got[1].Err, got[2].Err, got[3].Err)
			if !got[0].Expires.Equal(at) || !got[2].Expires.Equal(at) || !got[3].Expires.IsZero() {
				t.Errorf("Expires = %v, %v and %v, want %v, the same and never", got[0].Expires, got[2].Expires, got[3].Expires, at)
			}
			if d := got[1].Expires.Sub(before); d < time.Hour-time.Millisecond || d > time.Hour+time.Minute {
				t.Errorf("Expires is %v away, want an hour", d)
			}
		}
		if got, err := tx.Get(kept); string(got) != "own" || err != nil {
			t.Errorf("Get = %q, %v, want own", got, err)
		}
		return err
	}), nil)
	wantTTL(t, p.w, kept, 59*time.Minute, time.Hour)
}

func txnAbsent(t *testing.T, p pair) {
	a, b := "{"+unique(t, "")+"}a", "{"+unique(t, "")+"}b"
	runs := 0
	err := p.r.Txn(t.Context(), a, func(tx *slotmesh.Tx) error {
		_, err := tx.Get(a)
		if runs++; runs == 1 {
			set(t, p.w, a, "came")
		}
		return tx.Set(b, fmt.Append(nil, err == nil))
	})
	wantErr(t, "Txn", err, nil)
	wantValue(t, p.w, b, "true")
}

func txnTransfers(t *testing.T, p pair) {
	transfers(t, p.all, unique(t, ""), 6, 25)
}

// transfers moves money between accounts of one tag from every node while
// others read them all; every read has to see the same sum.
func transfers(t *testing.T, caches []*slotmesh.Cache, tag string, movers, each int) {
	t.Helper()
	const accounts, start = 4, 100
	key := func(i int) string { return fmt.Sprintf("{%s}%d", tag, i) }
	for i := range accounts {
		set(t, caches[0], key(i), strconv.Itoa(start))
	}
	stop := make(chan struct{})
	var moving, reading sync.WaitGroup
	for i := range caches {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				sum := 0
				err := caches[i].Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
					sum = 0
					for a := range accounts {
						got, err := tx.Get(key(a))
						if err != nil {
							return err
						}
						n, _ := strconv.Atoi(string(got))
						sum += n
					}
					if sum != accounts*start {
						t.Errorf("a transaction saw a sum of %d inside, want %d", sum, accounts*start)
					}
					return nil
				})
				if err != nil && !errors.Is(err, slotmesh.ErrConflict) {
					t.Errorf("reading Txn = %v", err)
				}
				if err == nil && sum != accounts*start {
					t.Errorf("a reader saw a sum of %d, want %d", sum, accounts*start)
				}
			}
		})
	}
	for i := range movers {
		moving.Go(func() {
			for j := range each {
				from, to := key((i+j)%accounts), key((i+2*j+1)%accounts)
				err := caches[i%len(caches)].Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
					both := tx.GetMany(from, to)
					if err := errors.Join(both[0].Err, both[1].Err); err != nil {
						return err
					}
					a, _ := strconv.Atoi(string(both[0].Value))
					b, _ := strconv.Atoi(string(both[1].Value))
					if from == to {
						return nil
					}
					return errors.Join(tx.Set(from, strconv.AppendInt(nil, int64(a-1), 10)), tx.Set(to, strconv.AppendInt(nil, int64(b+1), 10)))
				})
				if err != nil && !errors.Is(err, slotmesh.ErrConflict) {
					t.Errorf("Txn = %v", err)
				}
			}
		})
	}
	moving.Wait()
	close(stop)
	reading.Wait()
}

func txnLimits(t *testing.T, p pair) {
	tag := unique(t, "")
	wantErr(t, "Txn of 1024 keys", p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
		for i := range 1024 {
			if err := tx.Set(fmt.Sprintf("{%s}%d", tag, i), []byte("v")); err != nil {
				return err
			}
		}
		return nil
	}), nil)
	for i := range 1024 {
		wantValue(t, p.w, fmt.Sprintf("{%s}%d", tag, i), "v")
	}
	wantErr(t, "Txn of 1025 keys", p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
		for i := range 1025 {
			_ = tx.Set(fmt.Sprintf("{%s}%d", tag, i), []byte("w"))
		}
		return nil
	}), slotmesh.ErrTooLarge)
	wantErr(t, "Txn of two large values", p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
		return errors.Join(tx.Set("{"+tag+"}0", make([]byte, 5<<20)), tx.Set("{"+tag+"}1", make([]byte, 12<<20)))
	}), slotmesh.ErrTooLarge)
	wantErr(t, "Txn with a long key", p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
		return tx.Set("{"+tag+"}"+strings.Repeat("k", 64<<10), nil)
	}), slotmesh.ErrTooLarge)
	wantErr(t, "Txn that reads a long key", p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
		tx.GetMany("{"+tag+"}0", "{"+tag+"}"+strings.Repeat("k", 64<<10))
		return nil
	}), slotmesh.ErrTooLarge)
	wantValue(t, p.w, "{"+tag+"}0", "v")
}

func txnBadInput(t *testing.T, p pair) {
	ctx, key := t.Context(), unique(t, "")
	wantErr(t, "Txn of nil", p.r.Txn(ctx, key, nil), slotmesh.ErrInvalid)
	var kept *slotmesh.Tx
	wantErr(t, "Txn", p.r.Txn(ctx, key, func(tx *slotmesh.Tx) error { kept = tx; return nil }), nil)
	_, err := kept.Get(key)
	wantErr(t, "Get after the end", err, slotmesh.ErrInvalid)
	wantErr(t, "Set after the end", kept.Set(key, nil), slotmesh.ErrInvalid)
	wantErr(t, "Txn with TTL 0", p.r.Txn(ctx, key, func(tx *slotmesh.Tx) error {
		_ = tx.Set(key, nil, slotmesh.TTL(0))
		return nil
	}), slotmesh.ErrInvalid)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err = p.r.Txn(short, key, func(tx *slotmesh.Tx) error {
		for { // until its context ends
			if _, err := tx.Get(key); err != nil && !errors.Is(err, slotmesh.ErrNotFound) {
				return err
			}
		}
	})
	wantErr(t, "Txn that never ends", err, context.DeadlineExceeded)
	done, cancel := context.WithCancel(ctx)
	cancel()
	wantErr(t, "Txn with a done context", p.r.Txn(done, key, func(tx *slotmesh.Tx) error { return nil }), context.Canceled)
}

func txnTyped(t *testing.T, p pair) {
	ctx := t.Context()
	v := slotmesh.For[user](p.r, "{"+t.Name()+"}")
	for want := 1; want <= 2; want++ {
		wantErr(t, "Txn", p.r.Txn(ctx, t.Name(), func(tx *slotmesh.Tx) error {
			in := v.In(tx)
			u, err := in.Get("a")
			if err != nil && !errors.Is(err, slotmesh.ErrNotFound) {
				return err
			}
			u.Age++
			return errors.Join(in.Set("a", u), in.Set("b", u), in.Delete("c"))
		}), nil)
		if u, err := v.Get(ctx, "b"); u.Age != want || err != nil {
			t.Errorf("Get = %+v, %v, want age %d", u, err, want)
		}
	}
	// What cannot be encoded writes nothing at all, what cannot be read may be overwritten.
	anys := slotmesh.For[any](p.r, "{"+t.Name()+"}", slotmesh.WithCodec(slotmesh.JSON()), slotmesh.SchemaErrors())
	wantErr(t, "Txn that ignores an error", p.r.Txn(ctx, t.Name(), func(tx *slotmesh.Tx) error {
		_ = v.In(tx).Set("a", user{})
		_ = anys.In(tx).Set("b", func() {})
		return nil
	}), slotmesh.ErrCodec)
	if u, err := v.Get(ctx, "a"); u.Age != 2 || err != nil {
		t.Errorf("Get = %+v, %v, want age 2", u, err)
	}
	wantErr(t, "Txn over another schema", p.r.Txn(ctx, t.Name(), func(tx *slotmesh.Tx) error {
		_, err := anys.In(tx).Get("a")
		wantErr(t, "Get", err, slotmesh.ErrSchema)
		return anys.In(tx).Set("a", "mine")
	}), nil)
}

// A function that finds a contradiction in what it read is run again if what
// it read never was true at one time.
func txnIsolatedErrors(t *testing.T, p pair) {
	a, b := "{"+unique(t, "")+"}a", "{"+unique(t, "")+"}b"
	set(t, p.w, a, "1")
	set(t, p.w, b, "1")
	runs := 0
	err := p.r.Txn(t.Context(), a, func(tx *slotmesh.Tx) error {
		va, err := tx.Get(a)
		if err != nil {
			return err
		}
		if runs++; runs == 1 {
			_ = p.w.Txn(t.Context(), a, func(tx *slotmesh.Tx) error {
				return errors.Join(tx.Set(a, []byte("2")), tx.Set(b, []byte("2")))
			})
		}
		vb, err := tx.Get(b)
		if runs == 1 {
			wantErr(t, "Get of what does not fit", err, slotmesh.ErrConflict)
			return errors.New("of a run that does not count")
		}
		if err != nil || string(va) != string(vb) {
			t.Errorf("a is %s, b is %s, %v", va, vb, err)
		}
		return nil
	})
	wantErr(t, "Txn", err, nil)
	if runs != 2 {
		t.Errorf("it ran %d times, want twice", runs)
	}
}

// Values that do not fit into one answer, or are larger than it may be, are of
// one moment too.
func txnLargeReads(t *testing.T, p pair) {
	tag, value := unique(t, ""), strings.Repeat("x", 400<<10)
	keys := []string{"{" + tag + "}none"}
	for i := range 6 {
		keys = append(keys, fmt.Sprintf("{%s}%d", tag, i))
		set(t, p.w, keys[i+1], value)
	}
	huge := keys[6]
	set(t, p.w, huge, strings.Repeat("y", 2<<20))
	item, err := p.w.GetItem(t.Context(), keys[1])
	wantErr(t, "GetItem", err, nil)
	wantErr(t, "Expire", p.w.Expire(t.Context(), keys[2], time.Hour), nil)
	runs := 0
	wantErr(t, "Txn", p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
		if _, err := tx.Get(keys[1]); err != nil {
			return err
		}
		if runs++; runs == 1 {
			set(t, p.w, huge, strings.Repeat("z", 2<<20))
		}
		got := tx.GetMany(keys...)
		if !errors.Is(got[0].Err, slotmesh.ErrNotFound) || got[1].Version != item.Version || got[2].Expires.IsZero() {
			t.Errorf("%v, version %d (want %d), expiry %v", got[0].Err, got[1].Version, item.Version, got[2].Expires)
		}
		for i, r := range got[1:6] {
			if r.Err != nil || string(r.Value) != value {
				t.Errorf("value %d has %d bytes, %v", i, len(r.Value), r.Err)
			}
		}
		if r := got[6]; r.Err != nil || len(r.Value) != 2<<20 || r.Value[0] != 'z' {
			t.Errorf("the large value has %d bytes, %v", len(r.Value), r.Err)
		}
		return nil
	}), nil)
	if runs != 1 {
		t.Errorf("it ran %d times, want once: nothing read had changed", runs)
	}
}

func txnBareReads(t *testing.T, p pair) {
	tag := unique(t, "")
	none, there, own, huge := "{"+tag+"}none", "{"+tag+"}there", "{"+tag+"}own", "{"+tag+"}huge"
	set(t, p.w, there, "1")
	set(t, p.w, huge, strings.Repeat("y", 2<<20))
	wantErr(t, "Expire", p.w.Expire(t.Context(), huge, time.Hour), nil)
	item, err := p.w.GetItem(t.Context(), there)
	wantErr(t, "GetItem", err, nil)
	runs := 0
	wantErr(t, "Txn", p.r.Txn(t.Context(), tag, func(tx *slotmesh.Tx) error {
		runs++
		if err := tx.Set(own, []byte("mine")); err != nil {
			return err
		}
		got := tx.ExistsMany(none, there, own, huge, there)
		if !errors.Is(got[0].Err, slotmesh.ErrNotFound) || errors.Join(got[1].Err, got[2].Err, got[3].Err, got[4].Err) != nil {
			t.Errorf("ExistsMany = %+v", got)
		}
		if got[1].Version != item.Version && runs == 1 || got[3].Expires.IsZero() {
			t.Errorf("version %d, want %d; expiry %v", got[1].Version, item.Version, got[3].Expires)
		}
		for _, r := range got {
			if r.Value != nil {
				t.Errorf("%s has a value of %d bytes", r.Key, len(r.Value))
			}
		}
		if runs == 1 { // what was seen of it holds no more
			set(t, p.w, there, "2")
		}
		value, err := tx.Get(there)
		if runs == 1 && !errors.Is(err, slotmesh.ErrConflict) || runs == 2 && (err != nil || string(value) != "2") {
			t.Errorf("run %d: Get = %q, %v", runs, value, err)
		}
		value, err = tx.Get(huge)
		if runs == 2 && (err != nil || len(value) != 2<<20) {
			t.Errorf("Get = %d bytes, %v", len(value), err)
		}
		return err
	}), nil)
	if runs != 2 {
		t.Errorf("it ran %d times, want twice", runs)
	}
	wantValue(t, p.w, own, "mine")
}

// TestTxnSurvivesACrash moves money while the node that serves it is lost.
func TestTxnSurvivesACrash(t *testing.T) {
	parallel(t)
	if testing.Short() {
		t.Skip("a failover takes seconds")
	}
	caches := slotmeshtest.Start(t, 3)
	tag := ""
	for i := 0; ; i++ {
		tag = fmt.Sprintf("crash%d", i)
		if owner, err := caches[0].Cluster().Owner(tag); err == nil && owner.Self {
			break
		}
	}
	closed := make(chan error, 1)
	time.AfterFunc(150*time.Millisecond, func() { closed <- caches[0].Close() })
	transfers(t, caches[1:], tag, 4, 100)
	wantErr(t, "Close", <-closed, nil)
	transfers(t, caches[1:], tag, 4, 10)
}
