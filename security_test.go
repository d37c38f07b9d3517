package slotmesh_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/internal/testca"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

var oldKey, newKey = []byte("0123456789abcdef"), []byte("fedcba9876543210fedcba9876543210")

// TestStrangersCannotOpen has nodes that do not belong there try to join.
func TestStrangersCannotOpen(t *testing.T) {
	parallel(t)
	ca := testca.New(t)
	guarded := open(t, slotmesh.WithTLS(ca.Config("member")), slotmesh.WithSecret(oldKey),
		slotmesh.WithAllowedPeers(func(names []string) error {
			if strings.HasPrefix(names[0], "member") {
				return nil
			}
			return fmt.Errorf("%q", names)
		}))
	var wg sync.WaitGroup
	for name, opts := range map[string][]slotmesh.Option{
		"nothing":         nil,
		"wrong secret":    {slotmesh.WithTLS(ca.Config("member2")), slotmesh.WithSecret(newKey)},
		"other authority": {slotmesh.WithTLS(testca.New(t).Config("member2")), slotmesh.WithSecret(oldKey)},
		"other name":      {slotmesh.WithTLS(ca.Config("stranger")), slotmesh.WithSecret(oldKey)},
		"secret alone":    {slotmesh.WithSecret(oldKey)},
		"TLS alone":       {slotmesh.WithTLS(ca.Config("member2"))},
		"other cluster":   {slotmesh.WithTLS(ca.Config("member2")), slotmesh.WithSecret(oldKey), slotmesh.WithCluster("other")},
	} {
		wg.Go(func() {
			want := slotmesh.ErrUntrusted
			if len(opts) == 0 {
				want = context.DeadlineExceeded // it hears nothing
			}
			wantRefused(t, name, want, append(opts, slotmesh.WithSeeds(guarded.Cluster().Self().Addr))...)
		})
	}
	wg.Wait()
	if nodes := guarded.Cluster().Nodes(); len(nodes) != 1 {
		t.Errorf("a stranger became a member: %v", nodes)
	}
}

// wantRefused opens a node that has no leave to, and returns the error. On a busy machine
// its time may be up before it was answered: then it has more.
func wantRefused(t *testing.T, who string, want error, opts ...slotmesh.Option) (err error) {
	t.Helper()
	for patience := time.Second; patience < time.Minute; patience *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		var c *slotmesh.Cache
		c, err = slotmesh.Open(ctx, append(opts, slotmesh.WithAddr("127.0.0.1:0"))...)
		cancel()
		if err == nil {
			_ = c.Close()
			break
		}
		if errors.Is(err, want) {
			return err
		}
	}
	t.Errorf("Open of a node with %s = %v, want %v", who, err, want)
	return err
}

// TestSecretRotatesUnderTraffic exchanges the secret of two nodes in three
// steps while they write and read; not one call may fail. The connections that
// stand on the old secret are closed meanwhile.
func TestSecretRotatesUnderTraffic(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2, slotmesh.WithSecret(oldKey), slotmesh.WithCluster("rotating"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var calls [2]atomic.Int64
	for i, c := range caches {
		wg.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-pace.C:
				}
				key, value := fmt.Sprintf("key %d of %d", n%500, i), fmt.Sprint(n)
				if err := c.Set(t.Context(), key, []byte(value)); err != nil {
					t.Errorf("Set = %v", err)
					return
				}
				if got, err := c.Get(t.Context(), key); err != nil || string(got) != value {
					t.Errorf("Get = %q, %v, want %q", got, err, value)
					return
				}
				calls[i].Add(1)
			}
		})
	}
	progress := func() {
		t.Helper()
		before := [2]int64{calls[0].Load(), calls[1].Load()}
		await(t, "calls go on", func() error {
			for i := range calls {
				if n := calls[i].Load() - before[i]; n < 50 {
					return fmt.Errorf("node %d made %d calls", i, n)
				}
			}
			return nil
		})
	}
	for _, keys := range [][][]byte{{oldKey, newKey}, {newKey, oldKey}, {newKey}} {
		progress()
		for _, c := range caches {
			if err := c.RotateSecret(keys...); err != nil {
				t.Fatal(err)
			}
		}
	}
	progress()
	close(stop)
	wg.Wait()
	for _, keys := range [][][]byte{nil, {[]byte("short")}} {
		if err := caches[0].RotateSecret(keys...); !errors.Is(err, slotmesh.ErrInvalid) {
			t.Errorf("RotateSecret(%q) = %v, want ErrInvalid", keys, err)
		}
	}
	wantRefused(t, "the old secret", slotmesh.ErrUntrusted, slotmesh.WithSecret(oldKey), slotmesh.WithCluster("rotating"),
		slotmesh.WithSeeds(caches[0].Cluster().Self().Addr))
}

func TestRotateSecretNeedsASecret(t *testing.T) {
	if err := open(t).RotateSecret(newKey); !errors.Is(err, slotmesh.ErrInvalid) {
		t.Errorf("RotateSecret = %v, want ErrInvalid", err)
	}
}

// TestOpenPortIsWarnedOf opens nodes on all addresses.
func TestOpenPortIsWarnedOf(t *testing.T) {
	ca := testca.New(t)
	for _, tt := range []struct {
		name string
		opts []slotmesh.Option
		want int
	}{
		{"open to all", nil, 1},
		{"loopback", []slotmesh.Option{slotmesh.WithAdvertiseAddr("127.0.0.1:7")}, 0},
		{"secret", []slotmesh.Option{slotmesh.WithSecret(oldKey)}, 0},
		{"TLS", []slotmesh.Option{slotmesh.WithTLS(ca.Config("n"))}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b lockedBuffer
			opts := append([]slotmesh.Option{slotmesh.WithAdvertiseAddr("192.0.2.1:7"), slotmesh.WithLogger(slog.New(slog.NewTextHandler(&b, nil)))}, tt.opts...)
			open(t, opts...).Close()
			if n := strings.Count(b.String(), "anybody who reaches"); n != tt.want {
				t.Errorf("%d warnings, want %d:\n%s", n, tt.want, b.String())
			}
		})
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestTLSFilesAreReadAnew exchanges the files under a function that has read
// them, in pieces.
func TestTLSFilesAreReadAnew(t *testing.T) {
	dir := t.TempDir()
	files := pemFiles(dir)
	if _, err := files(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without files: %v, want ErrNotExist", err)
	}
	cert, key, _ := testca.New(t).Write(dir, "old")
	name := func() string {
		t.Helper()
		c, err := files()
		if err != nil {
			t.Fatal(err)
		}
		return c.Certificates[0].Leaf.Subject.CommonName
	}
	if got := name(); got != "old" {
		t.Errorf("got the certificate of %q", got)
	}
	stamp := func(path string, n int) {
		t.Helper()
		at := time.Now().Add(time.Duration(n) * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	oldKeyPEM, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	testca.New(t).Write(dir, "new")
	newKeyPEM, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, oldKeyPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	stamp(cert, 1)
	if got := name(); got != "old" {
		t.Errorf("with the key missing, got the certificate of %q, want the old one", got)
	}
	if err := os.WriteFile(key, newKeyPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	stamp(key, 2)
	if got := name(); got != "new" {
		t.Errorf("got the certificate of %q, want the new one", got)
	}
}

func TestSecurityOptionsAreChecked(t *testing.T) {
	ca := testca.New(t)
	bad := ca.Config("n")
	bad.RootCAs, bad.ClientCAs = nil, nil
	for name, opts := range map[string][]slotmesh.Option{
		"no authority":         {slotmesh.WithTLS(bad)},
		"nil":                  {slotmesh.WithTLS((*tls.Config)(nil))},
		"failing function":     {slotmesh.WithTLS(func() (*tls.Config, error) { return nil, errors.New("no") })},
		"allowed without TLS":  {slotmesh.WithAllowedPeers(func([]string) error { return nil })},
		"allowed by nobody":    {slotmesh.WithTLS(ca.Config("n")), slotmesh.WithAllowedPeers(nil)},
		"secret of five bytes": {slotmesh.WithSecret([]byte("short"))},
		"17 secrets":           {slotmesh.WithSecret(slicesOf(oldKey, 17)...)},
	} {
		_, err := slotmesh.Open(t.Context(), append(opts, slotmesh.WithAddr("127.0.0.1:0"))...)
		if !errors.Is(err, slotmesh.ErrInvalid) {
			t.Errorf("%s: Open = %v, want ErrInvalid", name, err)
		}
	}
}

func slicesOf(b []byte, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = b
	}
	return all
}

// TestFloodOfGossipChangesNothing sends packets of all kinds of garbage, and
// gossip of another secret, to the port of one of two nodes.
func TestFloodOfGossipChangesNothing(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2, slotmesh.WithSecret(oldKey), slotmesh.WithCluster("flooded"))
	before := fmt.Sprint(caches[0].Cluster().Nodes())
	c, err := net.Dial("udp", caches[0].Cluster().Self().Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	label := append([]byte{244, byte(len("flooded"))}, "flooded"...)
	for i := range 20_000 {
		b := make([]byte, rng.IntN(1400))
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		if i%2 == 0 {
			b = append(bytes.Clone(label), b...)
		}
		_, _ = c.Write(b)
		if i%1000 == 0 {
			set(t, caches[i/1000%2], fmt.Sprint("key", i), "v")
		}
	}
	for i, c := range caches {
		if nodes := c.Cluster().Nodes(); len(nodes) != 2 {
			t.Errorf("node %d sees %v, before the flood %v", i, nodes, before)
		}
		wantValue(t, c, "key1000", "v")
	}
}
