package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/load"
	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
)

const (
	keys      = 20000
	opTimeout = 5 * time.Second
	pipeline  = 100 // keys of a call in the workloads of many
)

func allNames() []string {
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("bench:%08d", i)
	}
	return names
}

// mixed makes nine of ten calls gets.
func mixed(get, set load.Call) load.Call {
	return func(ctx context.Context, keys []string, value []byte) error {
		if rand.IntN(10) > 0 {
			return get(ctx, keys, value)
		}
		return set(ctx, keys, value)
	}
}

// shared gives every caller the same call.
func shared(c load.Call) func() load.Call { return func() load.Call { return c } }

// Load is what a replica's process does for the driver.
type Load struct {
	cache func() *slotmesh.Cache
	api   apiLoad
}

func (l *Load) get(ctx context.Context, keys []string, _ []byte) error {
	_, err := l.cache().Get(ctx, keys[0])
	return err
}

func (l *Load) set(ctx context.Context, keys []string, value []byte) error {
	return l.cache().Set(ctx, keys[0], value)
}

func (l *Load) getMany(ctx context.Context, keys []string, _ []byte) error {
	for _, r := range l.cache().GetMany(ctx, keys) {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

func (l *Load) setMany(ctx context.Context, keys []string, value []byte) error {
	entries := make([]slotmesh.Entry, len(keys))
	for i, key := range keys {
		entries[i] = slotmesh.Entry{Key: key, Value: value}
	}
	return errors.Join(l.cache().SetMany(ctx, entries)...)
}

func (l *Load) call(workload string) load.Call {
	switch workload {
	case "set":
		return l.set
	case "mix":
		return mixed(l.get, l.set)
	case "get_many":
		return l.getMany
	case "set_many":
		return l.setMany
	}
	return l.get
}

// Fill stores all keys.
func (l *Load) Fill(valueBytes int, _ *struct{}) error {
	return load.Fill(allNames(), valueBytes, l.set)
}

// Run runs one cell.
func (l *Load) Run(c load.Cell, s *load.Sample) error {
	names := allNames()
	if c.Workload == "get_remote" {
		view, remote := l.cache().Cluster(), names[:0]
		for _, name := range names {
			if owner, err := view.Owner(name); err == nil && !owner.Self {
				remote = append(remote, name)
			}
		}
		names = remote
	}
	*s = load.Run(c, names, shared(l.call(c.Workload)))
	return nil
}

// meshSystem is a fleet with the load in one of its replicas.
type meshSystem struct {
	f  *mesh.Fleet
	at int
}

// apiSystem is meshSystem with the calls of -api.
type apiSystem struct{ meshSystem }

func (a apiSystem) fill(valueBytes int) error {
	return a.f.Replicas[a.at].Call(time.Minute, "Load.FillAPI", valueBytes, &struct{}{})
}

func (a apiSystem) run(c load.Cell) (s load.Sample, err error) {
	err = a.f.Replicas[a.at].Call(c.For+2*opTimeout, "Load.RunAPI", c, &s)
	return s, err
}

func (m meshSystem) pids() []int {
	var pids []int
	for _, r := range m.f.Replicas {
		pids = append(pids, r.PID())
	}
	return pids
}

func (m meshSystem) fill(valueBytes int) error {
	return m.f.Replicas[m.at].Call(time.Minute, "Load.Fill", valueBytes, &struct{}{})
}

func (m meshSystem) run(c load.Cell) (s load.Sample, err error) {
	err = m.f.Replicas[m.at].Call(c.For+2*opTimeout, "Load.Run", c, &s)
	return s, err
}
