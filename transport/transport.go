// Package transport moves typed messages between nodes: gRPC streams, msgpack
// payloads, one port.
//
// Between two nodes there is one connection with two long-lived bidirectional
// streams (data, and control for heartbeats and fences) and a second
// connection for bulk copies. Of two nodes the one with the lower ID dials.
// A message on the wire is a batch of what was queued; messages of one stream
// arrive in order or the stream ends. It never knows who owns a slot or what
// is stored.
package transport

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// Identity is what the two ends of a stream tell each other first.
type Identity struct {
	Cluster  string // must be equal on both ends
	ID       NodeID
	Name     string
	Addr     string // advertised host:port
	MinProto uint8
	MaxProto uint8
}

// Config configures a Transport. Listener, Dial, Self and Handler are needed.
type Config struct {
	Self     Identity
	Listener net.Listener // the gRPC side of a Mux
	Dial     func(ctx context.Context, addr string) (net.Conn, error)
	Handler  Handler
	Logger   *slog.Logger // nil: nothing is logged

	MaxFrame   int           // largest batch accepted, bytes; default 8 MiB (a single larger message travels alone, bounded by MaxMessage)
	MaxMessage int           // largest single message accepted, bytes; default 80 MiB
	QueueBytes int           // per peer and stream; default 16 MiB
	BackoffMin time.Duration // default 20ms
	BackoffMax time.Duration // default 1s
}

// Cause says how a connection ended.
type Cause uint8

const (
	CauseClosedByUs Cause = 1
	CauseEOF        Cause = 2 // the peer's kernel said FIN
	CauseReset      Cause = 3 // the peer's kernel said RST
	CauseOther      Cause = 4 // time-out, protocol error
)

// Handler receives what peers send. Calls for one stream come one at a time,
// in order, on that stream's reader goroutine, and must not block (but for
// Chunk). Received slices and strings are valid until the method returns.
type Handler interface {
	Request(p *Peer, r *Request)
	Append(p *Peer, a *Append)
	AppendAck(p *Peer, a *AppendAck)
	Claims(p *Peer, claims []byte) // opaque, pushed in batches on the data stream
	Control(p *Peer, body []byte)  // opaque, on the control stream
	Chunk(p *Peer, c *Chunk)
	PeerUp(p *Peer)
	PeerDown(p *Peer, cause Cause)
	// Hello answers a question asked by HelloTo; it may come from strangers.
	Hello(from Identity, body []byte) ([]byte, error)
}
