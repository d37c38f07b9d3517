package node

import "github.com/slotmesh/slotmesh/transport"

// lane is the calls of a group on one key, which are to take effect in the order in
// which they were given. Where this node serves the slot they run one behind the other
// in one round: the slot gives out versions in that order, and what has a version
// survives or is repeated in it. What has none, and waits for what it saw, may be made
// again by who serves the slot then, so what is behind it waits too. Of those that go to
// another node each waits for the one before, for that may be refused there and the next
// one not.
type lane struct {
	round *group
	taken bool   // by a call that ran here, or went to another node
	epoch uint64 // of the claim that it went by
	shut  bool   // the rest waits for the next round
}

// lanes has the last flight on each key, where calls on one key keep their order.
type lanes map[string]*flight

// enter puts a flight behind those on its key.
func (l lanes) enter(f *flight) {
	if l == nil {
		return
	}
	if before := l[f.call.Key]; before != nil {
		if before.lane == nil {
			before.lane = &lane{}
		}
		f.lane = before.lane
	}
	l[f.call.Key] = f
}

// stands reports whether a flight has to wait for one before it.
func (l *lane) stands(f *flight) bool {
	if l == nil {
		return false
	}
	l.begin(f)
	far := f.to != nil
	l.shut = l.shut || l.taken && (far || f.known != l.epoch)
	stands := l.shut
	l.shut, l.taken, l.epoch = l.shut || far, true, f.known
	return stands
}

// close keeps those behind a flight that was refused, or found no way, from overtaking it.
func (l *lane) close(f *flight) {
	if l != nil {
		l.begin(f)
		l.shut = true
	}
}

// unversioned reports whether a call that ran here, and is under way, may have no version:
// reads, and writes that change nothing.
func (f *flight) unversioned() bool {
	const conditions = transport.FlagIfAbsent | transport.FlagIfPresent | transport.FlagIfVersion
	return isRead(f.call.Op) || f.call.Flags&conditions != 0 || f.res.Version == 0
}

// begin forgets the round before.
func (l *lane) begin(f *flight) {
	if l.round != f.group {
		*l = lane{round: f.group}
	}
}
