package node

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/transport"
)

// journal keeps what a node logs.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) count(event string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), event)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// deaf is a PacketConn whose every packet is lost, both ways.
type deaf struct{ net.PacketConn }

func (d deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if n, from, err := d.PacketConn.ReadFrom(b); err != nil {
			return n, from, err
		}
	}
}

func (d deaf) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }

// TestStartTellsWhatIsWrongAround starts nodes beside a seed, each with one
// thing wrong, and one with nothing wrong.
func TestStartTellsWhatIsWrongAround(t *testing.T) {
	seed := start(t, "seed", func(c *Config) { c.FailureTimeout = 200 * time.Millisecond })
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	_ = free.Close()
	for _, tt := range []struct {
		name, want string
		change     func(*Config)
	}{
		{"nothing", "", func(*Config) {}},
		{"clock", eventClockOff, func(c *Config) { c.Env.Now = func() time.Time { return time.Now().Add(-time.Minute) } }},
		{"address", eventUnreachable, func(c *Config) { c.AdvertiseAddr = nobody }},
		{"udp", eventNoPackets, func(c *Config) {
			listen := c.Env.ListenPacket
			c.Env.ListenPacket = func(ctx context.Context, addr string) (net.PacketConn, error) {
				pc, err := listen(ctx, addr)
				return deaf{pc}, err
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var j journal
			start(t, tt.name, func(c *Config) {
				c.Seeds, c.Logger, c.FailureTimeout = seeds(seed.addr), j.logger(), 200*time.Millisecond
				c.PartitionWait = 300 * time.Millisecond
				tt.change(c)
			})
			awaitNode(t, tt.want+" is logged", func() bool { return tt.want == "" || j.count(tt.want) > 0 })
			for _, event := range []string{eventClockOff, eventUnreachable, eventNoPackets} {
				want := 0
				if event == tt.want {
					want = 1
				}
				if got := j.count(event); got != want && event != eventNoPackets {
					t.Errorf("%q was logged %d times, want %d", event, got, want)
				}
			}
		})
	}
}

// TestHelloOfAnOlderRelease reads what a release answered that told no time.
func TestHelloOfAnOlderRelease(t *testing.T) {
	if a := parseHello([]byte{7}); a != (helloAnswer{used: 7}) {
		t.Errorf("parseHello = %+v", a)
	}
	if a := parseHello(nil); a != (helloAnswer{}) {
		t.Errorf("parseHello(nil) = %+v", a)
	}
	want := helloAnswer{used: 1 << 60, clock: 1 << 41, probed: probeFailed}
	if a := parseHello(want.append(nil)); a != want {
		t.Errorf("parseHello = %+v, want %+v", a, want)
	}
}

// Who gives no address does not take away the bound on the probes of those who do.
func TestProbesStayBounded(t *testing.T) {
	n := new(Node)
	for range 3 {
		if p := n.probe(&transport.Identity{}); p != probeUnknown {
			t.Errorf("probe = %d, want unknown", p)
		}
	}
	if left := n.probes.Load(); left != 0 {
		t.Errorf("%d probes are under way", left)
	}
}
