package slotmesh

import (
	"crypto/tls"

	"github.com/slotmesh/slotmesh/transport"
)

// WithTLS has the nodes talk TLS 1.3 only, on the one port, and know each other
// by certificate. It takes a *tls.Config, or a function that returns one and is
// asked for every connection, so that certificates can be exchanged without a
// restart; connections that stand are not asked again.
//
// Of the configuration these count: Certificates (or GetCertificate and
// GetClientCertificate), RootCAs and ClientCAs, of which one stands in for the
// other, CipherSuites, CurvePreferences, ServerName, Time, KeyLogWriter and the
// functions that verify. A certificate has to be signed by that authority for
// use by servers and clients; the address of a node need not be in it. So use
// an authority that signs for this cluster alone, or WithAllowedPeers, or
// ServerName, which every node's certificate then has to name.
//
// Without WithSecret gossip travels in TLS connections as well and no UDP is
// used. Open returns ErrInvalid for a certificate that its own authority would
// not take, as when it has expired.
func WithTLS[T *tls.Config | func() (*tls.Config, error)](config T) Option {
	return func(o *options) {
		switch c := any(config).(type) {
		case *tls.Config:
			o.tlsConfig = func() (*tls.Config, error) { return c, nil }
		case func() (*tls.Config, error):
			if o.tlsConfig = c; c == nil {
				o.tlsConfig = func() (*tls.Config, error) { return nil, nil } // which is refused
			}
		}
	}
}

// WithAllowedPeers lets in only nodes whose verified certificate allow returns
// nil for. It is given the names in the certificate: DNS names, IP addresses,
// URIs and the subject's common name. It is called for every connection, from
// several goroutines. It needs WithTLS. nil gives ErrInvalid.
func WithAllowedPeers(allow func(names []string) error) Option {
	return func(o *options) { o.allowPeers, o.picky = allow, true }
}

// WithSecret lets in only nodes that know one of the keys, of 16, 24 or 32
// bytes each: both ends of every connection prove it to each other, and gossip
// is sealed with AES-GCM. What calls carry is authenticated at the start of the
// connection but not encrypted; for that add WithTLS. The first key is used for
// proving and sealing, all are taken, so that keys can be exchanged: see
// Cache.RotateSecret. 1 to 16; Open gives ErrInvalid where there is none, so that a
// variable that is not set leaves no door open.
func WithSecret(keys ...[]byte) Option {
	return func(o *options) { o.cfg.Secret, o.secured = keys, true }
}

// RotateSecret replaces the keys of WithSecret while the cluster works. To
// exchange old for new without a gap, give every node (old, new), then every
// node (new, old), then every node (new). From the second step on nodes may join
// with the new key alone. Connections that were made under a key no longer given are
// closed and made anew, one a second; calls wait for that and do not fail.
//
// Errors: ErrInvalid for keys WithSecret would not take, for none, and on a
// node that was opened without; ErrClosed.
func (c *Cache) RotateSecret(keys ...[]byte) error {
	var f faults
	f.unless(len(keys) > 0, "RotateSecret: a key is needed")
	checkSecret(&f, "RotateSecret", keys)
	if err := f.joined(); err != nil {
		return err
	}
	return c.n.RotateSecret(keys)
}

func checkSecret(f *faults, from string, keys [][]byte) {
	f.unless(len(keys) <= maxSecrets, "%s: %d keys, want at most %d", from, len(keys), maxSecrets)
	for i, key := range keys {
		ok := len(key) == 16 || len(key) == 24 || len(key) == 32
		f.unless(ok, "%s: key %d has %d bytes, want 16, 24 or 32", from, i, len(key))
	}
}

const maxSecrets = 16

func (o *options) ensureTLS() {
	if o.tlsConfig != nil {
		o.cfg.TLS = &transport.TLS{Config: o.tlsConfig, Allowed: o.allowPeers}
	}
}

func (o *options) validateTLS(f *faults) {
	f.unless(!o.picky || o.allowPeers != nil, "WithAllowedPeers of a nil function")
	f.unless(!o.picky || o.tlsConfig != nil, "WithAllowedPeers needs WithTLS")
	if o.cfg.TLS != nil {
		err := o.cfg.TLS.Check()
		f.unless(err == nil, "WithTLS: %v", err)
	}
}
