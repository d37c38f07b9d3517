// Package transport moves typed messages between nodes: gRPC streams, msgpack
// payloads, one port.
//
// Between two nodes there are three long-lived bidirectional streams, each on a
// connection of its own: data, for calls and appends; control, for heartbeats and
// claims, which must not wait behind them; and bulk, for copies and for messages
// too large for the others. Of two nodes the one with the lower ID dials. A message
// on the wire is a batch of what was queued; messages of one stream arrive in order
// or the stream ends, but that those of SendFirst overtake others. The package never
// knows who owns a slot or what is stored.
//
// Senders encode into the batch being filled. Who finds nobody writing writes it,
// where that needs no waiting; a writer goroutine per stream does the rest, so that
// what was queued during one send leaves together in the next. The goroutine that
// reads a stream runs the Handler in place; answers given while it works through a
// batch leave as one batch as well. Queues are bounded: requests and appends are
// refused above the bound, a peer that does not even read its answers is
// disconnected.
//
// # Files
//
//   - message.go, errors.go: what nodes say to each other. wire.go, codec.go,
//     encode.go, decode.go, skip.go: how that is written.
//   - mux.go, guard.go, tls.go, lines.go: what shares the port, and who is let in.
//   - dial.go, serve.go, handshake.go, registry.go, session.go, conn.go: how peers
//     get connected, and how that ends.
//   - peer.go, calls.go, sweep.go, late.go: requests, answers and deadlines.
//   - outbox.go, outflow.go, writenow_*.go, unsent_*.go, corks.go: a stream's way
//     out. inflow.go, ahead.go: its way in.
//   - bulk.go, stage.go: copies and large messages.
package transport

import (
	"context"
	"errors"
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
	Listener net.Listener // the gRPC side of a Mux; closed by Close
	Dial     func(ctx context.Context, addr string) (net.Conn, error)
	Handler  Handler
	Guard    *Guard       // of the Mux that Listener belongs to; nil: everyone is let in
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
// in order, on that stream's reader goroutine, and must not block. Only Chunk may,
// and chunks of different slots come side by side. Received structs, slices and
// strings are valid until the method returns.
//
// PeerUp and PeerDown of a peer alternate: Up before the first message of its data
// and control streams, which begin and end together, Down after their last and after
// the done of every call. Only a Chunk that began before may still be running. The
// cause is that of their connections; a peer that dials anew while we believe it
// connected gives CauseClosedByUs first.
type Handler interface {
	// Ahead says which slots the appends, acknowledgements and requests that come next
	// are for, but for requests to get and as far as that can be seen at once. Nothing may
	// be done for it but to look. The slice is good until it returns; numbers in it need
	// not be slots.
	Ahead(slots []uint16)
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

func (c *Config) ensureDefaults() {
	setDefault(&c.MaxFrame, 8<<20)
	setDefault(&c.MaxMessage, 80<<20)
	setDefault(&c.QueueBytes, 16<<20)
	setDefault(&c.BackoffMin, 20*time.Millisecond)
	setDefault(&c.BackoffMax, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T int | time.Duration](field *T, v T) {
	if *field == 0 {
		*field = v
	}
}

func (c *Config) validate() error {
	var errs []error
	fault := func(bad bool, text string) {
		if bad {
			errs = append(errs, errors.New("transport: "+text))
		}
	}
	fault(c.Listener == nil, "no Listener")
	fault(c.Dial == nil, "no Dial")
	fault(c.Handler == nil, "no Handler")
	fault(c.Self.ID == NodeID{}, "Self has no ID")
	fault(len(c.Self.Cluster) > maxName, "cluster name longer than 255 bytes")
	fault(len(c.Self.Name) > maxName, "node name longer than 255 bytes")
	fault(len(c.Self.Addr) > maxName, "address longer than 255 bytes")
	fault(c.Self.MinProto > c.Self.MaxProto, "MinProto above MaxProto")
	fault(c.MaxFrame < maxOverhead, "MaxFrame below 512 KiB")
	fault(c.MaxMessage < maxOverhead, "MaxMessage below 512 KiB")
	fault(c.QueueBytes < softBatch, "QueueBytes below 64 KiB")
	fault(c.BackoffMin < 0 || c.BackoffMax < c.BackoffMin, "back-off bounds out of order")
	return errors.Join(errs...)
}

// maxReceive is the largest gRPC message accepted.
func (c *Config) maxReceive() int { return max(c.MaxFrame, c.MaxMessage) + prefixSize }
