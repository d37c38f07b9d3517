package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// TLS says how the ends of a connection know each other by certificate.
type TLS struct {
	// Config is asked anew for every connection. Certificates, RootCAs and
	// ClientCAs count, or the functions for the former, and ServerName,
	// CipherSuites, CurvePreferences, VerifyPeerCertificate, VerifyConnection,
	// KeyLogWriter, Rand and Time. One pool stands in for the other where only
	// one is given. What it returns is not changed.
	Config func() (*tls.Config, error)
	// Allowed, if not nil, is given the names in a verified certificate of the
	// other end, and lets it in by returning nil: the DNS names, IP addresses,
	// URIs and the subject's common name, each once.
	Allowed func(names []string) error
}

// alpn keeps a certificate's other uses and this one apart.
const alpn = "slotmesh"

type tlsGuard struct{ TLS }

// config returns the configuration of the day, made strict.
func (t *tlsGuard) config() (*tls.Config, error) {
	given, err := t.Config()
	if err != nil {
		return nil, fmt.Errorf("TLS configuration: %w", err)
	}
	if given == nil {
		return nil, errors.New("TLS configuration is nil")
	}
	c := given.Clone()
	if c.RootCAs == nil {
		c.RootCAs = c.ClientCAs
	}
	if c.ClientCAs == nil {
		c.ClientCAs = c.RootCAs
	}
	if c.RootCAs == nil {
		// The system's authorities vouch for everybody on the internet.
		return nil, errors.New("TLS needs RootCAs or ClientCAs: the authority that signs the nodes' certificates")
	}
	if len(c.Certificates) == 0 && (c.GetCertificate == nil || c.GetClientCertificate == nil) {
		return nil, errors.New("TLS needs Certificates, or both GetCertificate and GetClientCertificate")
	}
	if c.MaxVersion != 0 && c.MaxVersion < tls.VersionTLS13 {
		return nil, errors.New("TLS 1.3 is needed")
	}
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{alpn}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.GetConfigForClient = nil
	c.SessionTicketsDisabled = true
	c.ClientSessionCache = nil
	c.EncryptedClientHelloConfigList = nil
	c.EncryptedClientHelloKeys = nil
	return c, nil
}

// Check finds out, before there is a peer, whether the configuration can work
// and this node's own certificate would be taken by a node configured alike.
func (t *TLS) Check() error {
	c, err := (&tlsGuard{*t}).config()
	if err != nil {
		return err
	}
	if len(c.Certificates) == 0 {
		return nil // they come by functions that want to know for whom
	}
	cert := &c.Certificates[0]
	leaf, between, err := parseChain(cert.Certificate)
	if err != nil {
		return fmt.Errorf("this node's certificate: %w", err)
	}
	for _, use := range []struct {
		roots *x509.CertPool
		usage x509.ExtKeyUsage
		what  string
	}{{c.RootCAs, x509.ExtKeyUsageServerAuth, "server"}, {c.ClientCAs, x509.ExtKeyUsageClientAuth, "client"}} {
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: use.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use.usage}, CurrentTime: timeOf(c),
		})
		if err != nil {
			return fmt.Errorf("this node's certificate would not be taken as a %s's: %w", use.what, err)
		}
	}
	return nil
}

func parseChain(raw [][]byte) (*x509.Certificate, *x509.CertPool, error) {
	if len(raw) == 0 {
		return nil, nil, errors.New("it is empty")
	}
	leaf, err := x509.ParseCertificate(raw[0])
	if err != nil {
		return nil, nil, err
	}
	between := x509.NewCertPool()
	for _, b := range raw[1:] {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, nil, err
		}
		between.AddCert(c)
	}
	return leaf, between, nil
}

func timeOf(c *tls.Config) time.Time {
	if c.Time != nil {
		return c.Time()
	}
	return time.Now()
}

func (t *tlsGuard) client(raw net.Conn) (net.Conn, []byte, error) {
	c, err := t.config()
	if err != nil {
		return nil, nil, err
	}
	// Peers are found by address, which their certificates need not name: what
	// counts is who signed them, the name where one is given, and Allowed.
	c.InsecureSkipVerify = true
	roots, name, now, also := c.RootCAs, c.ServerName, timeOf(c), c.VerifyPeerCertificate
	c.VerifyPeerCertificate = nil // it would get no verified chains
	t.judging(c, func(s *tls.ConnectionState) error {
		opts := x509.VerifyOptions{
			Roots: roots, Intermediates: x509.NewCertPool(), DNSName: name, CurrentTime: now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		for _, between := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(between)
		}
		chains, err := s.PeerCertificates[0].Verify(opts)
		if err != nil || also == nil {
			return err
		}
		var sent [][]byte
		for _, c := range s.PeerCertificates {
			sent = append(sent, c.Raw)
		}
		return also(sent, chains)
	})
	return shake(tls.Client(raw, c), raw)
}

func (t *tlsGuard) server(raw net.Conn) (net.Conn, []byte, error) {
	c, err := t.config()
	if err != nil {
		return nil, nil, err
	}
	t.judging(c, func(*tls.ConnectionState) error { return nil }) // crypto/tls has verified it
	return shake(tls.Server(raw, c), raw)
}

// judging adds verify, and Allowed, in front of c's own VerifyConnection.
func (t *tlsGuard) judging(c *tls.Config, verify func(*tls.ConnectionState) error) {
	given := c.VerifyConnection
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("no certificate")
		}
		if s.NegotiatedProtocol != alpn {
			return errors.New("the other end is no slotmesh node")
		}
		if err := verify(&s); err != nil {
			return err
		}
		if t.Allowed != nil {
			if err := t.Allowed(certNames(s.PeerCertificates[0])); err != nil {
				return fmt.Errorf("the certificate's names are not allowed: %w", err)
			}
		}
		if given != nil {
			return given(s)
		}
		return nil
	}
}

// certNames lists what a certificate says its owner is called.
func certNames(c *x509.Certificate) (names []string) {
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	if cn := c.Subject.CommonName; cn != "" && !slices.Contains(names, cn) {
		names = append(names, cn)
	}
	return names
}

// shake shakes hands and returns what is bound to this very session.
func shake(c *tls.Conn, raw net.Conn) (net.Conn, []byte, error) {
	if err := c.Handshake(); err != nil {
		return nil, nil, err
	}
	s := c.ConnectionState()
	binding, err := s.ExportKeyingMaterial(exportName, nil, 32)
	if err != nil {
		return nil, nil, err
	}
	return &sealed{Conn: c, raw: raw}, binding, nil
}

// sealed is a TLS connection whose Close does not wait for the peer to read a
// goodbye: its end is the kernel's, as without TLS.
type sealed struct {
	*tls.Conn
	raw net.Conn
}

func (s *sealed) Close() error { return s.raw.Close() }
