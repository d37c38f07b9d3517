package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// Tx is a transaction under way: see Cache.Txn. It is for the goroutine that
// the function runs in, and its calls give ErrInvalid once that has returned.
//
// A call's error other than ErrNotFound, ErrConditionFailed and
// ErrVersionMismatch ends the transaction, also where the function goes on.
type Tx struct {
	c      *Cache
	ctx    context.Context
	slot   uint16
	reads  []txRead        // in the order they were read
	writes []node.TxnWrite // in the order their keys were first written
	size   int
	label  uint8
	err    error
	over   bool

	mayGuess bool // reads may be taken from a copy here, to be confirmed
	guessed  bool // some were, and are not yet

	// Most transactions have no more.
	someReads  [4]txRead
	someWrites [2]node.TxnWrite
}

type txRead struct {
	key  string
	res  node.Result
	bare bool // without the value
}

// version is 0 for an absent key.
func (r *txRead) version() uint64 {
	if !r.res.Found {
		return 0
	}
	return r.res.Version
}

// Txn runs f, whose reads and writes of keys in the slot of tag take effect
// together or not at all, as if nothing else ran meanwhile. tag is a hash tag,
// with or without its braces, or a key: Txn(ctx, "user:42", ...) works on
// "user:42", "{user:42}cart" and all others with that tag.
//
// Writes are kept here until f returns nil, and reads see them. Then one message
// commits: if a key that f read was written by others since, nothing happens and
// f runs again, after a random moment, up to a hundred times. So f must have no
// effects of its own. What it reads belongs together at every moment: a read
// that does not fit the earlier ones gives ErrConflict inside, and f runs again
// whatever it returns. An error of f is otherwise returned as it is and nothing
// is written.
//
// All copies of the slot get the writes as one unit; no crash leaves half of
// them. Where two sides of a cut cluster are merged, each key is decided by
// itself.
//
// Cost: a round trip for each call that reads, unless the slot is served here,
// and one for the commit; GetMany and ExistsMany read many keys in one. Where this
// node holds a backup of the slot f first reads there, for nothing; the commit, or a
// message of its own before anything else that f led to is returned, confirms that
// this was how the keys were. A transaction that wrote nothing otherwise commits for nothing.
//
// Errors, beside those of f: ErrCrossSlot, already from the call inside;
// ErrConflict, beside ctx's error where ctx ended amid conflicts; ErrTooLarge beyond 1024 keys read, or written, or where the writes
// together exceed the limit of one value; otherwise those of Set.
func (c *Cache) Txn(ctx context.Context, tag string, f func(tx *Tx) error) error {
	if f == nil {
		return fmt.Errorf("%w: Txn with a nil function", ErrInvalid)
	}
	var why error // the run before came to nothing
	for attempt := range maxAttempts {
		if err := jitter(ctx, attempt); err != nil {
			return amidConflicts(ctx, err, why, attempt)
		}
		tx := &Tx{c: c, ctx: ctx, slot: hashtag.Slot(tag)}
		tx.reads, tx.writes = tx.someReads[:0], tx.someWrites[:0]
		tx.mayGuess = attempt == 0 && c.guesses.may(tx.slot)
		err, again := tx.attempt(f)
		switch {
		case !again:
			return amidConflicts(ctx, err, why, attempt)
		case tx.guessed:
			c.guesses.missed(tx.slot)
		}
		why = err
	}
	return fmt.Errorf("%w; the transaction on %s was tried %d times", why, quoted(tag), maxAttempts)
}

// amidConflicts is err, or where that is a context's that has ended after attempts which
// came to nothing, both.
func amidConflicts(ctx context.Context, err, why error, attempts int) error {
	if err == nil || why == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) || errors.Is(err, ErrUnknownOutcome) {
		return err
	}
	return fmt.Errorf("%w, after %d attempts: %w", err, attempts, why)
}

// Why a transaction is run again.
var (
	errWritten    = fmt.Errorf("%w: what was read was written by others", ErrConflict)
	errAnswerLost = fmt.Errorf("%w: an answer was lost", ErrConflict)
)

func (tx *Tx) run(f func(*Tx) error) error {
	defer func() { tx.over = true }() // also where f panics
	return f(tx)
}

// attempt runs f once and commits; again says that it came to nothing, and err why. One
// that writes nothing saw its keys as they were together at its last read, unless
// that was guessed; then no more than that is confirmed, also where f failed.
func (tx *Tx) attempt(f func(*Tx) error) (err error, again bool) {
	err = tx.run(f)
	switch {
	case errors.Is(tx.err, ErrConflict):
		return tx.err, true
	case tx.err != nil:
		err = tx.err
	}
	var t node.Txn
	if err == nil {
		t.Writes = tx.writes
	}
	if len(t.Writes) == 0 && !tx.guessed {
		return err, false
	}
	switch _, refused := tx.send(&t); {
	case errors.Is(refused, ErrConflict):
		return refused, true
	case refused != nil:
		return refused, false
	}
	return err, false
}

// send has the primary do t if what was read so far still holds. Where it wrote nothing
// there is no outcome to be unknown: it is done again while there is time, and fails as
// reads do.
func (tx *Tx) send(t *node.Txn) (node.Result, error) {
	t.Checks = make([]node.TxnCheck, len(tx.reads))
	for i := range tx.reads {
		t.Checks[i] = node.TxnCheck{Key: tx.reads[i].key, Version: tx.reads[i].version()}
	}
	call := node.Call{Op: transport.OpTxn, Slot: tx.slot, Value: t.Pack(make([]byte, 0, tx.size+64))}
	r, err := tx.c.n.Do(tx.ctx, &call)
	switch {
	case errors.Is(err, ErrConflict):
		err = errWritten
	case len(t.Writes) > 0 || !errors.Is(err, ErrUnknownOutcome):
	case errors.Is(err, context.Canceled):
		err = context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%w: %w", ErrNoPrimary, context.DeadlineExceeded)
	default:
		err = errAnswerLost
	}
	return r, err
}

// fail ends the transaction with err.
func (tx *Tx) fail(err error) error {
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// check is what every call of the transaction begins with.
func (tx *Tx) check(keys ...string) error {
	switch {
	case tx.over:
		return fmt.Errorf("%w: the transaction is over", ErrInvalid)
	case tx.err != nil:
		return tx.err
	}
	if err := tx.ctx.Err(); err != nil {
		return tx.fail(err)
	}
	for _, key := range keys {
		if hashtag.Slot(key) != tx.slot {
			return tx.fail(fmt.Errorf("%w: %s is in slot %d, the transaction in %d", ErrCrossSlot, quoted(key), hashtag.Slot(key), tx.slot))
		}
		if !tx.c.n.Fits(key, 0) {
			return tx.fail(fmt.Errorf("%w: key %s of %d bytes", ErrTooLarge, quoted(key), len(key)))
		}
	}
	return nil
}

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
		if before != nil && (bare || !before.bare) || contains(missing, key) {
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

func contains(keys []string, key string) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
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

// guesses say where transactions had better not read from a backup: others write
// the same keys all the time.
type guesses [256]atomic.Uint32 // by slot: so many more transactions ask the primary

const afterMiss = 32

func (g *guesses) may(slot uint16) bool {
	left := &g[int(slot)%len(g)]
	n := left.Load()
	if n > 0 {
		left.CompareAndSwap(n, n-1)
	}
	return n == 0
}

func (g *guesses) missed(slot uint16) { g[int(slot)%len(g)].Store(afterMiss) }

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
