package node

import (
	"testing"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// What a ring forgets first are records: the calls are known for longer.
func TestRingForgetsRecordsBeforeCalls(t *testing.T) {
	var r ring
	r.reset(10)
	for v := uint64(11); v <= 20; v++ {
		e := entry{version: v, call: transport.CallID{Number: v}, records: []store.Record{{Value: make([]byte, 1000), Version: v}}}
		e.size = entrySize(&e)
		r.add(e)
	}
	r.trim(18, 4*1200)
	if r.base <= 10 || r.base > 18 || r.fates != 10 {
		t.Errorf("base %d, fates %d after a trim, want a base among the acknowledged, all calls known above 10", r.base, r.fates)
	}
	for v := uint64(11); v <= 20; v++ {
		e := r.find(transport.CallID{Number: v})
		if e == nil || e.version != v {
			t.Fatalf("call %d is not found", v)
		}
		if whole := e.records != nil; whole != (v > r.base) {
			t.Errorf("append %d has its records: %v, base is %d", v, whole, r.base)
		}
	}
	r.trim(18, 0)
	if r.base != 18 || r.fates != 18 || r.find(transport.CallID{Number: 18}) != nil || r.find(transport.CallID{Number: 19}) == nil {
		t.Errorf("base %d, fates %d after a trim to nothing, want all but what is not acknowledged forgotten", r.base, r.fates)
	}
	if size := entrySize(&r.entries[0]) + entrySize(&r.entries[1]); r.bytes != size {
		t.Errorf("ring counts %d bytes, want %d", r.bytes, size)
	}
}

// What another side of a fork ran stays unknown when calls of before are forgotten.
func TestTrimKeepsWhatIsUnknown(t *testing.T) {
	s := &slot{}
	r := &s.ring
	r.reset(firstVersion(1))
	for i := range uint64(10) {
		e := entry{version: firstVersion(1) + i + 1, call: transport.CallID{Number: i + 1}, records: []store.Record{{Value: make([]byte, 1000)}}}
		e.size = entrySize(&e)
		r.add(e)
	}
	s.foreignLocked(3)
	if r.trim(firstVersion(3), 400); r.fates != firstVersion(3) {
		t.Errorf("fates are known from %x, want %x", r.fates, firstVersion(3))
	}
}
