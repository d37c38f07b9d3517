package node

import (
	"context"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh/gossip"
	"github.com/slotmesh/slotmesh/shard"
)

// metaSettings is what a node saves its settings under. Part of the disk
// format.
const metaSettings = "node/settings"

// settingsSettle is how long after a change of settings, or after a member is back,
// slots begin to move.
const settingsSettle = 100 * time.Millisecond

// Settings are those in force, as far as this node has heard. nil has none.
func (n *Node) Settings() *shard.Settings { return n.settings.Load() }

// weight is this node's: the one set at run time, else that of its start.
func (n *Node) weight() int { return n.weightOf(n.selfMember()) }

func (n *Node) weightOf(m gossip.Member) int {
	if w, set := n.settings.Load().Weight(m.Name); set {
		return w
	}
	return m.Weight
}

// readSettings takes back what this node's disk remembers.
func (n *Node) readSettings() {
	_ = n.engine.Meta(metaSettings, func(_ string, v []byte) bool {
		s, err := shard.DecodeSettings(v)
		if err != nil {
			n.log.Error("saved settings are damaged", "err", err)
			return false
		}
		n.settings.Store(s)
		n.publishedSettings = s
		return false
	})
}

// Change makes new settings of the present ones, saves them and tells the
// others. It returns once every peer in reach has been sent them.
func (n *Node) Change(edit func(old *shard.Settings) (*shard.Settings, error)) error {
	if n.closing.Load() {
		return n.closedErr()
	}
	n.settingsMu.Lock()
	s, err := edit(n.settings.Load())
	if err == nil {
		n.settings.Store(s)
	}
	n.settingsMu.Unlock()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	n.poke()
	if err := n.publish(); err != nil {
		return fmt.Errorf("%w: save settings: %w", ErrDisk, err)
	}
	return nil
}

// onSettings takes in those of a peer. They are saved and passed on by the
// settings loop, since a stream does not wait for a disk.
func (n *Node) onSettings(from shard.NodeID, b []byte) {
	theirs, err := shard.DecodeSettings(b)
	if err != nil {
		n.log.Warn("peer sent malformed settings", "peer", from, "err", err)
		return
	}
	n.settingsMu.Lock()
	s, changed := n.settings.Load().Merge(theirs)
	if changed {
		n.settings.Store(s)
	}
	n.settingsMu.Unlock()
	if changed {
		n.poke()
		select {
		case n.settingsWake <- struct{}{}:
		default:
		}
	}
}

// settingsLoop publishes what peers sent; it ends when n.stop closes.
func (n *Node) settingsLoop() {
	for {
		select {
		case <-n.stop:
			return
		case <-n.settingsWake:
		}
		if err := n.publish(); err != nil {
			n.log.Error("cannot save settings", "err", err)
		}
	}
}

// publish saves the settings where they have changed, then tells the peers:
// who knows them already passes nothing on.
func (n *Node) publish() error {
	select {
	case n.publishing <- struct{}{}: // one at a time; a channel, because it is held for a while
	case <-n.stop:
		return nil
	}
	defer func() { <-n.publishing }()
	s := n.settings.Load()
	if s == n.publishedSettings {
		return nil
	}
	b := s.Append(nil)
	if n.engine.Durable() {
		if err := n.save(map[string][]byte{metaSettings: b}); err != nil {
			return err
		}
	}
	n.publishedSettings = s
	n.log.Info("settings changed", "pins", len(s.Pins()), "weights", len(s.Weights()), "paused", s.Paused())
	for _, p := range n.allPeers() {
		n.tellSettings(p.id)
	}
	return nil
}

// tellSettings sends a peer what is known, if anything was ever set.
func (n *Node) tellSettings(to shard.NodeID) {
	if s := n.settings.Load(); s != nil {
		n.sendControl(to, s.Append([]byte{ctlSettings}))
	}
}

// gossipState and mergeState carry settings between nodes that have no stream
// between them.
func (n *Node) gossipState(bool) []byte {
	if s := n.settings.Load(); s != nil {
		return s.Append(nil)
	}
	return nil
}

func (n *Node) mergeState(b []byte, _ bool) { n.onSettings(shard.NodeID{}, b) }

// FindMember returns the living member of a name, visitors aside; of several
// the newest.
func (n *Node) FindMember(name string) (found Member, ok bool) {
	for _, m := range n.Members() {
		if m.Name == name && m.State != "suspect" && !m.Visitor && (!ok || found.ID.Compare(m.ID) < 0) {
			found, ok = m, true
		}
	}
	return found, ok
}

// Planned reports whether the plan that Health goes by follows the settings.
func (n *Node) Planned() bool { return n.planFor.Load() == n.settings.Load() }

// Await waits for a condition; see await.
func (n *Node) Await(ctx context.Context, ok func() bool) error { return n.await(ctx, ok) }
