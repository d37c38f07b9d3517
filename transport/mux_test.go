package transport

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func dialRaw(t *testing.T, nw network, addr string) net.Conn {
	t.Helper()
	c, err := nw.dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// accept returns the next connection; there need not come one, where the mux has let go
// of it.
func accept(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	got := make(chan net.Conn, 1)
	go func() { // ends with ln
		if c, err := ln.Accept(); err == nil {
			got <- c
		}
	}()
	return receive(t, got)
}

// closedByPeer reads until the connection ends.
func closedByPeer(t *testing.T, c net.Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, c); done <- err }()
	receive(t, done)
}

func TestMuxSplitsByFirstBytes(t *testing.T) {
	bothNetworks(t, func(t *testing.T, nw network) {
		ln, addr := nw.listen(t)
		m := NewMux(ln, nil)
		defer m.Close()
		if m.GRPC().Addr().String() != ln.Addr().String() || m.Gossip().Addr().String() != ln.Addr().String() {
			t.Error("the sides have another address")
		}
		for _, tt := range []struct {
			dial func(context.Context, string) (net.Conn, error)
			side net.Listener
			send string
		}{
			{DialGossip(nw.dial), m.Gossip(), "gossip bytes"},
			{nw.dial, m.GRPC(), "PRI * HTTP/2.0\r\n\r\n"},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			c, err := tt.dial(ctx, addr)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(c, tt.send); _ = c.Close() }()
			s := accept(t, tt.side)
			if b, _ := io.ReadAll(s); string(b) != tt.send {
				t.Errorf("got %q, want %q", b, tt.send)
			}
			_ = s.Close()
		}
	})
}

func TestMuxClosesGarbage(t *testing.T) {
	bothNetworks(t, func(t *testing.T, nw network) {
		ln, addr := nw.listen(t)
		m := NewMux(ln, nil)
		defer m.Close()
		for _, s := range []string{"GET / HTTP/1.1\r\n", "\x16\x03\x01\x02", "\x00\x00\x00\x00", packetMagic + "which nobody accepts"} {
			c := dialRaw(t, nw, addr)
			if _, err := io.WriteString(c, s); err != nil {
				t.Fatal(err)
			}
			closedByPeer(t, c)
		}
		c := dialRaw(t, nw, addr)
		_, _ = io.WriteString(c, "PR")
		_ = c.Close()
	})
}

func TestMuxClosesTheSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		ln, addr := nw.listen(t)
		m := NewMux(ln, nil)
		defer m.Close()
		c := dialRaw(t, nw, addr)
		began := time.Now()
		_, _ = io.Copy(io.Discard, c)
		if took := time.Since(began); took != unknownTime {
			t.Errorf("closed after %v, want %v", took, unknownTime)
		}
	})
}

func TestMuxClosesTheOldestOfTooManyUnknown(t *testing.T) {
	nw := newMemory()
	ln, addr := nw.listen(t)
	m := NewMux(ln, nil)
	defer m.Close()
	first := dialRaw(t, nw, addr)
	for range maxUnknown {
		dialRaw(t, nw, addr)
	}
	closedByPeer(t, first)
	c, err := DialGossip(nw.dial)(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = accept(t, m.Gossip()).Close()
}

func TestMuxCloseEndsAccept(t *testing.T) {
	nw := newMemory()
	ln, addr := nw.listen(t)
	m := NewMux(ln, nil)
	silent := dialRaw(t, nw, addr)
	waiting, err := DialGossip(nw.dial)(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() { _, err := m.GRPC().Accept(); errs <- err }()
	_ = m.GRPC().Close()
	receive(t, errs)
	m.Close()
	m.Close()
	closedByPeer(t, silent)
	closedByPeer(t, waiting)
	if _, err := m.Gossip().Accept(); err == nil {
		t.Error("Accept after Close")
	}
}
