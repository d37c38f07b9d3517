package difftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

// store is a client as this test uses it.
type store interface {
	set(ctx context.Context, key, value string) error
	get(ctx context.Context, key string) (string, error)
}

type goRedis struct{ *redis.ClusterClient }

func (c goRedis) set(ctx context.Context, key, value string) error {
	return c.Set(ctx, key, value, 0).Err()
}
func (c goRedis) get(ctx context.Context, key string) (string, error) {
	return c.Get(ctx, key).Result()
}

type viaRueidis struct{ rueidis.Client }

func (c viaRueidis) set(ctx context.Context, key, value string) error {
	return c.Do(ctx, c.B().Set().Key(key).Value(value).Build()).Error()
}
func (c viaRueidis) get(ctx context.Context, key string) (string, error) {
	return c.Do(ctx, c.B().Get().Key(key).Build()).ToString()
}

// brokenByKill reports whether a call may fail so after a node was killed: its
// connection broke, or the dead node used up the attempts that the client makes, of
// which a redirect to it and away from it each take one.
func brokenByKill(err error) bool {
	broken := (*net.OpError)(nil)
	return errors.As(err, &broken) || errors.Is(err, io.EOF) || err != nil && strings.HasPrefix(err.Error(), "MOVED ")
}

// Clients go on while a node joins, a node leaves and a node is killed, and no
// write is lost. Joining and leaving fails no call. A kill fails those whose
// connection it broke, which rueidis does not repeat if they write, and those
// that go-redis makes until its reload interval is over: a node that refuses
// connections is no reason for it to ask for the slots.
func TestClientsGoOnThroughChanges(t *testing.T) {
	nodes := startFleet(t, 3)
	ctx := t.Context()
	a := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs(nodes), ClusterStateReloadInterval: time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute})
	defer a.Close()
	b, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addrs(nodes), DisableCache: true, ConnWriteTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var calls atomic.Int64
	var repeats atomic.Int64
	var killed atomic.Bool
	work := func(name string, s store) {
		wg.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond) // of eight: the nodes need processors too
			defer pace.Stop()
			for round := 0; ; round++ {
				for i := range 50 {
					select {
					case <-stop:
						return
					case <-pace.C:
					}
					key, value := fmt.Sprintf("%s:%d", name, i), fmt.Sprint(round)
					call, cancel := context.WithTimeout(ctx, time.Minute)
					err, got := error(nil), ""
					for {
						if err = s.set(call, key, value); err == nil {
							got, err = s.get(call, key)
						}
						if !killed.Load() || call.Err() != nil || !brokenByKill(err) {
							break
						}
						repeats.Add(1)
					}
					cancel()
					calls.Add(2)
					if err != nil || got != value {
						t.Errorf("%s: set %s = %s, then get %q: %v", name, key, value, got, err)
						return
					}
				}
			}
		})
	}
	for i := range 4 {
		work(fmt.Sprintf("go-redis-%d", i), goRedis{a})
		work(fmt.Sprintf("rueidis-%d", i), viaRueidis{b})
	}
	// progress waits until calls go on after a change.
	progress := func(what string) {
		from := calls.Load()
		await(t, "clients go on after "+what, func() error {
			if n := calls.Load() - from; n < 500 {
				return fmt.Errorf("%d calls", n)
			}
			return nil
		})
	}
	progress("the start")
	fourth := startOurs(t, "n4", nodes[0])
	awaitShares(t, append(nodes[:3:3], fourth))
	progress("a node joined")
	if err := nodes[1].cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-nodes[1].done
	progress("a node left")
	rest := []*process{nodes[0], nodes[2], fourth}
	awaitShares(t, rest)
	killed.Store(true)
	nodes[2].kill()
	progress("a node was killed")
	close(stop)
	wg.Wait()
	t.Logf("%d calls, of which %d were made again after the kill", calls.Load(), repeats.Load())
	if err := ping(nodes[2].addr); err == nil {
		t.Error(errors.New("the killed node answers"))
	}
}
