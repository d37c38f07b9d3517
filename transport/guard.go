package transport

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// Guard has both ends of every connection to a port prove that they belong to
// the cluster, before anything else is said or read: by certificates, by a
// shared secret, or by both. Who cannot prove it learns nothing but that
// something listens, and costs no more than the connection.
//
// With TLS the two ends shake hands under TLS 1.3, each with a certificate of
// the other's trust. With secrets the dialing end then sends
//
//	SecretMagic, nonce D (32)           ->
//	                                    <- nonce A (32)
//	HMAC("dial", cluster, D, A, T) (32) ->
//	                                    <- HMAC("accept", cluster, D, A, T) (32)
//
// where T is a value exported from the TLS session, empty without one, so that
// nobody can stand between. The dialing end proves itself under its first
// secret, the accepting end takes any of its own and answers under the same.
// Without secrets the accepting end sends one byte when it is content, because
// in TLS 1.3 the dialing end cannot tell otherwise.
//
// A secret authenticates the ends of a connection, it does not encrypt what
// they say: that is TLS's work.
type Guard struct {
	cluster string
	tls     *tlsGuard // nil: no TLS
	log     *slog.Logger
	turned  turned

	mu     sync.Mutex // guards below
	keys   []secretKey
	proved map[*proved]struct{} // the connections that stand on a secret
}

// GuardConfig configures a Guard. Without TLS and Secrets it lets everyone in.
type GuardConfig struct {
	Cluster string
	TLS     *TLS
	Secrets [][]byte     // the first proves, each is taken
	Logger  *slog.Logger // nil: nothing is logged
}

// SecretMagic is what a connection starts with under a secret, GossipMagic or
// HTTP/2's preface being the first bytes after the proofs.
const SecretMagic = "SMs1"

const (
	nonceSize  = 32
	proofSize  = sha256.Size
	exportName = "EXPORTER-slotmesh"
	content    = 'k' // the accepting end's word that it has seen a good certificate
)

type secretKey [32]byte

// NewGuard returns a guard; TLS is looked at as connections come.
func NewGuard(cfg GuardConfig) (*Guard, error) {
	g := &Guard{cluster: cfg.Cluster, log: cfg.Logger, proved: map[*proved]struct{}{}}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if cfg.TLS != nil {
		g.tls = &tlsGuard{*cfg.TLS}
	}
	keys, err := deriveKeys(cfg.Secrets)
	g.keys = keys
	return g, err
}

func deriveKeys(secrets [][]byte) (keys []secretKey, err error) {
	for _, s := range secrets {
		k, err := hkdf.Key(sha256.New, s, nil, "slotmesh stream", len(secretKey{}))
		if err != nil {
			return nil, err
		}
		keys = append(keys, secretKey(k))
	}
	return keys, nil
}

// SetSecrets changes the secrets: none instead of some or some instead of none
// is ErrUntrusted, since peers would not follow. Connections that stand on a
// secret that is no longer among them stay until CloseFallen.
func (g *Guard) SetSecrets(secrets [][]byte) error {
	keys, err := deriveKeys(secrets)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if (len(keys) == 0) != (len(g.keys) == 0) {
		return fmt.Errorf("%w: secrets can be exchanged, not begun or given up", ErrUntrusted)
	}
	g.keys = keys
	return nil
}

// CloseFallen closes one connection that stands on a secret which counts no
// more, and reports whether there was one. Closed all at once they would leave
// this node without a peer for a moment.
func (g *Guard) CloseFallen() bool {
	var fallen *proved
	g.mu.Lock()
	for c := range g.proved {
		if !contains(g.keys, c.key) {
			fallen = c
			break
		}
	}
	g.mu.Unlock()
	if fallen == nil {
		return false
	}
	_ = fallen.Close() // whoever works with it notices
	return true
}

func contains(keys []secretKey, key secretKey) bool {
	for i := range keys {
		if keys[i] == key {
			return true
		}
	}
	return false
}

func (g *Guard) secrets() []secretKey {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.keys
}

// proves reports whether this end proves anything to others.
func (g *Guard) proves() bool { return g != nil && (g.tls != nil || len(g.secrets()) > 0) }

// Dial returns dial followed by the proofs. Errors of those are ErrUntrusted, but not where
// ctx ended before the other end could refuse.
func (g *Guard) Dial(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	if g == nil {
		return dial
	}
	return func(ctx context.Context, addr string) (net.Conn, error) {
		raw, err := dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
		c, err := g.client(raw)
		if !stop() && err == nil {
			_ = c.Close() // raw is closed, and c would count as proved for ever
			err = ctx.Err()
		}
		if err != nil {
			_ = raw.Close()
			untrusted, late := errors.Is(err, ErrUntrusted), ctx.Err()
			switch {
			case late != nil && untrusted:
				err = fmt.Errorf("%w: %w", err, late)
			case late != nil: // nobody has refused anything
				err = late
			case !untrusted:
				err = fmt.Errorf("%w: %w", ErrUntrusted, err)
			}
			return nil, fmt.Errorf("%s: %w", addr, err)
		}
		return c, nil
	}
}

// client proves this end of a dialed connection and has the other prove itself.
func (g *Guard) client(raw net.Conn) (net.Conn, error) {
	c, binding := raw, []byte(nil)
	if g.tls != nil {
		var err error
		if c, binding, err = g.tls.client(raw); err != nil {
			return nil, err
		}
	}
	keys := g.secrets()
	if len(keys) == 0 {
		if g.tls == nil {
			return c, nil
		}
		var word [1]byte
		if _, err := io.ReadFull(c, word[:]); err != nil {
			return nil, fmt.Errorf("%w: the other end does not take this node's certificate, or waits for a secret: %w", ErrUntrusted, err)
		}
		return c, nil
	}
	var hello [len(SecretMagic) + nonceSize]byte
	copy(hello[:], SecretMagic)
	_, _ = rand.Read(hello[len(SecretMagic):]) // never fails
	x := exchange{cluster: g.cluster, binding: binding}
	copy(x.dialer[:], hello[len(SecretMagic):])
	if _, err := c.Write(hello[:]); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c, x.acceptor[:]); err != nil {
		return nil, fmt.Errorf("the other end asks for no secret, or wants a certificate: %w", err)
	}
	proof := x.proof("dial", &keys[0])
	if _, err := c.Write(proof[:]); err != nil {
		return nil, err
	}
	var theirs [proofSize]byte
	if _, err := io.ReadFull(c, theirs[:]); err != nil {
		return nil, fmt.Errorf("the other end knows another secret or is of another cluster: %w", err)
	}
	if want := x.proof("accept", &keys[0]); !hmac.Equal(theirs[:], want[:]) {
		return nil, errors.New("the other end does not know the secret")
	}
	return g.stand(c, keys[0])
}

// Server does the same for an accepted connection. It waits for the network,
// until somebody closes raw.
func (g *Guard) Server(raw net.Conn) (net.Conn, error) {
	if g == nil {
		return raw, nil
	}
	c, binding := raw, []byte(nil)
	if g.tls != nil {
		var err error
		if c, binding, err = g.tls.server(raw); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
		}
	}
	keys := g.secrets()
	if len(keys) == 0 {
		if g.tls == nil {
			return c, nil
		}
		_, err := c.Write([]byte{content})
		return c, err
	}
	var hello [len(SecretMagic) + nonceSize]byte
	if _, err := io.ReadFull(c, hello[:len(SecretMagic)]); err != nil {
		return nil, err
	}
	if string(hello[:len(SecretMagic)]) != SecretMagic {
		return nil, fmt.Errorf("%w: it knows of no secret", ErrUntrusted)
	}
	if _, err := io.ReadFull(c, hello[len(SecretMagic):]); err != nil {
		return nil, err
	}
	x := exchange{cluster: g.cluster, binding: binding}
	copy(x.dialer[:], hello[len(SecretMagic):])
	_, _ = rand.Read(x.acceptor[:]) // never fails
	if _, err := c.Write(x.acceptor[:]); err != nil {
		return nil, err
	}
	var theirs [proofSize]byte
	if _, err := io.ReadFull(c, theirs[:]); err != nil {
		return nil, err
	}
	for i := range keys {
		if want := x.proof("dial", &keys[i]); hmac.Equal(theirs[:], want[:]) {
			proof := x.proof("accept", &keys[i])
			if _, err := c.Write(proof[:]); err != nil {
				return nil, err
			}
			return g.stand(c, keys[i])
		}
	}
	return nil, fmt.Errorf("%w: it knows another secret or is of another cluster", ErrUntrusted)
}

// logEvery is how often refusals are logged at most.
const logEvery = 10 * time.Second

// turned counts who was refused since that was logged.
type turned struct {
	mu    sync.Mutex // guards below
	at    time.Time
	count int
}

// log writes a line about the last of them, unless the one before is too young.
func (t *turned) log(to *slog.Logger, line string, args ...any) {
	now := time.Now()
	t.mu.Lock()
	t.count++
	count := t.count
	due := t.at.IsZero() || now.Sub(t.at) >= logEvery
	if due {
		t.at, t.count = now, 0
	}
	t.mu.Unlock()
	if due {
		to.Warn(line, append(args, "count", count)...)
	}
}

// refused logs a stranger, or counts it for the next line.
func (g *Guard) refused(from net.Addr, err error) {
	if g != nil {
		g.turned.log(g.log, "strangers refused", "addr", from, "err", err)
	}
}

// exchange is what both ends prove that they know a secret for.
type exchange struct {
	cluster          string
	dialer, acceptor [nonceSize]byte
	binding          []byte
}

func (x *exchange) proof(role string, key *secretKey) (sum [proofSize]byte) {
	h := hmac.New(sha256.New, key[:])
	for _, part := range [][]byte{[]byte(role), []byte(x.cluster), x.dialer[:], x.acceptor[:], x.binding} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		_, _ = h.Write(n[:]) // a hash returns no error
		_, _ = h.Write(part)
	}
	return [proofSize]byte(h.Sum(nil))
}

// stand remembers what secret c stands on, unless that is taken back already.
func (g *Guard) stand(c net.Conn, key secretKey) (net.Conn, error) {
	p := &proved{Conn: c, g: g, key: key}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !contains(g.keys, key) {
		return nil, fmt.Errorf("%w: the secret was exchanged meanwhile", ErrUntrusted)
	}
	g.proved[p] = struct{}{}
	return p, nil
}

// proved is a connection that stands on a secret.
type proved struct {
	net.Conn
	g   *Guard
	key secretKey
}

func (p *proved) Close() error {
	p.g.mu.Lock()
	delete(p.g.proved, p)
	p.g.mu.Unlock()
	return p.Conn.Close()
}

// SyscallConn makes proved a syscall.Conn where what it wraps is one.
func (p *proved) SyscallConn() (syscall.RawConn, error) { return rawConn(p.Conn) }

func rawConn(c net.Conn) (syscall.RawConn, error) {
	if c, ok := c.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
