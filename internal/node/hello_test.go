package node

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/store"
)

// start opens a node on loopback; change edits its configuration before.
func start(t testing.TB, name string, change func(*Config)) *Node {
	t.Helper()
	cfg := Config{
		Name: name, Cluster: "test", Addr: "127.0.0.1:0", Weight: 1, Backups: 1,
		FailureTimeout: 1500 * time.Millisecond, ReplicationTimeout: 500 * time.Millisecond,
		RepairDelay: 5 * time.Second, SettleDelay: 100 * time.Millisecond, PartitionWait: 3 * time.Second,
		OrphanWait: 10 * time.Second, ColdStartWait: 30 * time.Second, OpTimeout: 5 * time.Second, Lease: 250 * time.Millisecond,
		MaxKey: 64 << 10, MaxValue: 1 << 20,
		Engine: store.NewMemory(store.MemoryOptions{Limit: 64 << 20}), Env: env.System(), Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	n, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func seeds(addrs ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return addrs, nil }
}

// A later start of a name orders after the earlier one also where the clock
// was set back and there is no disk to tell.
func TestNodeIDGrowsThoughTheClockWasSetBack(t *testing.T) {
	a := start(t, "a", nil)
	ahead := start(t, "b", func(c *Config) {
		c.Seeds = seeds(a.addr)
		c.Env.Now = func() time.Time { return time.Now().Add(time.Hour) }
	})
	for !a.knows(ahead) {
		time.Sleep(time.Millisecond)
	}
	addr, id := ahead.addr, ahead.id
	if err := ahead.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, "b", func(c *Config) { c.Seeds, c.Addr = seeds(a.addr), addr })
	if again.id.Compare(id) <= 0 {
		t.Errorf("node ID %v of a later start, want it above %v", again.id, id)
	}
	if again.addr != addr {
		t.Errorf("address %s, want %s as before", again.addr, addr)
	}
}

func (n *Node) knows(o *Node) bool {
	n.membersMu.Lock()
	defer n.membersMu.Unlock()
	return n.past.names[o.id] == o.cfg.Name
}

func TestSeedNameIsResolvedToAllItsAddresses(t *testing.T) {
	a := start(t, "a", nil)
	_, port, err := net.SplitHostPort(a.addr)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, "b", func(c *Config) {
		c.Seeds = seeds("replicas.example:" + port)
		c.Env.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "replicas.example" {
				t.Errorf("asked for the addresses of %q", host)
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.1")}, nil
		}
	})
	for !a.knows(b) {
		time.Sleep(time.Millisecond)
	}
}
