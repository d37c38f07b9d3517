package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/resp"
)

// ports are what the node opens besides its own port. Each may be nil.
type ports struct {
	http, resp net.Listener

	web    *http.Server
	cancel context.CancelFunc // ends resp
	wg     sync.WaitGroup
}

// listen opens the ports; nobody answers there before serve.
func listen(ctx context.Context, c *config) (*ports, error) {
	p := &ports{cancel: func() {}}
	for _, l := range []struct {
		flag, addr string
		to         *net.Listener
	}{{"http", c.http, &p.http}, {"resp", c.resp, &p.resp}} {
		if l.addr == "" {
			continue
		}
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", l.addr)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("--%s: %w", l.flag, err)
		}
		*l.to = ln
	}
	return p, nil
}

// serve answers until close.
func (p *ports) serve(c *config, cache *slotmesh.Cache, log *slog.Logger) {
	if p.http != nil {
		p.web = &http.Server{Handler: newHandler(cache), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
		p.wg.Go(func() { // ends with p.web.Close
			if err := p.web.Serve(p.http); !errors.Is(err, http.ErrServerClosed) {
				log.Error("http ended", "err", err)
			}
		})
	}
	if p.resp != nil {
		var ctx context.Context
		ctx, p.cancel = context.WithCancel(context.Background())
		opts := []resp.Option{resp.WithLogger(log)}
		if c.respAdvertise != "" {
			opts = append(opts, resp.WithAdvertiseAddr(c.respAdvertise))
		}
		p.wg.Go(func() { // ends with ctx
			if err := resp.Serve(ctx, cache, p.resp, opts...); err != nil && ctx.Err() == nil && !errors.Is(err, slotmesh.ErrClosed) {
				log.Error("resp ended", "err", err)
			}
		})
	}
}

// where tells the addresses for the line that says ready.
func (p *ports) where() (text string) {
	if p.http != nil {
		text += ", http " + p.http.Addr().String()
	}
	if p.resp != nil {
		text += ", resp " + p.resp.Addr().String()
	}
	return text
}

// close ends what serve began, and returns when it has ended.
func (p *ports) close() {
	p.cancel()
	if p.web != nil {
		_ = p.web.Close() // nobody is left to tell
	}
	for _, l := range []net.Listener{p.http, p.resp} {
		if l != nil {
			_ = l.Close() // closed before, mostly
		}
	}
	p.wg.Wait()
}
