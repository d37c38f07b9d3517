package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/shard"
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

// awaitNode waits for a condition.
func awaitNode(t *testing.T, what string, ok func() bool) {
	t.Helper()
	look, end := time.NewTicker(10*time.Millisecond), time.Now().Add(time.Minute)
	defer look.Stop()
	for !ok() {
		if now := <-look.C; now.After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
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
	awaitNode(t, "a knows b", func() bool { return a.knows(ahead) })
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
	awaitNode(t, "a knows b", func() bool { return a.knows(b) })
}

// A name whose servers do not answer costs the other seeds nothing.
func TestSeedNamesAreResolvedSideBySide(t *testing.T) {
	a := start(t, "a", nil)
	_, port, err := net.SplitHostPort(a.addr)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, "b", func(c *Config) {
		c.Seeds = seeds("silent.example:7946", "replicas.example:"+port)
		c.Env.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			if host == "silent.example" {
				<-ctx.Done()
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, ctx.Err()
		}
	})
	awaitNode(t, "a knows b", func() bool { return a.knows(b) })
}

// A node that is back may be told of its own earlier life by members that have not
// heard of its end. It knows better: it has that one's port.
func TestEarlierLifeIsNoMember(t *testing.T) {
	n := start(t, "a", nil)
	old := shard.NewNodeID(n.id.Counter()-1, 7)
	m := gossip.Member{ID: gossip.NodeID(old), Name: "a", Addr: n.addr, Weight: 1, MinProto: 1, MaxProto: 1}
	elsewhere := m
	elsewhere.ID, elsewhere.Addr = gossip.NodeID(shard.NewNodeID(n.id.Counter()-1, 8)), "127.0.0.1:1"
	for _, kind := range []gossip.EventKind{gossip.Joined, gossip.Failed} {
		n.onMember(gossip.Event{Kind: kind, Member: m})
		n.onMember(gossip.Event{Kind: kind, Member: elsewhere})
	}
	members := n.Members()
	if slices.ContainsFunc(members, func(m Member) bool { return m.ID == old }) {
		t.Errorf("its earlier life is among the members: %+v", members)
	}
	if len(members) != 2 {
		t.Errorf("%d members, want the other one of its name, which may be cut off: %+v", len(members), members)
	}
}

// afterHello is an engine that tells when a node has asked its seeds: then it reads its
// settings.
type afterHello struct {
	*store.Memory
	asked atomic.Bool
}

func (e *afterHello) Meta(prefix string, f func(string, []byte) bool) error {
	if prefix == metaSettings {
		e.asked.Store(true)
	}
	return e.Memory.Meta(prefix, f)
}

// startDeaf starts a node whose seeds say Hello, and which reaches nobody after that,
// until healed. refused counts its attempts.
func startDeaf(t *testing.T, name string, change func(*Config)) (n *Node, refused *atomic.Int32, healed *atomic.Bool) {
	e := &afterHello{Memory: store.NewMemory(store.MemoryOptions{Limit: 64 << 20})}
	refused, healed = new(atomic.Int32), new(atomic.Bool)
	n = start(t, name, func(c *Config) {
		change(c)
		c.Engine = e
		dial := c.Env.Dial
		c.Env.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			if e.asked.Load() && !healed.Load() {
				refused.Add(1)
				return nil, errors.New("the network is down")
			}
			return dial(ctx, addr)
		}
	})
	return n, refused, healed
}

// A seed may say Hello and not be reached again. Until one is the node founds nothing:
// the cluster that it has heard of holds the slots.
func TestNothingIsFoundedBetweenHelloAndJoin(t *testing.T) {
	a := start(t, "a", nil)
	awaitNode(t, "a has founded its slots", func() bool { return a.Health().Unclaimed == 0 })
	for _, expect := range []int{0, 1} {
		b, refused, healed := startDeaf(t, fmt.Sprint("b", expect), func(c *Config) { c.Seeds, c.BootstrapExpect = seeds(a.addr), expect })
		awaitNode(t, "b tries again, long after its list of members has settled", func() bool {
			return refused.Load() > 4 && b.now() > 4*int64(b.cfg.SettleDelay)
		})
		if b.Table() != shard.Empty {
			t.Errorf("expecting %d nodes, b has founded slots: %+v", expect, b.Health())
		}
		healed.Store(true)
		awaitNode(t, "b knows who holds the slots", func() bool { return b.Health().Unclaimed == 0 })
	}
	if forks := a.Stats().Forks; forks > 0 {
		t.Errorf("%d forks", forks)
	}
}

// The seed that answered may be gone for good, as where the only replica of a service is
// replaced: who is the only one listed then founds its cluster after all.
func TestFoundsAloneWhereTheSeedThatAnsweredIsGone(t *testing.T) {
	a := start(t, "a", nil)
	var listed atomic.Pointer[string]
	listed.Store(&a.addr)
	b, _, healed := startDeaf(t, "b", func(c *Config) {
		c.Seeds = func(context.Context) ([]string, error) { return []string{*listed.Load()}, nil }
	})
	listed.Store(&b.addr)
	_ = a.Close()
	healed.Store(true) // it reaches itself
	awaitNode(t, "b serves all slots", func() bool { return b.Health().Unclaimed == 0 })
}
