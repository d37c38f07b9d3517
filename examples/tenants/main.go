// Tenants keeps the documents of many tenants in one cache. A tenant is a hash
// tag: its documents are in one slot, are counted against its limit in the very
// transaction that stores them, and are gone with one call when it leaves.
//
//	go run ./examples/tenants
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/examples/internal/fleet"
)

const (
	tenants  = 12
	limit    = 25 // documents of a tenant
	attempts = 40 // to store one, of each tenant
)

var errFull = errors.New("the tenant's limit is reached")

// store is one tenant's documents as a replica sees them.
type store struct {
	cache  *slotmesh.Cache
	tenant string
	count  *slotmesh.Typed[int]
}

func open(c *slotmesh.Cache, tenant string) store {
	return store{c, tenant, slotmesh.For[int](c, "{"+tenant+"}:count")}
}

func (s store) key(document string) string { return "{" + s.tenant + "}:doc:" + document }

// put stores a document, if there is room for it.
func (s store) put(ctx context.Context, document string, text []byte) error {
	return s.cache.Txn(ctx, s.tenant, func(tx *slotmesh.Tx) error {
		n, err := s.count.In(tx).Get("")
		if err != nil && !errors.Is(err, slotmesh.ErrNotFound) {
			return err
		}
		switch err := tx.Set(s.key(document), text, slotmesh.IfAbsent()); {
		case errors.Is(err, slotmesh.ErrConditionFailed):
			return tx.Set(s.key(document), text) // replaced: it is counted already
		case err != nil:
			return err
		case n >= limit:
			return errFull
		}
		return s.count.In(tx).Set("", n+1)
	})
}

// documents counts what is there.
func (s store) documents(ctx context.Context) (n int, err error) {
	for _, err := range s.cache.Scan(ctx, slotmesh.ScanTag(s.tenant), slotmesh.ScanPrefix(s.key("")), slotmesh.ScanKeysOnly()) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// leave removes all that the tenant has.
func (s store) leave(ctx context.Context) (int, error) {
	return s.cache.DeletePrefix(ctx, "{"+s.tenant+"}", nil, slotmesh.ScanTag(s.tenant))
}

func name(i int) string { return fmt.Sprintf("tenant-%d", i) }

func main() { fleet.Run("tenants", 3, host) }

func host(ctx context.Context, replicas []*slotmesh.Cache) error {
	var stored, refused atomic.Int64
	errs := make([]error, tenants)
	var wg sync.WaitGroup
	for i := range tenants {
		wg.Go(func() {
			for k := range attempts {
				err := open(replicas[k%len(replicas)], name(i)).put(ctx, fmt.Sprint(k), fmt.Appendf(nil, "document %d", k))
				switch {
				case errors.Is(err, errFull):
					refused.Add(1)
				case err != nil:
					errs[i] = err
					return
				default:
					stored.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Printf("%d tenants: %d documents stored, %d refused\n", tenants, stored.Load(), refused.Load())
	for i := range tenants {
		n, err := open(replicas[0], name(i)).documents(ctx)
		if err != nil || n != limit {
			return fmt.Errorf("%s has %d documents (%v), want %d", name(i), n, err, limit)
		}
	}

	where, err := replicas[0].Cluster().Explain(ctx, "{"+name(3)+"}:count")
	if err != nil {
		return err
	}
	fmt.Printf("%s is in slot %d, served by %s\n", name(3), where.Slot, where.Primary)
	removed, err := open(replicas[1], name(3)).leave(ctx)
	if err != nil || removed != limit+1 {
		return fmt.Errorf("%d keys removed (%v), want %d", removed, err, limit+1)
	}
	for i := range tenants {
		want := limit
		if i == 3 {
			want = 0
		}
		if n, err := open(replicas[2], name(i)).documents(ctx); err != nil || n != want {
			return fmt.Errorf("after %s left, %s has %d documents (%v), want %d", name(3), name(i), n, err, want)
		}
	}
	fmt.Printf("%s left with %d keys, the others have theirs\n", name(3), removed)
	return nil
}
