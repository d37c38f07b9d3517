package slotmesh

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/slotmesh/slotmesh/internal/env"
	"github.com/slotmesh/slotmesh/internal/node"
)

const (
	defaultPort = "7946"

	kib = 1 << 10
	mib = 1 << 20

	maxKey         = 64 * kib
	maxValue       = 64 * mib
	minMaxMemory   = 8 * mib
	valuesInMemory = 8 // a value may take one part in so many of the memory limit
)

func newOptions() *options {
	return &options{cfg: node.Config{
		Cluster:            "slotmesh",
		Addr:               "0.0.0.0:" + defaultPort,
		Weight:             1,
		Backups:            1,
		FailureTimeout:     1500 * time.Millisecond,
		ReplicationTimeout: 500 * time.Millisecond,
		RepairDelay:        5 * time.Second,
		SettleDelay:        time.Second,
		OrphanWait:         10 * time.Second,
		ColdStartWait:      30 * time.Second,
		OpTimeout:          5 * time.Second,
		SlowCall:           time.Second,
		Lease:              250 * time.Millisecond,
		Env:                env.System(),
	}}
}

// ensureDefaults fills the gaps that depend on the machine or on other options.
// It never overwrites a set field.
func (o *options) ensureDefaults() {
	cfg := &o.cfg
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Recorder = node.NewRecorder(cfg.Logger.Handler())
	cfg.Logger = slog.New(cfg.Recorder)
	if o.merge != nil {
		cfg.Merge = mergeFunc(o.merge)
	}
	if o.maxMemory == 0 {
		o.maxMemory = defaultMaxMemory()
	}
	if cfg.Visitor {
		cfg.Weight = 0
	}
	cfg.SyncWrites = o.dataDir != "" && o.fsync == FsyncAlways
	cfg.AckPrimary, cfg.EvictNone = o.ack == AckPrimary, o.evict == EvictNone
	o.ensureLimits()
	o.ensureTimes()
	o.ensureTLS()
	host, port, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return // validate says so
	}
	if cfg.Name == "" {
		cfg.Name = defaultName(port)
	}
	if cfg.AdvertiseAddr == "" && isUnspecified(host) {
		reached := firstReachable(interfaceAddrs())
		if port == "0" {
			// The port is not known before the node listens, and the node
			// advertises what it listens on: so that must be one address.
			cfg.Addr = net.JoinHostPort(reached, port)
		} else {
			cfg.AdvertiseAddr = net.JoinHostPort(reached, port)
		}
	}
	if len(o.seeds) > 0 || o.discover != nil {
		cfg.Seeds = o.seedSource(port)
	}
}

// ensureLimits leaves room for a few of the largest values within the memory
// limit.
func (o *options) ensureLimits() {
	o.cfg.MaxKey, o.cfg.MaxValue = o.limits.MaxKey, o.limits.MaxValue
	if o.cfg.MaxKey == 0 {
		o.cfg.MaxKey = maxKey
	}
	if o.cfg.MaxValue == 0 {
		o.cfg.MaxValue = int(min(16*mib, o.maxMemory/valuesInMemory))
	}
}

func (o *options) ensureTimes() {
	if o.cfg.PartitionWait == 0 {
		o.cfg.PartitionWait = max(3*time.Second, o.cfg.FailureTimeout)
	}
	// A lease that outlives the failure timeout would only delay promotions.
	o.cfg.Lease = min(o.cfg.Lease, o.cfg.FailureTimeout/2)
}

// seedSource is what the node asks whenever it needs seeds.
func (o *options) seedSource(ownPort string) func(context.Context) ([]string, error) {
	if ownPort == "0" {
		ownPort = defaultPort
	}
	given, discover := o.seeds, o.discover
	return func(ctx context.Context) ([]string, error) {
		seeds := make([]string, 0, len(given))
		for _, s := range given {
			seeds = append(seeds, withPort(s, ownPort))
		}
		if discover == nil {
			return seeds, nil
		}
		found, err := discover(ctx)
		if err != nil && len(seeds) == 0 {
			return nil, fmt.Errorf("discover seeds: %w", err)
		}
		for _, s := range found {
			seeds = append(seeds, withPort(s, ownPort))
		}
		return seeds, nil
	}
}

// defaultName is stable over restarts wherever the port is.
func defaultName(port string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	if port == "0" {
		return fmt.Sprintf("%s-%08x", host, rand.Uint32())
	}
	return host + ":" + port
}

// mergeFunc puts a user's function into a node's terms.
func mergeFunc(merge func(key string, newer, older Item) Item) node.MergeFunc {
	return func(key string, newer, older node.Result) node.Result {
		it := merge(key, newItem(key, newer), newItem(key, older))
		r := node.Result{Found: true, Value: it.Value, Schema: newer.Schema}
		if !it.Expires.IsZero() {
			r.Expiry = it.Expires.UnixMilli()
		}
		if !bytes.Equal(it.Value, newer.Value) && bytes.Equal(it.Value, older.Value) {
			r.Schema = older.Schema
		}
		return r
	}
}
