package simnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slotmesh/slotmesh/internal/simnet"
)

// connect returns both ends of a connection from a to b.
func connect(t *testing.T, n *simnet.Net) (a, b net.Conn) {
	t.Helper()
	ln, err := n.Host("b").Listen(t.Context(), ":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err = n.Host("a").Dial(t.Context(), "b:7000")
	if err != nil {
		t.Fatal(err)
	}
	b, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// exact has links of a round delay, so that times can be compared.
func exact(n *simnet.Net) *simnet.Net {
	n.SetDefault(simnet.Link{Delay: 10 * time.Millisecond})
	return n
}

func read(t *testing.T, c net.Conn) string {
	t.Helper()
	b := make([]byte, 100)
	k, err := c.Read(b)
	if err != nil {
		t.Fatalf("Read = %v", err)
	}
	return string(b[:k])
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatalf("Write = %v", err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

func TestBytesArriveInOrderThenEOF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		n.SetDefault(simnet.Link{Delay: time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.2})
		a, b := connect(t, n)
		var want []byte
		for i := range 1000 {
			want = fmt.Appendf(want, "%d,", i)
			write(t, a, fmt.Sprintf("%d,", i))
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(b)
		if err != nil || string(got) != string(want) {
			t.Errorf("ReadAll = %d bytes, %v, want %d bytes", len(got), err, len(want))
		}
		_, err = b.Read(make([]byte, 1))
		wantErr(t, "Read", err, io.EOF)
		write(t, b, "to nobody")
		synctest.Wait()
		<-time.After(time.Second)
		_, err = b.Write([]byte("x"))
		wantErr(t, "Write", err, syscall.ECONNRESET)
		_ = b.Close()
	})
}

func TestDialTakesARoundTripAndIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := exact(simnet.New(1))
		n.Host("b")
		begin := time.Now()
		_, err := n.Host("a").Dial(t.Context(), "b:7000")
		wantErr(t, "Dial", err, syscall.ECONNREFUSED)
		if took := time.Since(begin); took != 20*time.Millisecond {
			t.Errorf("Dial took %v, want a round trip", took)
		}
		n.Cut("a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.Host("a").Dial(ctx, "b:7000")
		wantErr(t, "Dial over a cut", err, context.DeadlineExceeded)
		_, err = n.Host("a").Dial(t.Context(), "10.9.9.9:7000")
		wantErr(t, "Dial of nobody", err, syscall.ETIMEDOUT)
	})
}

func TestAddressesAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		h := n.Host("10.0.7.7")
		ln, err := h.Listen(t.Context(), "10.0.7.7:0")
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.Listen(t.Context(), ln.Addr().String())
		wantErr(t, "Listen", err, syscall.EADDRINUSE)
		_, err = h.Listen(t.Context(), "10.0.0.1:1")
		wantErr(t, "Listen", err, syscall.EADDRNOTAVAIL)
		if _, err := h.ListenPacket(t.Context(), ln.Addr().String()); err != nil {
			t.Errorf("ListenPacket = %v", err)
		}
		_ = ln.Close()
		_, err = ln.Accept()
		wantErr(t, "Accept", err, net.ErrClosed)
		if _, err := h.Listen(t.Context(), ln.Addr().String()); err != nil {
			t.Errorf("Listen again = %v", err)
		}
	})
}

func TestCutStallsUntilHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := exact(simnet.New(1))
		a, b := connect(t, n)
		n.Cut("a", "b")
		begin := time.Now()
		write(t, a, "late")
		time.AfterFunc(30*time.Second, n.HealAll)
		if got := read(t, b); got != "late" {
			t.Errorf("Read = %q", got)
		}
		if took := time.Since(begin); took < 30*time.Second || took > 33*time.Second {
			t.Errorf("arrived after %v, want soon after the heal", took)
		}
	})
}

func TestLongCutTimesOutAtTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := exact(simnet.New(1))
		a, b := connect(t, n)
		n.CutOneWay("a", "b")
		write(t, a, "lost")
		_, err := a.Read(make([]byte, 1))
		wantErr(t, "Read", err, syscall.ETIMEDOUT)
		n.HealAll()
		write(t, b, "hello?") // b has not noticed
		_, err = b.Read(make([]byte, 1))
		wantErr(t, "Read", err, syscall.ECONNRESET)
	})
}

func TestCutOfTheWayBackStopsAcknowledgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := exact(simnet.New(1))
		n.Window = 1000
		a, b := connect(t, n)
		n.CutOneWay("b", "a")
		write(t, a, string(make([]byte, 1000)))
		if _, err := io.ReadFull(b, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		_ = a.SetWriteDeadline(time.Now().Add(time.Minute))
		_, err := a.Write([]byte("x"))
		wantErr(t, "Write", err, os.ErrDeadlineExceeded)
		n.HealAll()
		_ = a.SetWriteDeadline(time.Time{})
		write(t, a, "x")
	})
}

func TestCrashResetsAndRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := exact(simnet.New(1))
		old := n.Host("b")
		a, b := connect(t, n)
		write(t, b, "last words")
		n.Crash("b")
		_, err := b.Write([]byte("x"))
		wantErr(t, "Write of the dead", err, net.ErrClosed)
		_, err = old.Listen(t.Context(), ":1")
		wantErr(t, "Listen of the dead", err, net.ErrClosed)
		_, err = old.Dial(t.Context(), "a:1")
		wantErr(t, "Dial of the dead", err, net.ErrClosed)
		if got := read(t, a); got != "last words" {
			t.Errorf("Read = %q", got)
		}
		_, err = a.Read(make([]byte, 1))
		wantErr(t, "Read", err, syscall.ECONNRESET)
		_, err = n.Host("a").Dial(t.Context(), "b:7000")
		wantErr(t, "Dial", err, syscall.ECONNREFUSED)
		connect(t, n) // a new process
	})
}

func TestSilentCrashIsSilentUntilBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := exact(simnet.New(1))
		a, _ := connect(t, n)
		n.CrashSilent("b")
		_ = a.SetReadDeadline(time.Now().Add(time.Minute))
		write(t, a, "anybody?")
		_, err := a.Read(make([]byte, 1))
		wantErr(t, "Read", err, os.ErrDeadlineExceeded)
		n.Boot("b")
		_ = a.SetReadDeadline(time.Time{})
		_, err = a.Read(make([]byte, 1))
		wantErr(t, "Read", err, syscall.ECONNRESET)
	})
}

func TestPauseHoldsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := exact(simnet.New(1))
		a, b := connect(t, n)
		pa, _ := n.Host("a").ListenPacket(t.Context(), ":5")
		pb, _ := n.Host("b").ListenPacket(t.Context(), ":5")
		n.Pause("b")
		begin := time.Now()
		write(t, a, "in")
		write(t, b, "out")
		_, _ = pa.WriteTo([]byte("in"), pb.LocalAddr())
		_, _ = pb.WriteTo([]byte("out"), pa.LocalAddr())
		_, err := n.Host("a").Dial(t.Context(), "b:1")
		wantErr(t, "Dial", err, syscall.ECONNREFUSED) // the kernel is not paused
		time.AfterFunc(10*time.Minute, func() { n.Resume("b") })
		if in, out := read(t, b), read(t, a); in != "in" || out != "out" {
			t.Errorf("Read = %q, %q", in, out)
		}
		for _, p := range []net.PacketConn{pa, pb} {
			if _, _, err := p.ReadFrom(make([]byte, 10)); err != nil {
				t.Errorf("ReadFrom = %v", err)
			}
		}
		if took := time.Since(begin); took < 10*time.Minute {
			t.Errorf("delivered after %v", took)
		}
	})
}

func TestWindowPushesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := exact(simnet.New(1))
		a, b := connect(t, n)
		_ = a.SetWriteDeadline(time.Now().Add(time.Second))
		k, err := a.Write(make([]byte, 1<<20))
		wantErr(t, "Write", err, os.ErrDeadlineExceeded)
		if k != n.Window {
			t.Errorf("wrote %d bytes, want the window of %d", k, n.Window)
		}
		if _, err := io.ReadFull(b, make([]byte, k)); err != nil {
			t.Fatal(err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		write(t, a, "more")
	})
}

func TestSlowLinkTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		n.SetDefault(simnet.Link{Delay: time.Millisecond, BytesPerSecond: 100_000})
		a, b := connect(t, n)
		begin := time.Now()
		go func() {
			_, _ = a.Write(make([]byte, 1_000_000))
			_ = a.Close()
		}()
		k, err := io.Copy(io.Discard, b)
		if took := time.Since(begin); err != nil || k != 1_000_000 || took < 10*time.Second || took > 11*time.Second {
			t.Errorf("%d bytes, %v in %v, want 10s", k, err, took)
		}
	})
}

func TestCloseWithUnreadDataResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connect(t, simnet.New(1))
		write(t, a, "unread")
		<-time.After(time.Second)
		_ = b.Close()
		_, err := a.Read(make([]byte, 1))
		wantErr(t, "Read", err, syscall.ECONNRESET)
	})
}

func TestDatagramsAreLostDoubledAndOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(7)
		n.SetDefault(simnet.Link{Delay: time.Millisecond, Loss: 0.1, Duplicate: 0.1, Reorder: 0.3})
		a, _ := n.Host("a").ListenPacket(t.Context(), ":5")
		b, _ := n.Host("b").ListenPacket(t.Context(), ":5")
		for i := range 500 {
			_, _ = a.WriteTo([]byte{byte(i >> 8), byte(i)}, b.LocalAddr())
			<-time.After(100 * time.Microsecond)
		}
		_ = b.SetReadDeadline(time.Now().Add(time.Second))
		var got []int
		seen := map[int]bool{}
		for buf := make([]byte, 10); ; {
			if _, _, err := b.ReadFrom(buf); err != nil {
				wantErr(t, "ReadFrom", err, os.ErrDeadlineExceeded)
				break
			}
			i := int(buf[0])<<8 | int(buf[1])
			got = append(got, i)
			seen[i] = true
		}
		if lost, doubled := 500-len(seen), len(got)-len(seen); lost < 25 || lost > 100 || doubled < 20 || doubled > 100 || slices.IsSorted(got) {
			t.Errorf("%d lost, %d doubled, in order: %v", lost, doubled, slices.IsSorted(got))
		}
	})
}

func TestIsolateAndSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := exact(simnet.New(1))
		reach := func(from, to string) bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := n.Host(from).Dial(ctx, to+":1")
			return errors.Is(err, syscall.ECONNREFUSED)
		}
		for _, h := range []string{"a", "b", "c", "d"} {
			n.Host(h)
		}
		n.Split([]string{"a", "b"}, []string{"c"}, []string{"d"})
		if !reach("a", "b") || reach("a", "c") || reach("c", "d") || reach("d", "b") {
			t.Error("split is wrong")
		}
		n.Heal("a", "c")
		n.Isolate("b")
		if reach("a", "b") || !reach("c", "a") || !reach("b", "b") {
			t.Error("isolation is wrong")
		}
		n.HealAll()
		if !reach("a", "b") || !reach("c", "d") {
			t.Error("heal is wrong")
		}
	})
}

func TestClockIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simnet.NewClock()
		e := simnet.New(1).Host("a").Env(c)
		begin := e.Now()
		c.Step(time.Hour)
		c.SetDrift(0.01)
		<-time.After(100 * time.Second)
		if off := time.Until(e.Now()); off != time.Hour+time.Second {
			t.Errorf("wall clock is off by %v, want 1h0m1s", off)
		}
		if d := e.Now().Sub(begin); d != 101*time.Second {
			t.Errorf("the clock counted %v, want 1m41s", d)
		}
		c.Sleep(true)
		<-time.After(100 * time.Second)
		c.Sleep(false)
		if d := e.Now().Sub(begin); d != 101*time.Second {
			t.Errorf("a sleeping clock counted %v, want 1m41s", d)
		}
		if off := time.Until(e.Now()); off != time.Hour+2*time.Second {
			t.Errorf("wall clock is off by %v, want 1h0m2s", off)
		}
		c.Step(-2 * time.Hour)
		<-time.After(100 * time.Second)
		if d := e.Now().Sub(begin); d != 202*time.Second {
			t.Errorf("a clock set back counted %v, want 3m22s", d)
		}
		if got, want := e.Now().UnixNano(), time.Now().Add(-time.Hour+3*time.Second).UnixNano(); got != want {
			t.Errorf("wall clock reads %d, want %d", got, want)
		}
		if a, b := e.Uint64(), e.Uint64(); a == b {
			t.Error("dice are loaded")
		}
	})
}
