package node

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// RotateSecret exchanges the secrets that this node proves itself by. Gossip
// first takes what the connections that follow stand on.
func (n *Node) RotateSecret(keys [][]byte) error {
	if n.closing.Load() {
		return n.closedErr()
	}
	if len(n.cfg.Secret) == 0 {
		return fmt.Errorf("%w: the node was opened without a secret", ErrInvalid)
	}
	n.secretMu.Lock()
	defer n.secretMu.Unlock()
	if err := n.gossip.SetSecrets(keys); err != nil {
		return fmt.Errorf("rotate secret: %w", err)
	}
	if err := n.guard.SetSecrets(keys); err != nil {
		return fmt.Errorf("rotate secret: %w", err)
	}
	n.log.Info("secret rotated", "count", len(keys))
	n.background(n.closeFallen)
	return nil
}

// fallenPause lets a peer whose connection was closed be back before the next
// one's is: writes wait for both.
const fallenPause = time.Second

// closeFallen has the peers that were let in under a secret of the past prove
// themselves anew, one by one.
func (n *Node) closeFallen() {
	for n.guard.CloseFallen() {
		select {
		case <-time.After(fallenPause):
		case <-n.stop:
			return
		}
	}
}

// warnOpen tells once that anybody who reaches the port may join.
func (n *Node) warnOpen() {
	if n.cfg.TLS != nil || len(n.cfg.Secret) > 0 {
		return
	}
	host, _, _ := net.SplitHostPort(n.addr)
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return
	}
	n.log.Warn("anybody who reaches this node's port can read and change the cache: set WithTLS or WithSecret", "addr", n.addr)
}
