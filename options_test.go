package slotmesh

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

func built(opts ...Option) *options {
	o := newOptions()
	for _, opt := range opts {
		opt(o)
	}
	o.ensureDefaults()
	return o
}

func TestDefaultsAreValid(t *testing.T) {
	o := built()
	if err := o.validate(); err != nil {
		t.Fatalf("validate() = %v, want nil", err)
	}
	cfg := o.cfg
	if cfg.Backups != 1 || cfg.Weight != 1 || cfg.Cluster != "slotmesh" || cfg.Addr != "0.0.0.0:7946" {
		t.Errorf("backups %d weight %d cluster %q addr %q, want 1, 1, slotmesh, 0.0.0.0:7946",
			cfg.Backups, cfg.Weight, cfg.Cluster, cfg.Addr)
	}
	if !strings.HasSuffix(cfg.Name, ":7946") || !strings.HasSuffix(cfg.AdvertiseAddr, ":7946") {
		t.Errorf("name %q, advertised %q: want the port in both", cfg.Name, cfg.AdvertiseAddr)
	}
	if cfg.Seeds != nil || cfg.Logger == nil || cfg.Env.Now == nil {
		t.Errorf("seeds %v logger %v: want no seeds, a logger and an environment", cfg.Seeds != nil, cfg.Logger)
	}
}

func TestValidateNamesTheOptionAtFault(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []Option
		want string
	}{
		{"empty cluster", []Option{WithCluster("")}, "WithCluster"},
		{"long cluster", []Option{WithCluster(strings.Repeat("x", 65))}, "WithCluster"},
		{"long name", []Option{WithName(strings.Repeat("x", 129))}, "WithName"},
		{"name with a blank", []Option{WithName("a b")}, "WithName"},
		{"name that is no UTF-8", []Option{WithName("a\xff")}, "WithName"},
		{"zone with a line break", []Option{WithZone("a\nb")}, "WithZone"},
		{"long seat", []Option{WithSeat(strings.Repeat("x", 129))}, "WithSeat"},
		{"address without port", []Option{WithAddr("localhost")}, "WithAddr"},
		{"address with a bad port", []Option{WithAddr("localhost:70000")}, "WithAddr"},
		{"advertised port 0", []Option{WithAdvertiseAddr("10.0.0.1:0")}, "WithAdvertiseAddr"},
		{"advertised port with a name", []Option{WithAdvertiseAddr("10.0.0.1:http")}, "WithAdvertiseAddr"},
		{"advertised unspecified host", []Option{WithAdvertiseAddr("0.0.0.0:7946")}, "WithAdvertiseAddr"},
		{"empty seed", []Option{WithSeeds("")}, `WithSeeds("")`},
		{"seed with a bad port", []Option{WithSeeds("a:b")}, `WithSeeds("a:b")`},
		{"several seeds in one", []Option{WithSeeds("a:7946,b:7946")}, `WithSeeds("a:7946,b:7946")`},
		{"several names in one", []Option{WithSeeds("a,b")}, `WithSeeds("a,b")`},
		{"too many colons", []Option{WithSeeds("a:7946:7947")}, `WithSeeds("a:7946:7947")`},
		{"seed that is a URL", []Option{WithSeeds("http://a:7946")}, "WithSeeds"},
		{"backups below 0", []Option{WithBackups(-1)}, "WithBackups(-1)"},
		{"too many backups", []Option{WithBackups(6)}, "WithBackups(6)"},
		{"more backups needed than made", []Option{WithBackups(1), WithMinBackups(2)}, "WithMinBackups(2)"},
		{"unknown ack", []Option{WithAck(7)}, "WithAck(7)"},
		{"unknown eviction", []Option{WithEviction(7)}, "WithEviction(7)"},
		{"unknown policy", []Option{WithPartitionPolicy(7)}, "WithPartitionPolicy(7)"},
		{"weight below 0", []Option{WithWeight(-1)}, "WithWeight(-1)"},
		{"expecting fewer than none", []Option{WithBootstrapExpect(-1)}, "WithBootstrapExpect(-1)"},
		{"too little memory", []Option{WithMaxMemory(1)}, "WithMaxMemory(1)"},
		{"memory below 0", []Option{WithMaxMemory(-1)}, "WithMaxMemory(-1)"},
		{"long keys", []Option{WithLimits(Limits{MaxKey: 64*kib + 1})}, "MaxKey"},
		{"huge values", []Option{WithLimits(Limits{MaxValue: 64*mib + 1})}, "MaxValue"},
		{"values that do not fit", []Option{WithLimits(Limits{MaxValue: 16 * mib}), WithMaxMemory(64 * mib)}, "MaxValue"},
		{"failure timeout of 0", []Option{WithFailureTimeout(0)}, "WithFailureTimeout(0s)"},
		{"hasty failure timeout", []Option{WithFailureTimeout(time.Millisecond)}, "WithFailureTimeout(1ms)"},
		{"replication timeout of 0", []Option{WithReplicationTimeout(0)}, "WithReplicationTimeout"},
		{"move budget too small", []Option{WithMoveBudget(1000)}, "WithMoveBudget"},
		{"repair delay below 0", []Option{WithRepairDelay(-1)}, "WithRepairDelay"},
		{"partition wait below failure timeout", []Option{WithPartitionWait(time.Second)}, "WithPartitionWait(1s)"},
		{"orphan wait below 0", []Option{WithOrphanWait(-1)}, "WithOrphanWait"},
		{"cold start wait below 0", []Option{WithColdStartWait(-1)}, "WithColdStartWait"},
		{"call timeout of 0", []Option{WithOpTimeout(0)}, "WithOpTimeout(0s)"},
		{"secret without a key", []Option{WithSecret()}, "WithSecret: a key is needed"},
		{"TLS without a function", []Option{WithTLS((func() (*tls.Config, error))(nil))}, "WithTLS"},
		{"more memory than places", []Option{WithMaxMemory(math.MaxInt64)}, "WithMaxMemory("},
		{"secret of odd length", []Option{WithSecret(make([]byte, 16), make([]byte, 15))}, "key 1 has 15 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := built(tt.opts...).validate()
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("validate() = %v, want an ErrInvalid that says %q", err, tt.want)
			}
		})
	}
}

func TestValidateAcceptsBounds(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []Option
	}{
		{"no backups", []Option{WithBackups(0)}},
		{"no data", []Option{WithWeight(0)}},
		{"free port", []Option{WithAddr("127.0.0.1:0")}},
		{"free port of every address", []Option{WithAddr(":0")}},
		{"IPv6", []Option{WithAddr("[::1]:7946"), WithSeeds("[::1]:7947", "::1", "[::1]", "fe80::1%eth0")}},
		{"host name as seed", []Option{WithSeeds("orders", "orders-0.orders:7946")}},
		{"largest values", []Option{WithLimits(Limits{MaxValue: 64 * mib}), WithMaxMemory(512 * mib)}},
		{"least memory", []Option{WithMaxMemory(8 * mib)}},
		{"long failure timeout", []Option{WithFailureTimeout(10 * time.Second)}},
		{"no waiting", []Option{WithRepairDelay(0), WithOrphanWait(0), WithColdStartWait(0)}},
		{"secret", []Option{WithSecret(make([]byte, 32), make([]byte, 16))}},
		{"nil logger", []Option{WithLogger(nil)}},
		{"name that is no ASCII", []Option{WithName("größe-1"), WithZone("東京")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := built(tt.opts...).validate(); err != nil {
				t.Errorf("validate() = %v, want nil", err)
			}
		})
	}
}

func TestOpenReportsAllFaultsAtOnce(t *testing.T) {
	_, err := Open(t.Context(), WithBackups(-1), WithAddr("x"), WithWeight(-3), WithMaxMemory(1), nil)
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("Open = %v, want ErrInvalid", err)
	}
	for _, want := range []string{"WithBackups(-1)", `WithAddr("x")`, "WithWeight(-3)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Open = %v, want it to name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "WithLimits") {
		t.Errorf("Open = %v, want it to name what was given alone", err)
	}
}

func TestSeedsGetThePortOfTheNode(t *testing.T) {
	discover := func(context.Context) ([]string, error) { return []string{"c", "d:3"}, nil }
	for _, tt := range []struct {
		name string
		opts []Option
		want []string
	}{
		{"default port", []Option{WithSeeds("a", "b:1")}, []string{"a:7946", "b:1"}},
		{"own port", []Option{WithAddr(":9000"), WithSeeds("a", "::1")}, []string{"a:9000", "[::1]:9000"}},
		{"free port", []Option{WithAddr("127.0.0.1:0"), WithSeeds("a")}, []string{"a:7946"}},
		{"discovered too", []Option{WithDiscovery(discover), WithSeeds("a")}, []string{"a:7946", "c:7946", "d:3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := built(tt.opts...).cfg.Seeds(t.Context())
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("Seeds() = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestDiscoveryFailsOnlyWithoutOtherSeeds(t *testing.T) {
	down := errors.New("registry is down")
	discover := WithDiscovery(func(context.Context) ([]string, error) { return nil, down })
	if _, err := built(discover).cfg.Seeds(t.Context()); !errors.Is(err, down) {
		t.Errorf("Seeds() = %v, want %v", err, down)
	}
	if got, err := built(discover, WithSeeds("a:1")).cfg.Seeds(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("Seeds() = %v, %v, want a:1", got, err)
	}
}

func TestLargestValueFollowsMemory(t *testing.T) {
	for _, tt := range []struct {
		memory int64
		want   int
	}{{256 * mib, 16 * mib}, {64 * mib, 8 * mib}, {8 * mib, mib}} {
		if got := built(WithMaxMemory(tt.memory)).cfg.MaxValue; got != tt.want {
			t.Errorf("largest value in %d bytes of memory = %d, want %d", tt.memory, got, tt.want)
		}
	}
}

func TestFreePortOfEveryAddressListensOnTheReachableOne(t *testing.T) {
	cfg := built(WithAddr("0.0.0.0:0")).cfg
	if cfg.AdvertiseAddr != "" || strings.HasPrefix(cfg.Addr, "0.0.0.0") || !strings.HasSuffix(cfg.Addr, ":0") {
		t.Errorf("addr %q, advertised %q: want one address with port 0, and none", cfg.Addr, cfg.AdvertiseAddr)
	}
}

func TestFirstReachablePrefersPrivateAddresses(t *testing.T) {
	for _, tt := range []struct {
		name, addrs, want string
	}{
		{"none", "", "127.0.0.1"},
		{"loopback only", "127.0.0.1 ::1", "127.0.0.1"},
		{"private before public", "127.0.0.1 8.8.8.8 10.1.2.3 192.168.0.1", "10.1.2.3"},
		{"IPv4 before IPv6", "fd00::1 10.1.2.3", "10.1.2.3"},
		{"private IPv6 before public IPv4", "8.8.8.8 fd00::1", "fd00::1"},
		{"link-local never", "169.254.1.1 fe80::1", "127.0.0.1"},
		{"public if nothing else", "2001:db8::1 8.8.8.8", "8.8.8.8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var addrs []netip.Addr
			for _, a := range strings.Fields(tt.addrs) {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			if got := firstReachable(addrs); got != tt.want {
				t.Errorf("firstReachable(%s) = %s, want %s", tt.addrs, got, tt.want)
			}
		})
	}
}

func TestCgroupLimitIsTheLowest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no groups", nil, math.MaxInt64},
		{"container, version 2", map[string]string{
			"/proc/self/cgroup":         "0::/\n",
			"/sys/fs/cgroup/memory.max": "1048576\n",
		}, 1048576},
		{"no limit, version 2", map[string]string{
			"/proc/self/cgroup":         "0::/\n",
			"/sys/fs/cgroup/memory.max": "max\n",
		}, math.MaxInt64},
		{"service below a slice", map[string]string{
			"/proc/self/cgroup":                                   "0::/system.slice/shop.service\n",
			"/sys/fs/cgroup/system.slice/memory.max":              "4096\n",
			"/sys/fs/cgroup/system.slice/shop.service/memory.max": "8192\n",
		}, 4096},
		{"version 1", map[string]string{
			"/proc/self/cgroup":                           "5:memory:/docker/abc\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes": "2097152\n",
		}, 2097152},
		{"no limit, version 1", map[string]string{
			"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, math.MaxInt64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := func(name string) ([]byte, error) {
				text, ok := tt.files[name]
				if !ok {
					return nil, fs.ErrNotExist
				}
				return []byte(text), nil
			}
			if got := cgroupLimit(read); got != tt.want {
				t.Errorf("cgroupLimit() = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestSetOptions(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_000)
	for _, tt := range []struct {
		name string
		opts []SetOption
		want node.Call
	}{
		{"none", nil, node.Call{}},
		{"zero option", []SetOption{{}}, node.Call{}},
		{"TTL", []SetOption{TTL(time.Second)}, node.Call{Flags: transport.FlagRelative, Expiry: 1000}},
		{"TTL rounds up", []SetOption{TTL(1)}, node.Call{Flags: transport.FlagRelative, Expiry: 1}},
		{"longest TTL", []SetOption{TTL(math.MaxInt64)}, node.Call{Flags: transport.FlagRelative, Expiry: math.MaxInt64/1_000_000 + 1}},
		{"ExpireAt", []SetOption{ExpireAt(at)}, node.Call{Expiry: 1_800_000_000_000}},
		{"ExpireAt rounds up", []SetOption{ExpireAt(at.Add(1))}, node.Call{Expiry: 1_800_000_000_001}},
		{"KeepTTL", []SetOption{KeepTTL()}, node.Call{Flags: transport.FlagKeepTTL}},
		{"IfAbsent with TTL", []SetOption{IfAbsent(), TTL(time.Millisecond)}, node.Call{Flags: transport.FlagIfAbsent | transport.FlagRelative, Expiry: 1}},
		{"IfPresent with KeepTTL", []SetOption{KeepTTL(), IfPresent()}, node.Call{Flags: transport.FlagIfPresent | transport.FlagKeepTTL}},
		{"IfVersion", []SetOption{IfVersion(7)}, node.Call{Flags: transport.FlagIfVersion, Version: 7}},
		{"IfVersion of an absent key", []SetOption{IfVersion(0)}, node.Call{Flags: transport.FlagIfVersion}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got node.Call
			if err := applySet(&got, tt.opts); err != nil {
				t.Fatalf("applySet = %v, want nil", err)
			}
			if got.Flags != tt.want.Flags || got.Expiry != tt.want.Expiry || got.Version != tt.want.Version {
				t.Errorf("applySet gave flags %b expiry %d version %d, want %b %d %d",
					got.Flags, got.Expiry, got.Version, tt.want.Flags, tt.want.Expiry, tt.want.Version)
			}
		})
	}
}

func TestSetOptionsThatExcludeEachOther(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []SetOption
	}{
		{"TTL and KeepTTL", []SetOption{TTL(1), KeepTTL()}},
		{"TTL twice", []SetOption{TTL(1), TTL(2)}},
		{"TTL and ExpireAt", []SetOption{TTL(1), ExpireAt(time.Now())}},
		{"IfAbsent and IfPresent", []SetOption{IfAbsent(), IfPresent()}},
		{"IfVersion and IfPresent", []SetOption{IfVersion(1), IfPresent()}},
		{"TTL of 0", []SetOption{TTL(0)}},
		{"TTL below 0", []SetOption{TTL(-time.Second)}},
		{"ExpireAt of the zero time", []SetOption{ExpireAt(time.Time{})}},
		{"ExpireAt of 1970", []SetOption{ExpireAt(time.UnixMilli(0))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var call node.Call
			if err := applySet(&call, tt.opts); !errors.Is(err, ErrInvalid) {
				t.Errorf("applySet = %v, want ErrInvalid", err)
			}
		})
	}
}

func TestSetOptionsAllocs(t *testing.T) {
	var call node.Call
	n := testing.AllocsPerRun(1000, func() {
		call = node.Call{}
		if err := applySet(&call, []SetOption{TTL(time.Second), IfVersion(9)}); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("applySet allocates %v times, want 0", n)
	}
}
