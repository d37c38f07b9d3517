// Ratelimit lets a user make so many requests in a time, counted over all
// replicas together: once by a counter per window, which is one call, and once by
// a token bucket, which refills evenly.
//
//	go run ./examples/ratelimit
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/examples/internal/fleet"
)

const (
	limit  = 50
	period = time.Second
	length = 1500 * time.Millisecond // of each demonstration
)

// window allows limit requests in each period, which begins with the first.
func window(ctx context.Context, c *slotmesh.Cache, user string) (bool, error) {
	_, err := c.Incr(ctx, "window:"+user, 1, slotmesh.IncrMax(limit), slotmesh.IncrTTL(period))
	if errors.Is(err, slotmesh.ErrConditionFailed) {
		return false, nil
	}
	return err == nil, err
}

// tokens is the state of a bucket.
type tokens struct {
	Left float64
	At   time.Time
}

var errEmpty = errors.New("bucket is empty")

// bucket allows limit requests at once and limit more per period, evenly.
func bucket(ctx context.Context, c *slotmesh.Cache, user string) (bool, error) {
	_, err := slotmesh.For[tokens](c, "bucket:").Update(ctx, user, func(t tokens) (tokens, error) {
		now := time.Now()
		if t.At.IsZero() {
			t = tokens{limit, now}
		}
		if d := now.Sub(t.At); d > 0 {
			t.Left = min(limit, t.Left+limit*d.Seconds()/period.Seconds())
			t.At = now
		}
		if t.Left < 1 {
			return t, errEmpty // nothing is written
		}
		t.Left--
		return t, nil
	}, slotmesh.TTL(time.Minute))
	if errors.Is(err, errEmpty) {
		return false, nil
	}
	return err == nil, err
}

func main() { fleet.Run("ratelimit", 3, demonstrate) }

func demonstrate(ctx context.Context, replicas []*slotmesh.Cache) error {
	for _, d := range []struct {
		name  string
		allow func(context.Context, *slotmesh.Cache, string) (bool, error)
	}{{"window", window}, {"bucket", bucket}} {
		var asked, passed atomic.Int64
		var mu sync.Mutex
		var failed error
		var wg sync.WaitGroup
		began := time.Now()
		for _, c := range replicas {
			for range 2 {
				wg.Go(func() {
					for time.Since(began) < length {
						ok, err := d.allow(ctx, c, "ann")
						if asked.Add(1); ok {
							passed.Add(1)
						}
						if err != nil && !errors.Is(err, slotmesh.ErrConflict) {
							mu.Lock()
							failed = errors.Join(failed, err)
							mu.Unlock()
							return
						}
						time.Sleep(2 * time.Millisecond)
					}
				})
			}
		}
		wg.Wait()
		if failed != nil {
			return failed
		}
		took := time.Since(began)
		// Whole windows, and the one begun; or the first fill, and what came in.
		most := limit * (int64(took/period) + 1)
		if d.name == "bucket" {
			most = limit + int64(limit*took.Seconds()/period.Seconds()) + 1
		}
		fmt.Printf("%s: %d of %d requests passed in %v, at most %d may\n", d.name, passed.Load(), asked.Load(), took.Round(time.Millisecond), most)
		if n := passed.Load(); n > most || n < limit {
			return fmt.Errorf("%s let %d requests pass, want %d to %d", d.name, n, limit, most)
		}
	}
	return nil
}
