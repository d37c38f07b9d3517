// Package testca makes certificates for tests.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is an authority.
type CA struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority.
func New(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	ca.cert, ca.key = ca.sign(tmpl, nil)
	return ca
}

// sign completes tmpl; without a key of its own yet, it is the authority's.
func (ca *CA) sign(tmpl *x509.Certificate, edit func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		ca.t.Fatal(err)
	}
	tmpl.SerialNumber = serial
	tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if edit != nil {
		edit(tmpl)
	}
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert, key
}

// Issue makes a certificate for a node called name; edit, if not nil, changes
// it before it is signed.
func (ca *CA) Issue(name string, edit func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	tmpl := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, key := ca.sign(tmpl, edit)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// Config returns a node's configuration for mutual TLS.
func (ca *CA) Config(name string) *tls.Config {
	ca.t.Helper()
	pool := ca.Pool()
	return &tls.Config{Certificates: []tls.Certificate{ca.Issue(name, nil)}, RootCAs: pool, ClientCAs: pool}
}

// Write writes a certificate for name, its key and the authority's certificate
// into dir, as cert.pem, key.pem and ca.pem.
func (ca *CA) Write(dir, name string) (cert, key, authority string) {
	ca.t.Helper()
	c := ca.Issue(name, nil)
	secret, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		ca.t.Fatal(err)
	}
	put := func(file, kind string, der []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			ca.t.Fatal(err)
		}
		return path
	}
	return put("cert.pem", "CERTIFICATE", c.Certificate[0]), put("key.pem", "PRIVATE KEY", secret), put("ca.pem", "CERTIFICATE", ca.cert.Raw)
}

// Pool holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}
