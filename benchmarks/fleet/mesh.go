package main

import (
	"context"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/benchmarks/internal/mesh"
)

// Load is what a replica's process does for the driver.
type Load struct{ cache func() *slotmesh.Cache }

func (l *Load) client() client {
	c := l.cache()
	return client{
		get: func(ctx context.Context, key string, _ []byte) error {
			_, err := c.Get(ctx, key)
			return err
		},
		set: func(ctx context.Context, key string, value []byte) error { return c.Set(ctx, key, value) },
	}
}

// Fill stores all keys.
func (l *Load) Fill(valueBytes int, _ *struct{}) error { return fill(l.client(), valueBytes) }

// Run runs one cell.
func (l *Load) Run(c Cell, s *Sample) error {
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
	*s = run(c, l.client(), names)
	return nil
}

// meshSystem is a fleet with the load in its first replica.
type meshSystem struct{ f *mesh.Fleet }

func (m meshSystem) pids() []int {
	var pids []int
	for _, r := range m.f.Replicas {
		pids = append(pids, r.PID())
	}
	return pids
}

func (m meshSystem) fill(valueBytes int) error {
	return m.f.Replicas[0].Call(time.Minute, "Load.Fill", valueBytes, &struct{}{})
}

func (m meshSystem) run(c Cell) (s Sample, err error) {
	err = m.f.Replicas[0].Call(c.For+2*opTimeout, "Load.Run", c, &s)
	return s, err
}
