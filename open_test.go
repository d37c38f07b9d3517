package slotmesh_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// open starts a single node, or one more, that is not hurried; the end of the test closes it.
func open(t *testing.T, opts ...slotmesh.Option) *slotmesh.Cache {
	t.Helper()
	c, err := slotmesh.Open(t.Context(), slices.Concat(unhurried, []slotmesh.Option{slotmesh.WithAddr("127.0.0.1:0")}, opts)...)
	if err != nil {
		t.Fatalf("Open = %v, want nil", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Run("cluster", func(t *testing.T) {
		for i, c := range slotmeshtest.Start(t, 3) {
			set(t, c, fmt.Sprint("key", i), "v")
		}
	})
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
}

func TestFailedOpenLeavesNoGoroutine(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := slotmesh.Open(ctx, slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithSeeds("127.0.0.1:1")); err == nil {
		t.Fatal("Open = nil, want an error")
	}
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
}

func TestClosedCacheSaysSo(t *testing.T) {
	c := open(t)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatalf("Close = %v, want nil", err)
		}
	}
	for name, err := range everyCall(t.Context(), c, "key") {
		wantErr(t, name, err, slotmesh.ErrClosed)
	}
	wantErr(t, "Ready", c.Ready(t.Context()), slotmesh.ErrClosed)
	// Looking at a closed cache does no harm.
	c.Cluster().Nodes()
	c.Cluster().Health()
	c.Stats()
	for range c.Cluster().Slots() {
	}
}

func TestCloseEndsCallsUnderWay(t *testing.T) {
	c := open(t, slotmesh.WithOpTimeout(5*time.Minute))
	var wg sync.WaitGroup
	started := make(chan struct{}, 8)
	for range cap(started) {
		wg.Go(func() {
			started <- struct{}{}
			for {
				if err := c.Set(t.Context(), "key", []byte("v")); err != nil {
					if !errors.Is(err, slotmesh.ErrClosed) && !errors.Is(err, slotmesh.ErrUnknownOutcome) {
						t.Errorf("Set = %v, want ErrClosed or ErrUnknownOutcome", err)
					}
					return
				}
			}
		})
	}
	for range cap(started) {
		<-started
	}
	within(t, time.Minute, "Close", func() { c.Close() })
	wg.Wait()
}

func TestOpenNamesSeedsThatDoNotAnswer(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	refusing.Close()
	seeds := []string{refusing.Addr().String(), silent.Addr().String(), "no-such-host.invalid:7946"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var openErr error
	within(t, 20*time.Second, "Open", func() {
		_, openErr = slotmesh.Open(ctx, slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithSeeds(seeds...))
	})
	wantErr(t, "Open", openErr, context.DeadlineExceeded)
	for _, s := range seeds {
		if openErr == nil || !strings.Contains(openErr.Error(), s) {
			t.Errorf("Open = %v, want it to name seed %s", openErr, s)
		}
	}
}

func TestOpenFailsWhereThePortIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	_, err = slotmesh.Open(t.Context(), slotmesh.WithAddr(addr))
	if err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("Open = %v, want an error that names %s", err, addr)
	}
}

func TestOpenFailsWhereTheUDPPortIsTaken(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.LocalAddr().String()
	_, err = slotmesh.Open(t.Context(), slotmesh.WithAddr(addr))
	if err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("Open = %v, want an error that names %s", err, addr)
	}
}

func TestAnotherClusterIsRefused(t *testing.T) {
	c := open(t, slotmesh.WithCluster("orders"), slotmesh.WithName("o1"))
	addr := c.Cluster().Self().Addr
	err := wantRefused(t, "a seed of another cluster", slotmesh.ErrIncompatible,
		slotmesh.WithCluster("stock"), slotmesh.WithName("s1"), slotmesh.WithSeeds(addr))
	if err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "of another cluster") {
		t.Errorf("Open = %v, want an error that says which seed is of another cluster", err)
	}
	if nodes := c.Cluster().Nodes(); len(nodes) != 1 {
		t.Errorf("the cluster has %d nodes, want 1: %+v", len(nodes), nodes)
	}
}

func TestGarbageOnThePortDoesNoHarm(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2)
	addr := caches[0].Cluster().Self().Addr
	for _, garbage := range []string{"\x00", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff", strings.Repeat("\xff", 70_000)} {
		for _, network := range []string{"tcp", "udp"} {
			conn, err := net.Dial(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			// The node may hang up, and the kernel refuse what is no datagram.
			_, _ = conn.Write([]byte(garbage))
			conn.Close()
		}
	}
	for i := range 100 {
		key := unique(t, fmt.Sprint(i))
		set(t, caches[1], key, "v")
		wantValue(t, caches[0], key, "v")
	}
	if n := len(caches[1].Cluster().Nodes()); n != 2 {
		t.Errorf("the cluster has %d nodes, want 2", n)
	}
}

func TestLaterStartOfANameSupersedesTheEarlier(t *testing.T) {
	parallel(t)
	const cluster = "superseding"
	caches := slotmeshtest.Start(t, 2, slotmesh.WithCluster(cluster))
	seed, old := caches[0].Cluster().Self(), caches[1]
	next := open(t, slotmesh.WithName("n2"), slotmesh.WithCluster(cluster), slotmesh.WithSeeds(seed.Addr))
	await(t, "the earlier start has given way", func() error {
		_, err := old.Get(t.Context(), "key")
		if errors.Is(err, slotmesh.ErrSuperseded) {
			return nil
		}
		return fmt.Errorf("Get = %v, want ErrSuperseded", err)
	})
	_, err := old.Subscription()
	wantErr(t, "Subscription", err, slotmesh.ErrSuperseded)
	set(t, next, "key", "v")
	wantValue(t, caches[0], "key", "v")
}

func TestMemoryLimitHolds(t *testing.T) {
	const limit = 16 << 20
	value := make([]byte, 64<<10)
	t.Run("evicting", func(t *testing.T) {
		c := open(t, slotmesh.WithMaxMemory(limit))
		for i := range 1000 { // four times the limit
			set(t, c, fmt.Sprint("key", i), string(value))
		}
		if s := c.Stats(); s.MemoryBytes > limit+limit/10 || s.Evictions == 0 {
			t.Errorf("%d bytes held after %d evictions, want at most a tenth above %d", s.MemoryBytes, s.Evictions, limit)
		}
		kept := 0
		for i := 900; i < 1000; i++ { // any one of them may have been a victim
			if got, err := c.Get(t.Context(), fmt.Sprint("key", i)); err == nil && bytes.Equal(got, value) {
				kept++
			}
		}
		if kept < 50 {
			t.Errorf("%d of the last 100 values are held, where there is room for 200", kept)
		}
	})
	t.Run("refusing", func(t *testing.T) {
		c := open(t, slotmesh.WithMaxMemory(limit), slotmesh.WithEviction(slotmesh.EvictNone))
		if got := c.Stats().Eviction; got != slotmesh.EvictNone {
			t.Errorf("Eviction = %d, want EvictNone", got)
		}
		var err error
		stored := 0
		for ; stored < 1000 && err == nil; stored++ {
			err = c.Set(t.Context(), fmt.Sprint("key", stored), value)
		}
		wantErr(t, "Set beyond the limit", err, slotmesh.ErrNoMemory)
		for i := range stored - 1 {
			wantValue(t, c, fmt.Sprint("key", i), string(value))
		}
	})
}

// TestLimitsAreOfValuesAlone has nodes of small values do what needs larger messages:
// scan long keys, and tell each other what a loader said.
func TestLimitsAreOfValuesAlone(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2, slotmesh.WithLimits(slotmesh.Limits{MaxKey: 200, MaxValue: 4}))
	ctx, long := t.Context(), "{tag}"+strings.Repeat("x", 190)
	var want []string
	for i := range 5 {
		want = append(want, long+strconv.Itoa(i))
		set(t, caches[0], want[i], "v")
	}
	for _, c := range caches {
		var got []string
		for it, err := range c.Scan(ctx, slotmesh.ScanPrefix(long), slotmesh.ScanPageSize(2)) {
			wantErr(t, "Scan", err, nil)
			got = append(got, it.Key)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("Scan = %d keys, want %d", len(got), len(want))
		}
		for _, key := range []string{"a", "b", "c", "d"} { // of both nodes
			_, err := c.GetOrLoad(ctx, key, func(context.Context, string) ([]byte, error) { return nil, errors.New(long) }, slotmesh.LoadTimeout(10*time.Minute))
			if err == nil || !strings.Contains(err.Error(), long) {
				t.Errorf("GetOrLoad = %v, want what its loader said", err)
			}
		}
	}
	err := caches[0].Set(ctx, "a", []byte("12345"))
	wantErr(t, "Set of a value above the limit", err, slotmesh.ErrTooLarge)
}
