package resp_test

import (
	"fmt"
	"testing"

	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func TestFailoverByAReplica(t *testing.T) {
	f := serve(t, 3)
	c := dial(t, f.addrs[1])
	self := f.caches[1].Cluster().Self().Name
	backed := map[uint16]bool{}
	for slot := range f.caches[1].Cluster().Slots() {
		for _, name := range slot.Backups {
			if name == self {
				backed[slot.Number] = true
			}
		}
	}
	for i := range 100 {
		if err := f.caches[0].Set(t.Context(), fmt.Sprint("key:", i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.line("cluster failover now"); got != "error ERR syntax error" {
		t.Errorf("cluster failover now = %s", got)
	}
	if got := c.line("cluster failover"); got != "OK" || len(backed) < 1000 {
		t.Fatalf("cluster failover of %d slots = %s", len(backed), got)
	}
	for slot := range f.caches[1].Cluster().Slots() {
		if backed[slot.Number] && slot.Primary != self {
			t.Fatalf("slot %d is served by %s after the failover to %s", slot.Number, slot.Primary, self)
		}
	}
	for i := range 100 {
		key := fmt.Sprint("key:", i)
		if backed[f.caches[0].Cluster().KeySlot(key)] {
			if got := c.line("get " + key); got != `"v"` {
				t.Errorf("get %s = %s", key, got)
			}
		}
	}
	// Back again, by those that are replicas now.
	for i, variant := range map[int]string{0: "cluster failover force", 2: "cluster failover takeover"} {
		other := dial(t, f.addrs[i])
		slotmeshtest.Await(t, variant, func() error { // as soon as the node has heard of its slots
			if got := other.line(variant); got != "OK" {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
	}
}

func TestFailoverOfAMasterIsRefused(t *testing.T) {
	f := serve(t, 1)
	for _, variant := range []string{"", " force", " takeover"} {
		if got := dial(t, f.addrs[0]).line("cluster failover" + variant); got != "error ERR You should send CLUSTER FAILOVER to a replica" {
			t.Errorf("cluster failover%s = %s", variant, got)
		}
	}
}
