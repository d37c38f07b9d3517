// Catalog puts the cache in front of a slow table of products: whatever number
// of replicas and callers ask, the table is asked once for a product, until its
// price changes.
//
//	go run ./examples/catalog
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/examples/internal/fleet"
)

const (
	products = 2000
	reads    = 12000
	changes  = 20
	slowness = 2 * time.Millisecond
)

// table is the origin: a database that takes its time.
type table struct {
	db      *pebble.DB
	queries atomic.Int64
}

type product struct {
	Number uint32
	Price  uint32
}

func (t *table) get(ctx context.Context, number string) (product, error) {
	t.queries.Add(1)
	select {
	case <-time.After(slowness):
	case <-ctx.Done():
		return product{}, ctx.Err()
	}
	row, closer, err := t.db.Get([]byte(number))
	if errors.Is(err, pebble.ErrNotFound) {
		return product{}, slotmesh.ErrNotFound
	}
	if err != nil {
		return product{}, err
	}
	defer closer.Close()
	return product{binary.BigEndian.Uint32(row), binary.BigEndian.Uint32(row[4:])}, nil
}

func (t *table) set(number int, price uint32) error {
	row := binary.BigEndian.AppendUint32(nil, uint32(number))
	return t.db.Set(fmt.Append(nil, number), binary.BigEndian.AppendUint32(row, price), pebble.NoSync)
}

// catalog is a replica's way to the products.
type catalog struct {
	view  *slotmesh.Typed[product]
	table *table
}

func (c catalog) product(ctx context.Context, number int) (product, error) {
	return c.view.GetOrLoad(ctx, fmt.Sprint(number), c.table.get,
		slotmesh.LoadTTL(10*time.Minute), slotmesh.LoadJitter(0.2), slotmesh.LoadNegative(time.Minute))
}

// reprice changes a product where it is kept, and then forgets what is cached:
// also what is being loaded at this moment.
func (c catalog) reprice(ctx context.Context, number int, price uint32) error {
	if err := c.table.set(number, price); err != nil {
		return err
	}
	_, err := c.view.Delete(ctx, fmt.Sprint(number))
	return err
}

func main() { fleet.Run("catalog", 3, sell) }

func sell(ctx context.Context, replicas []*slotmesh.Cache) (err error) {
	db, err := pebble.Open("", &pebble.Options{FS: vfs.NewMem(), Logger: quiet{}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	origin := &table{db: db}
	for i := range products {
		if err := origin.set(i, uint32(i)); err != nil {
			return err
		}
	}

	var mu sync.Mutex
	var failed error
	asked := map[int]bool{}
	var wg sync.WaitGroup
	const callers = 20 // on each replica
	for i, cache := range replicas {
		c := catalog{slotmesh.For[product](cache, "product:"), origin}
		for j := range callers {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), uint64(j)))
				popular := rand.NewZipf(r, 1.1, 10, products-1)
				for range reads / len(replicas) / callers {
					number := int(popular.Uint64())
					p, err := c.product(ctx, number)
					if err == nil && (p.Number != uint32(number) || p.Price%products != uint32(number)) {
						err = fmt.Errorf("product %d is %+v", number, p)
					}
					mu.Lock()
					asked[number] = true
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	n := origin.queries.Load()
	fmt.Printf("%d reads of %d products: the table was asked %d times, hit rate %.1f %%\n", reads, len(asked), n, 100*(1-float64(n)/reads))
	if n != int64(len(asked)) {
		return fmt.Errorf("the table was asked %d times for %d products", n, len(asked))
	}

	// New prices are seen at once, on every replica.
	for i := range changes {
		c := catalog{slotmesh.For[product](replicas[i%len(replicas)], "product:"), origin}
		if err := c.reprice(ctx, i, uint32(i+products)); err != nil {
			return err
		}
		for _, other := range replicas {
			p, err := catalog{slotmesh.For[product](other, "product:"), origin}.product(ctx, i)
			if err != nil || p.Price != uint32(i+products) {
				return fmt.Errorf("product %d costs %d after its price became %d (%v)", i, p.Price, i+products, err)
			}
		}
	}
	// A product that there is not is asked for once.
	before := origin.queries.Load()
	for _, cache := range replicas {
		if _, err := (catalog{slotmesh.For[product](cache, "product:"), origin}).product(ctx, products+1); !errors.Is(err, slotmesh.ErrNotFound) {
			return fmt.Errorf("a product that there is not gives %w", err)
		}
	}
	fmt.Printf("%d new prices seen at once; an unknown product cost %d query\n", changes, origin.queries.Load()-before)
	if origin.queries.Load() != before+1 {
		return errors.New("an unknown product was asked for more than once")
	}
	return nil
}

// quiet is a logger of Pebble's that says nothing.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(string, ...any)             {}
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
