package transport

import (
	"bytes"
	"fmt"
)

// handshake is the first message of every stream, from the side that dialed.
type handshake struct {
	from    Identity
	to      NodeID // zero: whoever is there
	session uint64 // names the data, control and bulk streams that belong together
	body    []byte // Hello only
}

// welcome answers it.
type welcome struct {
	verdict verdict
	from    Identity
	text    string
	body    []byte // Hello only
}

func (e *encoder) identity(id *Identity) {
	e.uint(uint64(id.MinProto))
	e.uint(uint64(id.MaxProto))
	e.str(id.Cluster)
	e.bytes(id.ID[:])
	e.str(id.Name)
	e.str(id.Addr)
}

func (d *decoder) identity(id *Identity) {
	id.MinProto = d.u8()
	id.MaxProto = d.u8()
	id.Cluster = d.copied(maxName)
	copy(id.ID[:], d.bytes(len(id.ID)))
	id.Name = d.copied(maxName)
	id.Addr = d.copied(maxName)
}

// copied is str without the alias: it outlives the frame.
func (d *decoder) copied(limit int) string { return string(d.bytes(limit)) }

func (e *encoder) handshake(k kind, h *handshake) {
	e.begin(k)
	e.identity(&h.from)
	e.bytes(h.to[:])
	e.uint(h.session)
	e.bytes(h.body)
	e.end()
}

func (e *encoder) welcome(k kind, w *welcome) {
	e.begin(k)
	e.uint(uint64(w.verdict))
	e.identity(&w.from)
	e.str(w.text)
	e.bytes(w.body)
	e.end()
}

// decodeHandshake reads a batch of exactly one handshake of kind k.
func decodeHandshake(b []byte, k kind, body int) (h handshake, err error) {
	d, err := openFirst(b, k, body)
	if err != nil {
		return h, err
	}
	d.identity(&h.from)
	copy(h.to[:], d.bytes(len(h.to)))
	h.session = d.u64()
	h.body = bytes.Clone(d.bytes(body))
	return h, d.err
}

func decodeWelcome(b []byte, k kind, body int) (w welcome, err error) {
	d, err := openFirst(b, k, body)
	if err != nil {
		return w, err
	}
	w.verdict = verdict(d.u8())
	d.identity(&w.from)
	w.text = d.copied(MaxText)
	w.body = bytes.Clone(d.bytes(body))
	return w, d.err
}

func openFirst(b []byte, want kind, body int) (*decoder, error) {
	k, msg, rest, err := next(b)
	switch {
	case err != nil:
		return nil, err
	case k != want || len(rest) != 0:
		return nil, fmt.Errorf("%w: kind %d first on a stream", ErrBadFrame, k)
	}
	d := newDecoder(NodeID{}, body, body)
	d.open(msg)
	return d, d.err
}

// judge says what self thinks of a stranger, before it is asked who may dial.
func judge(self, other *Identity) verdict {
	switch {
	case self.Cluster != other.Cluster:
		return verdictCluster
	case self.MinProto > other.MaxProto || other.MinProto > self.MaxProto:
		return verdictProtocol
	default:
		return verdictOK
	}
}

// dials says whether a is the one of two nodes that dials.
func dials(a, b NodeID) bool { return bytes.Compare(a[:], b[:]) < 0 }
