package gossip_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/internal/simnet"
)

// bubble runs a test on a simulated network in virtual time.
func bubble(t *testing.T, f func(t *testing.T, n *simnet.Net, open sockets)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		f(t, n, func(t *testing.T, addr string) (net.Listener, net.PacketConn, func(context.Context, string) (net.Conn, error)) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				t.Fatal(err)
			}
			h := n.Host(host)
			ln, err := h.Listen(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			pc, err := h.ListenPacket(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			return ln, pc, h.Dial
		})
	})
}

var addrs = [3]string{"10.0.0.1:7946", "10.0.0.2:7946", "10.0.0.3:7946"}

const ipA, ipB, ipC = "10.0.0.1", "10.0.0.2", "10.0.0.3"

func TestSilentNodeFailsWithinTheTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a, b, _ := trio(t, open, addrs)
		<-time.After(10 * time.Second)
		begin := time.Now()
		n.CrashSilent(ipC)
		for _, p := range []*peer{a, b} {
			p.awaitEvent(t, gossip.Failed, "c")
			if took := time.Since(begin); took < 500*time.Millisecond || took > 3*time.Second {
				t.Errorf("%s noticed after %v, want about 1.5s", p.self.Name, took)
			}
		}
	})
}

// A node that waits long for silent ones has news, and ends, as soon as any other.
func TestLongTimeoutHoldsUpNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		const timeout = time.Minute
		patient := func(c *gossip.Config) { c.FailureTimeout = timeout }
		a := begin(t, open, "a", addrs[0], nil, patient)
		b := begin(t, open, "b", addrs[1], []string{addrs[0]}, patient)
		c := begin(t, open, "c", addrs[2], []string{addrs[0]}, patient)
		began := time.Now()
		soon := func(what string) {
			t.Helper()
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("%s after %v", what, took)
			}
			began = time.Now()
		}
		for _, p := range []*peer{a, b, c} {
			p.awaitMembers(t, "a", "b", "c")
		}
		soon("all know each other")
		if err := c.Leave(t.Context()); err != nil {
			t.Errorf("Leave = %v", err)
		}
		a.awaitEvent(t, gossip.Left, "c")
		soon("c has left")
		_ = c.Close()
		soon("c has closed")
		n.CrashSilent(ipB)
		for len(a.Members()) > 1 {
			<-time.After(time.Second)
		}
		if took := time.Since(began); took < timeout/2 || took > 2*timeout {
			t.Errorf("a noticed that b is silent after %v, want about %v", took, timeout)
		}
	})
}

func TestNoOneFailsOnALossyLink(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		n.SetDefault(simnet.Link{Delay: 5 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.05, Duplicate: 0.05, Reorder: 0.2})
		a, b, c := trio(t, open, addrs)
		<-time.After(10 * time.Minute)
		for _, p := range []*peer{a, b, c} {
			for _, name := range []string{"a", "b", "c"} {
				if p.heard(gossip.Failed, name) {
					t.Errorf("%s: %s failed", p.self.Name, name)
				}
			}
		}
	})
}

func TestPausedNodeFailsOnlyIfItTakesTooLong(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a, b, _ := trio(t, open, addrs)
		for range 20 {
			n.Pause(ipC)
			<-time.After(500 * time.Millisecond)
			n.Resume(ipC)
			<-time.After(2 * time.Second)
		}
		if a.heard(gossip.Failed, "c") || b.heard(gossip.Failed, "c") {
			t.Error("c failed after a short pause")
		}
		n.Pause(ipC)
		a.awaitMembers(t, "a", "b")
		n.Resume(ipC)
		a.awaitMembers(t, "a", "b", "c")
	})
}

func TestLeaveIsLeftEverywhere(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		n.SetDefault(simnet.Link{Delay: time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.1})
		a, b, c := trio(t, open, addrs)
		begin := time.Now()
		if err := c.Leave(t.Context()); err != nil {
			t.Errorf("Leave = %v", err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("Leave took %v", took)
		}
		_ = c.Close()
		if err := c.Leave(t.Context()); err != nil {
			t.Errorf("Leave after Close = %v", err)
		}
		<-time.After(time.Minute)
		for _, p := range []*peer{a, b} {
			p.awaitMembers(t, "a", "b")
			if !p.heard(gossip.Left, "c") || p.heard(gossip.Failed, "c") {
				t.Errorf("%s: %v", p.self.Name, kinds(p.events))
			}
		}
	})
}

// A part of the cluster that was cut off while a node left must not bring it
// back when it heals.
func TestWhoLeftDoesNotComeBackAsAGhost(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a, _, c := trio(t, open, addrs)
		n.Isolate(ipB)
		_ = c.Leave(t.Context())
		_ = c.Close()
		a.awaitMembers(t, "a")
		n.HealAll()
		a.awaitMembers(t, "a", "b")
		<-time.After(time.Minute)
		a.mu.Lock()
		defer a.mu.Unlock()
		joined := 0
		for _, e := range a.events {
			if e.Kind == gossip.Joined && e.Member.Name == "c" {
				joined++
			}
		}
		if joined != 1 {
			t.Errorf("a heard of c joining %d times: %v", joined, kinds(a.events))
		}
	})
}

// Who stood still for too long, and leaves before anybody has heard of it again, has
// left and is not waited for.
func TestGoodbyeOfAFailedMemberIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a, b, c := trio(t, open, addrs)
		n.Pause(ipC)
		a.awaitEvent(t, gossip.Failed, "c")
		b.awaitEvent(t, gossip.Failed, "c")
		n.Resume(ipC)
		_ = c.Leave(t.Context())
		a.awaitEvent(t, gossip.Left, "c")
		b.awaitEvent(t, gossip.Left, "c")
		a.Forget(b.self.ID)
		_ = b.Leave(t.Context())
		a.awaitEvent(t, gossip.Left, "b")
	})
}

// So has who left while others were cut off from it and from those it told.
func TestGoodbyeOnTheOtherSideOfACutIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a, b, c := trio(t, open, addrs)
		n.Isolate(ipA)
		a.awaitMembers(t, "a")
		_ = c.Leave(t.Context())
		_ = c.Close()
		b.awaitEvent(t, gossip.Left, "c")
		n.HealAll()
		a.awaitEvent(t, gossip.Left, "c")
	})
}

func TestHourLongSplitHealsByItself(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a, b, c := trio(t, open, addrs) // only b and c have a seed, and it is a
		n.Split([]string{ipA}, []string{ipB, ipC})
		a.awaitMembers(t, "a")
		b.awaitMembers(t, "b", "c")
		<-time.After(time.Hour)
		n.HealAll()
		begin := time.Now()
		for _, p := range []*peer{a, b, c} {
			p.awaitMembers(t, "a", "b", "c")
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("healed after %v", took)
		}
	})
}

// The node that has no seeds finds the others again: they are remembered.
func TestVanishedMembersAreRemembered(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a := begin(t, open, "a", addrs[0], nil, nil)
		b := begin(t, open, "b", addrs[1], nil, nil)
		if err := b.Join(t.Context(), []string{addrs[0]}); err != nil {
			t.Fatal(err)
		}
		a.awaitMembers(t, "a", "b")
		for _, out := range []time.Duration{5 * time.Second, 20 * time.Second, 40 * time.Second, time.Hour} {
			n.Cut(ipA, ipB)
			<-time.After(out)
			n.HealAll()
			<-time.After(15 * time.Second)
			for _, p := range []*peer{a, b} {
				if got := names(p.Members()); !slices.Equal(got, []string{"a", "b"}) {
					t.Errorf("%s after a cut of %v: members %v", p.self.Name, out, got)
				}
			}
		}
	})
}

func TestSimultaneousFirstStartsMerge(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		seeds := []string{"nobody:7946", "10.0.9.9:7946", "everyone"} // unknown, silent, all of us
		resolve := func(c *gossip.Config) {
			c.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
				if host != "everyone" {
					return nil, fmt.Errorf("no such host: %s", host)
				}
				return []netip.Addr{netip.MustParseAddr(ipA), netip.MustParseAddr(ipB), netip.MustParseAddr(ipC)}, nil
			}
		}
		var ps []*peer
		for i, name := range []string{"a", "b", "c"} {
			ps = append(ps, begin(t, open, name, addrs[i], seeds, resolve))
		}
		began := time.Now()
		for _, p := range ps {
			p.awaitMembers(t, "a", "b", "c")
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("merged after %v", took)
		}
		err := ps[0].Join(t.Context(), seeds[:2])
		for _, s := range seeds[:2] {
			if err == nil || !strings.Contains(err.Error(), s) {
				t.Errorf("Join = %v, want %s named", err, s)
			}
		}
	})
}

func TestSeedThatComesLateIsFound(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		b := begin(t, open, "b", addrs[1], []string{addrs[0]}, nil)
		<-time.After(time.Hour)
		a := begin(t, open, "a", addrs[0], nil, nil)
		began := time.Now()
		a.awaitMembers(t, "a", "b")
		b.awaitMembers(t, "a", "b")
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("joined after %v", took)
		}
	})
}

func TestRestartElsewhereKeepsTheName(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a, b, _ := trio(t, open, addrs)
		n.Crash(ipB)
		_ = b.Close()
		b2 := begin(t, open, "b", "10.0.0.9:7946", []string{addrs[0]}, nil)
		a.awaitEvent(t, gossip.Failed, "b")
		a.awaitMembers(t, "a", "b", "c")
		if m := a.awaitEvent(t, gossip.Joined, "b"); m.ID == b2.self.ID {
			t.Error("the old b never joined")
		}
	})
}

func TestForgottenMemberIsGoneAtOnceAndReturnsIfItLives(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a, b, _ := trio(t, open, addrs)
		a.Forget(b.self.ID)
		a.Forget(b.self.ID)
		a.Forget(a.self.ID)
		if got := names(a.Members()); !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("members %v right after Forget", got)
		}
		a.awaitEvent(t, gossip.Failed, "b")
		a.awaitMembers(t, "a", "b", "c") // it answered a probe
		a.mu.Lock()
		a.events = nil
		a.mu.Unlock()
		n.Crash(ipB)
		_ = b.Close()
		a.Forget(b.self.ID)
		<-time.After(time.Minute)
		a.mu.Lock()
		defer a.mu.Unlock()
		if got := kinds(a.events); !slices.Equal(got, []string{"failed b"}) {
			t.Errorf("events %v, want one failure", got)
		}
	})
}

func TestOtherClustersAndProtocolsAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		a := begin(t, open, "a", addrs[0], nil, func(c *gossip.Config) { c.Self.MinProto, c.Self.MaxProto = 2, 3 })
		old := begin(t, open, "old", addrs[1], []string{addrs[0]}, func(c *gossip.Config) { c.Self.MinProto, c.Self.MaxProto = 0, 1 })
		other := begin(t, open, "other", addrs[2], []string{addrs[0]}, func(c *gossip.Config) { c.Cluster = "else"; c.Self.MaxProto = 3 })
		near := begin(t, open, "near", "10.0.0.4:7946", []string{addrs[0]}, func(c *gossip.Config) { c.Self.MinProto, c.Self.MaxProto = 3, 4 })
		near.awaitMembers(t, "a", "near")
		<-time.After(time.Minute)
		if got := names(a.Members()); !slices.Equal(got, []string{"a", "near"}) {
			t.Errorf("members %v", got)
		}
		for _, p := range []*peer{old, other} {
			if got := names(p.Members()); len(got) != 1 {
				t.Errorf("%s: members %v", p.self.Name, got)
			}
			if err := p.Join(t.Context(), []string{addrs[0]}); err == nil {
				t.Errorf("%s joined", p.self.Name)
			}
			p.mu.Lock()
			if len(p.states) > 0 {
				t.Errorf("%s merged %q", p.self.Name, p.states)
			}
			p.mu.Unlock()
		}
	})
}

func TestBroadcastReachesALargeClusterOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		var ps []*peer
		for i := range 40 {
			ps = append(ps, begin(t, open, fmt.Sprint("n", i), fmt.Sprintf("10.0.1.%d:7946", i+1), []string{"10.0.1.1:7946"}, nil))
		}
		for _, p := range ps {
			p.await(t, "all have joined", func() bool { return len(p.Members()) == len(ps) })
		}
		<-time.After(10 * time.Second)
		if err := ps[7].Broadcast([]byte("news")); err != nil {
			t.Fatal(err)
		}
		if err := ps[7].Broadcast(make([]byte, gossip.MaxBroadcast+1)); err == nil {
			t.Error("a broadcast that fits no packet was taken")
		}
		<-time.After(10 * time.Second)
		for i, p := range ps {
			p.mu.Lock()
			if want := i != 7; want != slices.Equal(p.messages, []string{"news"}) {
				t.Errorf("n%d: messages %q", i, p.messages)
			}
			p.mu.Unlock()
		}
	})
}

func TestLargeStateArrivesAndTooLargeDoesNot(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		state := func(size int) func(*gossip.Config) {
			return func(c *gossip.Config) {
				c.MaxState = 8 << 20
				c.State = func(bool) []byte { return bytes.Repeat([]byte{c.Self.Name[0]}, size) }
			}
		}
		a := begin(t, open, "a", addrs[0], nil, state(8<<20))
		b := begin(t, open, "b", addrs[1], []string{addrs[0]}, state(8<<20+1))
		b.await(t, "state of a arrived", func() bool { return len(b.states) > 0 && len(b.states[0]) == 8<<20 })
		a.awaitMembers(t, "a", "b")
		<-time.After(time.Minute)
		if a.mu.Lock(); len(a.states) > 0 {
			t.Error("state of b arrived")
		}
		a.mu.Unlock()
	})
}

func TestSlowReaderOfEventsSeesTheOutcome(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		release := make(chan struct{})
		var got []string
		done := make(chan struct{})
		a := begin(t, open, "a", addrs[0], nil, func(c *gossip.Config) {
			c.Events = func(e gossip.Event) {
				if got = append(got, e.Kind.String()+" "+e.Member.Name); len(got) == 1 {
					<-release
				}
				if len(got) == 2 {
					close(done)
				}
			}
		})
		b := begin(t, open, "b", addrs[1], []string{addrs[0]}, nil)
		a.awaitMembers(t, "a", "b")
		for range 5 { // b flaps while a's reader waits
			n.Cut(ipA, ipB)
			a.awaitMembers(t, "a")
			n.HealAll()
			a.awaitMembers(t, "a", "b")
		}
		n.Crash(ipB)
		_ = b.Close()
		a.awaitMembers(t, "a")
		close(release)
		<-done
		if want := []string{"joined b", "failed b"}; !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
	})
}

func TestCloseEndsAllWhileSeedsAreSilent(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Net, open sockets) {
		p := begin(t, open, "a", addrs[0], []string{"10.0.9.8:1", "10.0.9.9:1"}, nil)
		<-time.After(50 * time.Millisecond)
		began := time.Now()
		_ = p.Close()
		_ = p.Close()
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("Close took %v", took)
		}
		if err := p.Join(t.Context(), []string{addrs[1]}); err == nil {
			t.Error("joined after Close")
		}
		if err := p.UpdateSelf(p.self); err != nil {
			t.Errorf("UpdateSelf after Close = %v", err)
		}
	})
}
