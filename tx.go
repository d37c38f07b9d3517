package slotmesh

import (
	"fmt"
	"slices"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// readOf is what was read of a key, nil if it was not. Most transactions are
// small: looking through them costs less than a map. Of 1024 keys all looks
// together take some milliseconds.
func (tx *Tx) readOf(key string) *txRead {
	for i := range tx.reads {
		if tx.reads[i].key == key {
			return &tx.reads[i]
		}
	}
	return nil
}

// writeOf is what was written to a key, nil if nothing was.
func (tx *Tx) writeOf(key string) *node.TxnWrite {
	for i := range tx.writes {
		if tx.writes[i].Key == key {
			return &tx.writes[i]
		}
	}
	return nil
}

// read has keys among the reads, all of them as they are at one moment; bare:
// without their values.
func (tx *Tx) read(bare bool, keys ...string) error {
	missing, count := make([]string, 0, len(keys)), len(tx.reads)
	for _, key := range keys {
		before := tx.readOf(key)
		if before != nil && (bare || !before.bare) || slices.Contains(missing, key) {
			continue
		}
		if missing = append(missing, key); before == nil {
			count++
		}
	}
	if count > node.MaxTxnKeys {
		return tx.fail(fmt.Errorf("%w: a transaction that reads more than %d keys", ErrTooLarge, node.MaxTxnKeys))
	}
	if tx.mayGuess && len(missing) > 0 && (len(tx.reads) == 0 || tx.guessed) {
		if ok, err := tx.guess(missing); ok || err != nil {
			return err
		}
	}
	// What is read alone has to be confirmed together with what was read before.
	alone, confirmed := len(missing) == 1 && len(tx.reads) == 0, true
	for len(missing) > 0 || !confirmed {
		var got []node.Result
		if !alone {
			r, err := tx.send(&node.Txn{Reads: missing, Bare: bare})
			if tx.guessed = false; err != nil {
				return tx.fail(err)
			}
			reads, ok := node.UnpackReads(r.Value, len(missing))
			if !ok {
				return tx.fail(fmt.Errorf("read %s: %w: malformed answer", quoted(missing[0]), ErrIncompatible))
			}
			got, confirmed = reads, true
		}
		if len(got) == 0 && len(missing) > 0 { // too large, or a peer that knows no such reads
			call := keyCall(transport.OpGet, missing[0])
			if bare {
				call.Op = transport.OpPeek
			}
			r, err := tx.c.n.Do(tx.ctx, &call)
			if err != nil {
				tx.guessed = false // it led to nothing
				return tx.fail(err)
			}
			got, confirmed = []node.Result{r}, len(tx.reads) == 0
		}
		for i := range got {
			if err := tx.remember(missing[i], got[i], bare); err != nil {
				return err
			}
		}
		missing, alone = missing[len(got):], false
	}
	return nil
}

// guess reads missing from a copy here; false: there is none. What was guessed
// before has to be there still, so that all belongs together.
func (tx *Tx) guess(missing []string) (ok bool, err error) {
	keys := missing
	for i := range tx.reads {
		keys = append(keys, tx.reads[i].key)
	}
	got, ok := tx.c.n.Guess(tx.slot, keys)
	if !ok {
		return false, nil
	}
	for i := range tx.reads {
		if now := (txRead{res: got[len(missing)+i]}); now.version() != tx.reads[i].version() {
			return true, tx.fail(errWritten)
		}
	}
	for i, key := range missing {
		if err := tx.remember(key, got[i], false); err != nil {
			return true, err
		}
	}
	tx.guessed = true
	return true, nil
}

func (tx *Tx) remember(key string, r node.Result, bare bool) error {
	now := txRead{key, r, bare}
	if before := tx.readOf(key); before != nil { // its value was not wanted then
		if before.version() != now.version() {
			return tx.fail(errWritten)
		}
		*before = now
		return nil
	}
	tx.reads = append(tx.reads, now)
	tx.size += len(key) + 16
	return nil
}

// result is a key as the transaction sees it, its own writes included.
func (tx *Tx) result(bare bool, key string) (node.Result, error) {
	if err := tx.check(key); err != nil {
		return node.Result{}, err
	}
	if tx.writeOf(key) == nil {
		if err := tx.read(bare, key); err != nil {
			return node.Result{}, err
		}
	}
	return tx.known(key), nil
}

// known is result of a key that was read or written.
func (tx *Tx) known(key string) node.Result {
	w, read := tx.writeOf(key), tx.readOf(key)
	if w == nil {
		return read.res
	}
	r := node.Result{Found: !w.Delete, Value: w.Value, Schema: w.Schema, Expiry: w.Expiry}
	switch {
	case w.Flags&transport.FlagRelative != 0:
		r.Expiry += time.Now().UnixMilli()
	case w.Flags&transport.FlagKeepTTL != 0 && read != nil:
		r.Expiry = read.res.Expiry
	}
	return r
}

// Get returns key's value, the transaction's own write included. It is the
// caller's own. Its errors are those of Cache.Get, and ErrCrossSlot.
func (tx *Tx) Get(key string) ([]byte, error) {
	r, err := tx.result(false, key)
	switch {
	case err != nil:
		return nil, err
	case !r.Found:
		return nil, ErrNotFound
	}
	return append([]byte{}, r.Value...), nil
}

// GetMany reads keys of the transaction's slot in one message: results are in
// the order of keys, and one at fault ends the transaction. Of a key that the
// transaction has written Version is 0, and Expires is what it will be, with a TTL
// counted from now by this node's clock.
func (tx *Tx) GetMany(keys ...string) []ItemResult { return tx.many(false, keys) }

// ExistsMany is GetMany without the values, which do not travel: Err is ErrNotFound
// where there is no such key, and otherwise Version and Expires are the key's.
func (tx *Tx) ExistsMany(keys ...string) []ItemResult { return tx.many(true, keys) }

func (tx *Tx) many(bare bool, keys []string) []ItemResult {
	err := tx.check(keys...)
	if err == nil {
		unwritten := make([]string, 0, len(keys))
		for _, key := range keys {
			if w := tx.writeOf(key); w == nil || w.Flags&transport.FlagKeepTTL != 0 {
				unwritten = append(unwritten, key)
			}
		}
		err = tx.read(bare, unwritten...)
	}
	results := make([]ItemResult, len(keys))
	for i, key := range keys {
		results[i].Key = key
		if err != nil {
			results[i].Err = err
			continue
		}
		r := tx.known(key)
		if !r.Found {
			results[i].Err = ErrNotFound
			continue
		}
		it := newItem(key, r)
		if !bare {
			results[i].Value = append([]byte{}, r.Value...)
		}
		results[i].Version, results[i].Expires = it.Version, it.Expires
	}
	return results
}

// Set writes a copy of value under key when the transaction commits. It takes
// the options of Cache.Set; a condition is judged at once, by what the
// transaction sees, and holds at the commit. IfVersion means the version
// outside of the transaction.
//
// Errors: ErrInvalid, ErrCrossSlot, ErrTooLarge, ErrConditionFailed,
// ErrVersionMismatch, and with a condition those of Get.
func (tx *Tx) Set(key string, value []byte, opts ...SetOption) error {
	return tx.set(key, value, 0, opts)
}

func (tx *Tx) set(key string, value []byte, schema uint32, opts []SetOption) error {
	if err := tx.check(key); err != nil {
		return err
	}
	call := node.Call{Key: key}
	if err := applySet(&call, opts); err != nil {
		return tx.fail(err)
	}
	if err := tx.conditions(key, &call); err != nil {
		return err
	}
	w := node.TxnWrite{
		Key: key, Value: append([]byte{}, value...), Schema: schema,
		Flags: call.Flags & (transport.FlagRelative | transport.FlagKeepTTL), Expiry: call.Expiry,
	}
	if before := tx.writeOf(key); before != nil && w.Flags&transport.FlagKeepTTL != 0 {
		// What is kept is the expiry as this transaction has set it.
		w.Flags, w.Expiry = before.Flags, before.Expiry
	}
	return tx.write(w)
}

// conditions judges the conditions of a Set.
func (tx *Tx) conditions(key string, call *node.Call) error {
	const any = transport.FlagIfAbsent | transport.FlagIfPresent | transport.FlagIfVersion
	if call.Flags&any == 0 {
		return nil
	}
	r, err := tx.result(true, key)
	if err != nil {
		return err
	}
	switch {
	case call.Flags&transport.FlagIfAbsent != 0 && r.Found, call.Flags&transport.FlagIfPresent != 0 && !r.Found:
		return ErrConditionFailed
	case call.Flags&transport.FlagIfVersion != 0:
		if err := tx.read(true, key); err != nil {
			return err
		}
		if tx.readOf(key).version() != call.Version {
			return ErrVersionMismatch
		}
	}
	return nil
}

// SetLabel has the writes that follow in the transaction carry a number of the program's
// choice, which those who watch the keys get as Event.Label: what it was that wrote,
// where the value does not tell. Nothing else depends on it and it is not stored. The
// last write of a key counts. Package resp uses the labels from 224 on; 0, which is what
// there is without it, means none.
func (tx *Tx) SetLabel(label uint8) { tx.label = label }

func (tx *Tx) write(w node.TxnWrite) error {
	w.Label = tx.label
	before := tx.writeOf(w.Key)
	size := tx.size + len(w.Value)
	if before != nil {
		size -= len(before.Value)
	} else {
		size += len(w.Key) + 32
	}
	if before == nil && len(tx.writes) == node.MaxTxnKeys || !tx.c.n.Fits(w.Key, size) {
		return tx.fail(fmt.Errorf("%w: %d keys and %d bytes in one transaction", ErrTooLarge, len(tx.writes)+1, size))
	}
	if tx.size = size; before != nil {
		*before = w
	} else {
		tx.writes = append(tx.writes, w)
	}
	return nil
}

// Delete removes key when the transaction commits. Removing an absent key is no
// error. Errors: ErrCrossSlot, ErrTooLarge.
func (tx *Tx) Delete(key string) error {
	if err := tx.check(key); err != nil {
		return err
	}
	return tx.write(node.TxnWrite{Key: key, Delete: true})
}

// TypedTx is a typed view inside of a transaction.
type TypedTx[T any] struct {
	t  *Typed[T]
	tx *Tx
}

// In returns the view for use inside of tx. The keys of the view have to be in
// the transaction's slot.
func (t *Typed[T]) In(tx *Tx) TypedTx[T] { return TypedTx[T]{t, tx} }

// Get is Tx.Get of a T. Its errors are those of Tx.Get and of Typed.Get. ErrSchema
// and ErrCodec do not end the transaction: it may overwrite or remove such a value.
func (v TypedTx[T]) Get(key string) (T, error) {
	var none T
	if v.t.err != nil {
		return none, v.tx.fail(v.t.err)
	}
	r, err := v.tx.result(false, v.t.prefix+key)
	switch {
	case err != nil:
		return none, err
	case !r.Found:
		return none, ErrNotFound
	}
	return v.t.read(key, &r)
}

// Set is Tx.Set of a T. Its errors are those of Tx.Set, and ErrCodec.
func (v TypedTx[T]) Set(key string, value T, opts ...SetOption) error {
	if v.t.err != nil {
		return v.tx.fail(v.t.err)
	}
	data, err := v.t.codec.encode(v.t.prefix+key, value)
	if err != nil {
		return v.tx.fail(err)
	}
	return v.tx.set(v.t.prefix+key, data, v.t.schema, opts)
}

// Delete is Tx.Delete.
func (v TypedTx[T]) Delete(key string) error {
	if v.t.err != nil {
		return v.tx.fail(v.t.err)
	}
	return v.tx.Delete(v.t.prefix + key)
}
