package slotmesh

import (
	"errors"
	"fmt"
	"net"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/slotmesh/slotmesh/store"
)

// faults collects what is wrong with options.
type faults []error

func (f *faults) add(format string, args ...any) {
	*f = append(*f, fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...)))
}

func (f *faults) unless(ok bool, format string, args ...any) {
	if !ok {
		f.add(format, args...)
	}
}

func (f faults) joined() error { return errors.Join(f...) }

// validate returns every fault of o joined, each an ErrInvalid that names the
// option and the value.
func (o *options) validate() error {
	var f faults
	o.validateNames(&f)
	o.validateAddresses(&f)
	o.validateNumbers(&f)
	o.validateTimes(&f)
	o.validateAttributes(&f)
	return f.joined()
}

func (o *options) validateNames(f *faults) {
	for _, n := range []struct {
		option, value string
		limit         int
		needed        bool
	}{
		{"WithName", o.cfg.Name, 96, false}, // empty only where WithAddr is at fault
		{"WithCluster", o.cfg.Cluster, 64, true},
		{"WithZone", o.cfg.Zone, 64, false},
		{"WithSeat", o.cfg.Seat, 96, false},
	} {
		f.unless(!n.needed || n.value != "", "%s: a name is needed", n.option)
		f.unless(len(n.value) <= n.limit, "%s: %d bytes, want at most %d", n.option, len(n.value), n.limit)
		f.unless(isPrintable(n.value), "%s(%q): want printable UTF-8 without blanks", n.option, n.value)
	}
}

func isPrintable(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || r == ' ' || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func (o *options) validateAddresses(f *faults) {
	f.unless(validHostPort(o.cfg.Addr, 0), "WithAddr(%q): want host:port", o.cfg.Addr)
	if a := o.cfg.AdvertiseAddr; a != "" {
		host, _, _ := net.SplitHostPort(a)
		f.unless(validHostPort(a, 1) && !isUnspecified(host),
			"WithAdvertiseAddr(%q): want a host:port that others can reach", a)
	}
	for _, s := range o.seeds {
		f.unless(validSeed(s), "WithSeeds(%q): want host:port or a host name", s)
	}
	f.unless(!o.secured || len(o.cfg.Secret) > 0, "WithSecret: a key is needed")
	checkSecret(f, "WithSecret", o.cfg.Secret)
	o.validateTLS(f)
}

func (o *options) validateNumbers(f *faults) {
	cfg := &o.cfg
	inRange := func(option string, n, low, high int) {
		f.unless(low <= n && n <= high, "%s(%d): want %d to %d", option, n, low, high)
	}
	inRange("WithBackups", cfg.Backups, 0, 5)
	f.unless(0 <= cfg.MinBackups && cfg.MinBackups <= max(cfg.Backups, 0),
		"WithMinBackups(%d): want 0 up to the %d of WithBackups", cfg.MinBackups, cfg.Backups)
	inRange("WithWeight", cfg.Weight, 0, 1000)
	f.unless(cfg.MoveBudget == 0 || cfg.MoveBudget >= 256*kib, "WithMoveBudget(%d): want 0 or at least %d", cfg.MoveBudget, 256*kib)
	inRange("WithBootstrapExpect", cfg.BootstrapExpect, 0, 1000)
	f.unless(cfg.Policy == Available || cfg.Policy == Majority,
		"WithPartitionPolicy(%d): want Available or Majority", cfg.Policy)
	f.unless(o.ack <= AckPrimary, "WithAck(%d): want AckBackups or AckPrimary", o.ack)
	f.unless(o.fsync <= FsyncNever, "WithFsync(%d): want FsyncEverySec, FsyncAlways or FsyncNever", o.fsync)
	f.unless(o.dataDir == "" || o.maxMemory >= 16*mib, "WithMaxMemory(%d): want at least 16 MiB with WithDataDir", o.maxMemory)
	f.unless(o.dataDir != "" || o.fsync == FsyncEverySec && !o.recoverEmpty, "WithFsync and WithRecoverEmpty need WithDataDir")
	f.unless(!cfg.Visitor || o.dataDir == "", "WithVisitor and WithDataDir exclude each other")
	f.unless(o.evict <= EvictNone, "WithEviction(%d): want EvictAuto or EvictNone", o.evict)
	f.unless(minMaxMemory <= o.maxMemory && o.maxMemory <= store.MaxMemory, "WithMaxMemory(%d): want 0, or %d to %d", o.maxMemory, minMaxMemory, store.MaxMemory)
	f.unless(cfg.NearBytes == 0 || mib <= cfg.NearBytes && cfg.NearBytes <= 64<<10*mib, "WithNearCache(%d): want 0, or 1 MiB to 64 GiB", cfg.NearBytes)
	inRange("WithLimits: MaxKey", cfg.MaxKey, 1, maxKey)
	if o.limits.MaxValue == 0 {
		return // it follows from WithMaxMemory
	}
	inRange("WithLimits: MaxValue", cfg.MaxValue, 1, maxValue)
	f.unless(int64(cfg.MaxValue) <= o.maxMemory/valuesInMemory || cfg.MaxValue > maxValue,
		"WithLimits: MaxValue of %d needs WithMaxMemory of at least %d, have %d",
		cfg.MaxValue, int64(cfg.MaxValue)*valuesInMemory, o.maxMemory)
}

func (o *options) validateTimes(f *faults) {
	cfg := &o.cfg
	const long = 24 * time.Hour
	for _, t := range []struct {
		option          string
		d               time.Duration
		atLeast, atMost time.Duration
	}{
		{"WithFailureTimeout", cfg.FailureTimeout, 200 * time.Millisecond, time.Minute},
		{"WithReplicationTimeout", cfg.ReplicationTimeout, 10 * time.Millisecond, time.Minute},
		{"WithRepairDelay", cfg.RepairDelay, 0, long},
		{"WithPartitionWait", cfg.PartitionWait, cfg.FailureTimeout, long},
		{"WithOrphanWait", cfg.OrphanWait, 0, long},
		{"WithColdStartWait", cfg.ColdStartWait, 0, long},
		{"WithSlowCalls", cfg.SlowCall, 0, long},
		{"WithOpTimeout", cfg.OpTimeout, time.Millisecond, long},
	} {
		f.unless(t.atLeast <= t.d && t.d <= t.atMost, "%s(%v): want %v to %v", t.option, t.d, t.atLeast, t.atMost)
	}
}
