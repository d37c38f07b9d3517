package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/slotmesh/slotmesh"
)

// abuse is what is done to the replicas' ports.
type abuse struct {
	cancel                                   context.CancelFunc
	wg                                       sync.WaitGroup
	cuts, garbage, packets, unfinished, full atomic.Int64
}

func (s *soak) startAbuse(length time.Duration) *abuse {
	ctx, cancel := context.WithTimeout(context.Background(), length)
	a := &abuse{cancel: cancel}
	var addrs []string
	for _, c := range s.caches {
		addrs = append(addrs, c.Cluster().Self().Addr)
	}
	a.wg.Go(func() { a.cutConnections(ctx, addrs) })
	for i, c := range s.caches {
		a.wg.Go(func() { a.fillMemory(ctx, c, i) })
	}
	for _, addr := range addrs {
		a.wg.Go(func() { a.floodStreams(ctx, addr) })
		a.wg.Go(func() { a.floodPackets(ctx, addr) })
		a.wg.Go(func() { a.holdOpen(ctx, addr) })
	}
	return a
}

func (a *abuse) stop() map[string]any {
	a.cancel()
	a.wg.Wait()
	return map[string]any{
		"connections_cut": a.cuts.Load(), "garbage_streams": a.garbage.Load(),
		"fills_refused": a.full.Load(), "garbage_packets": a.packets.Load(), "half_handshakes": a.unfinished.Load(),
	}
}

// fillMemory writes large values that expire with the abuse until there is no
// room, and goes on trying.
func (a *abuse) fillMemory(ctx context.Context, c *slotmesh.Cache, replica int) {
	value := make([]byte, 1<<20)
	end, _ := ctx.Deadline()
	for i := 0; ctx.Err() == nil; i++ {
		err := c.Set(ctx, fmt.Sprintf("large:%d:%d", replica, i), value, slotmesh.ExpireAt(end))
		if errors.Is(err, slotmesh.ErrNoMemory) {
			a.full.Add(1)
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// cutConnections ends one of the connections between the replicas, which are
// all in this process, every 700 ms.
func (a *abuse) cutConnections(ctx context.Context, addrs []string) {
	for tick := time.NewTicker(700 * time.Millisecond); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
		if fds := sockets(addrs); len(fds) > 0 {
			if syscall.Shutdown(fds[rand.IntN(len(fds))], syscall.SHUT_RDWR) == nil {
				a.cuts.Add(1)
			}
		}
	}
}

// sockets lists this process's accepted TCP connections at addrs.
func sockets(addrs []string) (fds []int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil || kind != syscall.SOCK_STREAM {
			continue
		}
		if _, err := syscall.Getpeername(fd); err != nil {
			continue
		}
		if at, err := syscall.Getsockname(fd); err == nil {
			if in, ok := at.(*syscall.SockaddrInet4); ok {
				for _, addr := range addrs {
					if strings.HasSuffix(addr, ":"+strconv.Itoa(in.Port)) {
						fds = append(fds, fd)
					}
				}
			}
		}
	}
	return fds
}

func noise(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// floodStreams sends garbage, some of it behind a good beginning.
func (a *abuse) floodStreams(ctx context.Context, addr string) {
	for tick := time.NewTicker(2 * time.Millisecond); ctx.Err() == nil; <-tick.C {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			continue
		}
		for _, start := range []string{"", "SMs1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "SMg1"}[rand.IntN(4):] {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = c.Write(append([]byte(start), noise(rand.IntN(4096))...))
			break
		}
		_ = c.Close()
		a.garbage.Add(1)
	}
}

func (a *abuse) floodPackets(ctx context.Context, addr string) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
		for range 5 {
			_, _ = c.Write(append([]byte("\xf4\x04soak"), noise(rand.IntN(1300))...))
			a.packets.Add(1)
		}
	}
}

// holdOpen begins handshakes, does not end them and does not read.
func (a *abuse) holdOpen(ctx context.Context, addr string) {
	var open []io.Closer
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			continue
		}
		_, _ = c.Write([]byte("SMs1half"))
		a.unfinished.Add(1)
		if open = append(open, c); len(open) > 300 {
			_ = open[0].Close()
			open = open[1:]
		}
	}
}
