package transport

import (
	"context"
	"errors"
	"fmt"
)

var (
	// ErrNotSent means that the message certainly never left this node.
	ErrNotSent = errors.New("transport: not sent")
	// ErrLost means that the stream ended, or the deadline passed, after the
	// request may have been sent: it may or may not have been executed.
	ErrLost = errors.New("transport: answer lost")
	// ErrOverloaded means that the peer's queue is full; nothing was queued.
	ErrOverloaded = errors.New("transport: queue full")
	// ErrTooLarge means that a message exceeds what the peer accepts.
	ErrTooLarge = errors.New("transport: message too large")
	// ErrClosed means that the Transport or Mux is closed.
	ErrClosed = errors.New("transport: closed")
	// ErrRefused means that no process listens on the port.
	ErrRefused = errors.New("transport: connection refused")
	// ErrCluster means that the other end belongs to another cluster.
	ErrCluster = errors.New("transport: other cluster")
	// ErrProtocol means that the two ends share no protocol version.
	ErrProtocol = errors.New("transport: no common protocol version")
	// ErrWrongNode means that another node than expected answers there.
	ErrWrongNode = errors.New("transport: other node at this address")
	// ErrDeclined means that the other end does not take this stream now.
	ErrDeclined = errors.New("transport: declined")
	// ErrBadFrame means that a peer sent what is no valid message. Its stream ends.
	ErrBadFrame = errors.New("transport: bad frame")
	// ErrStalled means that a peer did not read its answers and acknowledgements.
	ErrStalled = errors.New("transport: peer does not read")
	// ErrUntrusted means that one end of a connection could not prove to the
	// other that it belongs to the cluster.
	ErrUntrusted = errors.New("transport: not trusted")
)

// What Peer.Call hands to done when a deadline passes: errors.Is finds both
// context.DeadlineExceeded and ErrNotSent or ErrLost.
var (
	errExpiredNotSent = fmt.Errorf("%w: %w", ErrNotSent, context.DeadlineExceeded)
	errExpiredLost    = fmt.Errorf("%w: %w", ErrLost, context.DeadlineExceeded)
)

// verdict is what an acceptor says to a stream's handshake. Values are part
// of the wire format.
type verdict uint8

const (
	verdictOK        verdict = 0
	verdictCluster   verdict = 1
	verdictProtocol  verdict = 2
	verdictWrongNode verdict = 3
	verdictDirection verdict = 4 // the higher ID dialed
	verdictBusy      verdict = 5
	verdictClosing   verdict = 6
	verdictNoSession verdict = 7 // a control or bulk stream without its data stream
	verdictFailed    verdict = 8 // a Hello whose handler gave an error
	verdictUnlisted  verdict = 9 // SetPeers does not name the peer
)

// err gives the error that v means to the side that dialed, nil for OK.
func (v verdict) err() error {
	switch v {
	case verdictOK:
		return nil
	case verdictCluster:
		return ErrCluster
	case verdictProtocol:
		return ErrProtocol
	case verdictWrongNode:
		return ErrWrongNode
	default:
		return fmt.Errorf("%w (reason %d)", ErrDeclined, v)
	}
}
