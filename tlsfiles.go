package slotmesh

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSFiles returns a function for WithTLS that reads a certificate chain, its
// key and the authority's certificates, all PEM, and reads them anew once one of
// the files has changed. While a change is incomplete, as when the key does not
// fit the certificate yet, what was read before stays in use.
func TLSFiles(certFile, keyFile, authorityFile string) func() (*tls.Config, error) {
	f := &tlsFiles{paths: [3]string{certFile, keyFile, authorityFile}}
	return f.config
}

type tlsFiles struct {
	paths [3]string

	mu   sync.Mutex // guards the rest, and is held while files are read
	seen [3]time.Time
	good *tls.Config
}

func (f *tlsFiles) config() (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var now [3]time.Time
	for i, path := range f.paths {
		info, err := os.Stat(path)
		if err != nil {
			return f.keep(err)
		}
		now[i] = info.ModTime()
	}
	if f.good != nil && now == f.seen {
		return f.good, nil
	}
	c, err := f.read()
	if err != nil {
		return f.keep(err)
	}
	f.good, f.seen = c, now
	return c, nil
}

// keep returns what was good last, or err where nothing ever was.
func (f *tlsFiles) keep(err error) (*tls.Config, error) {
	if f.good != nil {
		return f.good, nil
	}
	return nil, err
}

func (f *tlsFiles) read() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.paths[0], f.paths[1])
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(f.paths[2])
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", f.paths[2])
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool}, nil
}
