package simcluster

import (
	"context"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// Do makes a call from the node of a name.
func (sc *Cluster) Do(ctx context.Context, from string, c node.Call) (node.Result, error) {
	c.Slot = hashtag.Slot(c.Key)
	h := sc.Host(from)
	h.mu.Lock()
	n := h.node
	h.mu.Unlock()
	if n == nil {
		return node.Result{}, node.ErrClosed
	}
	return n.Do(ctx, &c)
}

// DoWithin is Do by a caller that waits for so long.
func (sc *Cluster) DoWithin(wait time.Duration, from string, c node.Call) (node.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	return sc.Do(ctx, from, c)
}

// Set stores a value from the node of a name.
func (sc *Cluster) Set(from, key, value string) error {
	_, err := sc.Do(context.Background(), from, node.Call{Op: transport.OpSet, Key: key, Value: []byte(value)})
	return err
}

// Delete removes a key from the node of a name.
func (sc *Cluster) Delete(from, key string) error {
	_, err := sc.Do(context.Background(), from, node.Call{Op: transport.OpDelete, Key: key})
	return err
}

// Get reads a value from the node of a name; found is false on a miss.
func (sc *Cluster) Get(from, key string) (value string, found bool, err error) {
	r, err := sc.Do(context.Background(), from, node.Call{Op: transport.OpGet, Key: key})
	return string(r.Value), r.Found, err
}

// Incr adds to a counter from the node of a name.
func (sc *Cluster) Incr(from, key string, delta int64) (int64, error) {
	r, err := sc.Do(context.Background(), from, node.Call{Op: transport.OpIncr, Key: key, Delta: delta})
	return r.Int, err
}

// Owner returns the name of the node that serves a key, as another sees it;
// "" if it does not run.
func (sc *Cluster) Owner(asSeenBy, key string) string {
	cl := sc.Node(asSeenBy).Table().Claim(hashtag.Slot(key))
	if cl == nil {
		return ""
	}
	if h := sc.hostOf(cl.Primary); h != nil {
		return h.Name
	}
	return ""
}

// KeyServedBy returns a key that a node serves.
func (sc *Cluster) KeyServedBy(name string) string {
	for i := range 10000 {
		key := fmt.Sprintf("key%d", i)
		if sc.Owner(name, key) == name {
			return key
		}
	}
	sc.T.Fatalf("%s serves no slot", name)
	return ""
}

// KeyHeldBy returns a key that one node serves and of which another is the only backup.
func (sc *Cluster) KeyHeldBy(primary, backup string) string {
	table := sc.Node("n1").Table()
	for i := range 100_000 {
		key := fmt.Sprintf("key%d", i)
		cl := table.Claim(hashtag.Slot(key))
		if sc.Owner("n1", key) == primary && len(cl.Backups) == 1 && cl.Backups[0] == sc.Node(backup).Self().ID {
			return key
		}
	}
	sc.T.Fatal("no such key")
	return ""
}

// Fill sets n keys from the node of a name, and ends the test if it can't.
func (sc *Cluster) Fill(from string, n int) {
	sc.T.Helper()
	for i := range n {
		if err := sc.Set(from, fmt.Sprintf("fill%d", i), fmt.Sprintf("value%d", i)); err != nil {
			sc.T.Fatalf("Set(fill%d) from %s: %v", i, from, err)
		}
	}
}

// CheckFilled reports keys of Fill that are not as they were set.
func (sc *Cluster) CheckFilled(from string, n int) {
	sc.T.Helper()
	bad := 0
	for i := range n {
		key, want := fmt.Sprintf("fill%d", i), fmt.Sprintf("value%d", i)
		if got, _, err := sc.Get(from, key); err != nil || got != want {
			if bad++; bad <= 5 {
				sc.T.Errorf("Get(%s) from %s = %q, %v; want %q (slot %d)", key, from, got, err, want, hashtag.Slot(key))
			}
		}
	}
	if bad > 5 {
		sc.T.Errorf("%d of %d keys are wrong", bad, n)
	}
}

// Must ends the test on an error.
func (sc *Cluster) Must(err error) {
	sc.T.Helper()
	if err != nil {
		sc.T.Fatal(err)
	}
}
