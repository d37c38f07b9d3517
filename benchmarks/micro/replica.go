package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
)

const keys = 20000

func allNames() []string {
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("bench:%08d", i)
	}
	return names
}

// Load is what each of the two processes does for the driver.
type Load struct {
	cache  func() *slotmesh.Cache
	stream *bare

	own, others []string // keys by who serves them; nil until first wanted
}

// Serve starts the floors' servers and returns their addresses.
func (l *Load) Serve(_ struct{}, addrs *map[string]string) (err error) {
	tcp, err := serveTCP()
	if err != nil {
		return err
	}
	stream, err := serveStream()
	*addrs = map[string]string{"tcp": tcp, "stream": stream}
	return err
}

// Fill stores all keys.
func (l *Load) Fill(valueBytes int, _ *struct{}) error {
	return load.Fill(allNames(), valueBytes, l.set)
}

func (l *Load) set(ctx context.Context, keys []string, value []byte) error {
	return l.cache().Set(ctx, keys[0], value)
}

func (l *Load) get(ctx context.Context, keys []string, _ []byte) error {
	_, err := l.cache().Get(ctx, keys[0])
	return err
}

// names returns the keys that the process serves, or those that it does not.
func (l *Load) names(own bool) []string {
	if l.own == nil {
		view := l.cache().Cluster()
		for _, name := range allNames() {
			if owner, err := view.Owner(name); err == nil && owner.Self {
				l.own = append(l.own, name)
			} else {
				l.others = append(l.others, name)
			}
		}
	}
	if own {
		return l.own
	}
	return l.others
}

// RunArgs is a cell and the addresses of the floors' servers.
type RunArgs struct {
	load.Cell
	Addrs map[string]string
}

// Run runs one cell.
func (l *Load) Run(a RunArgs, s *load.Sample) error {
	names := []string{""}
	var caller func() load.Call
	switch a.Workload {
	case "tcp":
		caller = tcpCaller(a.Addrs["tcp"])
	case "stream":
		if l.stream == nil {
			var err error
			if l.stream, err = dialStream(a.Addrs["stream"]); err != nil {
				return err
			}
		}
		caller = l.stream.caller
	case "get_local", "get_remote":
		names = l.names(a.Workload == "get_local")
		caller = func() load.Call { return l.get }
	case "set_local", "set_remote":
		names = l.names(a.Workload == "set_local")
		caller = func() load.Call { return l.set }
	}
	*s = load.Run(a.Cell, names, caller)
	return nil
}

// Allocs returns how many objects the process has allocated since it started.
func (l *Load) Allocs(_ struct{}, n *uint64) error {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	*n = m.Mallocs
	return nil
}

const callTimeout = 10 * time.Second
