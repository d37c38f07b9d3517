package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// maxRefused bounds the refusals remembered so as to log each once.
const maxRefused = 1024

// delegate is what memberlist calls. NotifyAlive, NotifyJoin, NotifyUpdate and
// NotifyLeave run under its node lock: they never wait and never call back.
// They also run before Create has returned, so nothing here uses g.ml.
type delegate struct {
	g *Gossip

	mu      sync.Mutex // guards refused
	refused map[string]struct{}
}

// NotifyAlive refuses members that this node cannot work with.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	m, goodbye, err := decodeMeta(n.Name, n.Meta)
	if err == nil && !validPlace(n) {
		err = fmt.Errorf("address %v port %d", n.Addr, n.Port)
	}
	if err == nil && !understood(n) {
		err = fmt.Errorf("gossips in version %d of %d to %d", n.PCur, n.PMin, n.PMax)
	}
	if self := &d.g.cfg.Self; err == nil && !self.compatible(&m) {
		err = fmt.Errorf("speaks protocol %d to %d, this node %d to %d", m.MinProto, m.MaxProto, self.MinProto, self.MaxProto)
	}
	if err != nil {
		d.refuse(n, err)
		return err
	}
	known, gone, full := d.g.roll.admits(m.ID)
	switch {
	case m.ID == d.g.self:
		return nil
	case gone, goodbye && !known:
		d.g.roll.goodbye(m)
		return errors.New("has left")
	case full:
		err = fmt.Errorf("more than %d members", MaxMembers)
		d.refuse(n, err)
		return err
	}
	return nil
}

// NotifyMerge refuses to join a cluster of which no member is acceptable; the
// opaque state that came along is dropped with it. It hears of goodbyes that were said
// while this node was cut off: memberlist passes them on as deaths.
func (d *delegate) NotifyMerge(peers []*memberlist.Node) error {
	for _, n := range peers {
		if m, goodbye, err := decodeMeta(n.Name, n.Meta); err == nil && goodbye {
			d.g.roll.goodbye(m)
		}
	}
	var first error
	for _, n := range peers {
		if n.State != memberlist.StateAlive {
			continue
		}
		m, _, err := decodeMeta(n.Name, n.Meta)
		if err == nil && d.g.cfg.Self.compatible(&m) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("member %s speaks protocol %d to %d", m.Name, m.MinProto, m.MaxProto)
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		return nil // nobody lives there: harmless
	}
	return fmt.Errorf("no member can be worked with: %w", first)
}

func (d *delegate) NotifyJoin(n *memberlist.Node) {
	m, goodbye, err := decodeMeta(n.Name, n.Meta)
	if err != nil || goodbye {
		return
	}
	at, _ := place(n)
	d.g.roll.join(m, at)
	d.g.rejoinSoon()
}

func (d *delegate) NotifyUpdate(n *memberlist.Node) {
	m, goodbye, err := decodeMeta(n.Name, n.Meta)
	switch {
	case err != nil:
	case goodbye:
		d.g.roll.goodbye(m)
	default:
		d.g.roll.update(m)
	}
}

// NotifyLeave is called for the dead. Who said goodbye is off the list by then.
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	if id, err := parseID(n.Name); err == nil && d.g.roll.fail(id) {
		d.g.rejoinSoon()
	}
}

// NodeMeta is called by Start and by announcements only, so it cannot race
// with a goodbye.
func (d *delegate) NodeMeta(int) []byte {
	self, ok := d.g.roll.get(d.g.self)
	if !ok {
		self = d.g.cfg.Self
	}
	return encodeMeta(&self, d.g.roll.saidGoodbye())
}

func (d *delegate) NotifyMsg(b []byte) {
	if payload := d.g.casts.receive(b); payload != nil {
		d.g.inbox.addMessage(payload)
	}
}

func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.g.casts.queue.GetBroadcasts(overhead, limit)
}

func (d *delegate) LocalState(join bool) []byte {
	if d.g.cfg.State == nil || !d.g.calls.enter() {
		return nil
	}
	defer d.g.calls.leave()
	b := d.g.cfg.State(join)
	if len(b) > d.g.cfg.MaxState {
		d.g.logs.add(slog.LevelWarn, "state is too large to be sent", slog.Int("bytes", len(b)), slog.Int("max", d.g.cfg.MaxState))
		return nil
	}
	return b
}

func (d *delegate) MergeRemoteState(b []byte, join bool) {
	if len(b) > d.g.cfg.MaxState {
		d.g.logs.add(slog.LevelWarn, "state of a peer is too large", slog.Int("bytes", len(b)), slog.Int("max", d.g.cfg.MaxState))
		return
	}
	if len(b) == 0 || d.g.cfg.Merge == nil || !d.g.calls.enter() {
		return
	}
	defer d.g.calls.leave()
	d.g.cfg.Merge(b, join)
}

func (d *delegate) AckPayload() []byte { return nil }

// NotifyPingComplete brings back a member that answered a probe sent after it
// was forgotten.
func (d *delegate) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, _ []byte) {
	if id, err := parseID(n.Name); err == nil {
		d.g.roll.recall(id, time.Now().Add(-rtt))
	}
}

// refuse logs a refusal once.
func (d *delegate) refuse(n *memberlist.Node, err error) {
	key := n.Name + " " + err.Error()
	d.mu.Lock()
	_, again := d.refused[key]
	if !again && len(d.refused) < maxRefused {
		d.refused[key] = struct{}{}
	}
	full := len(d.refused) >= maxRefused
	d.mu.Unlock()
	if !again && !full {
		d.g.logs.add(slog.LevelWarn, "member refused", slog.String("node", n.Name), slog.String("addr", n.Address()), slog.Any("err", err))
	}
}

// place is where memberlist sends to for n.
func place(n *memberlist.Node) (netip.AddrPort, bool) {
	ip, ok := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(ip.Unmap(), n.Port), ok
}

// protocol is the version of memberlist's own protocol that all members speak.
const protocol = memberlist.ProtocolVersion2Compatible

// understood reports whether n gossips as all do. One that does not would be passed on,
// and memberlist merges nothing with whoever lists one: nobody could join any more.
func understood(n *memberlist.Node) bool {
	return n.PMin <= protocol && protocol <= n.PMax && n.PCur == protocol && n.DMin == 0 && n.DCur == 0
}

func validPlace(n *memberlist.Node) bool {
	at, ok := place(n)
	return ok && at.Port() != 0 && !at.Addr().IsUnspecified() && !at.Addr().IsMulticast()
}
