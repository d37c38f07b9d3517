package resp_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slotmesh/slotmesh/resp"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func TestPipelinesKeepTheirOrder(t *testing.T) {
	f := serve(t, 3)
	c := f.to(t, "{p}")
	var out, want strings.Builder
	for i := range 500 {
		fmt.Fprintf(&out, "%s%s%s%s", pack("set", "{p}a", fmt.Sprint(i)), pack("incr", "{p}a"), pack("get", "{p}a"), pack("append", "{p}b", "x"))
		fmt.Fprintf(&want, "OK %d \"%d\" %d\n", i+1, i+1, i+1)
	}
	go io.WriteString(c, out.String())
	var got strings.Builder
	for range 500 {
		fmt.Fprintf(&got, "%s %s %s %s\n", c.read(), c.read(), c.read(), c.read())
	}
	if got.String() != want.String() {
		t.Errorf("answers are not in order")
	}
}

// What of a pipeline is called together answers as it does alone, faults too.
func TestPipelinesAnswerAsCommandsAlone(t *testing.T) {
	commands := []string{
		"set {p}a 1 ex 100", "incrby {p}a 5", "get {p}a", "set {p}a x nx", "set {p}b y nx px 100000", "set {p}c z xx",
		"setex {p}d 100 v", "psetex {p}e 100000 v", "expire {p}a 1000", "pexpire {p}none 1000", "del {p}b", "unlink {p}b", "setnx {p}b 1", "setnx {p}b 2",
		"set {p}a 2 keepttl", "get {p}a", "expiretime {p}d", "setex {p}d 0 v", "psetex {p}d x v", "set {p}a 3 ex -1", "set {p}a 3 ex",
		"set {p}a 4 get", "incrby {p}a x", "expire {p}a 0", "get {p}a", "set {p}a", "set {p}a 1 exat 1", "get {p}a", "del {p}b {p}c {p}d {p}e",
	}
	for _, forward := range []bool{false, true} {
		var opts []resp.Option
		if forward {
			opts = append(opts, resp.WithForwarding())
		}
		f := serve(t, 3, opts...)
		c := f.to(t, "{p}")
		var alone []string
		for _, command := range commands {
			alone = append(alone, c.line(command))
		}
		for _, command := range commands {
			fmt.Fprint(c, pack(strings.Fields(command)...))
		}
		for i, command := range commands {
			if got := c.read(); got != alone[i] && !strings.HasPrefix(command, "expiretime") {
				t.Errorf("forwarding %v: %s = %s in a pipeline, %s alone", forward, command, got, alone[i])
			}
		}
	}
}

// A client that sends and never reads keeps its own connection waiting, and
// that is all.
func TestClientThatNeverReadsIsNotReadFrom(t *testing.T) {
	f := serve(t, 1)
	c, other := dial(t, f.addrs[0]), dial(t, f.addrs[0])
	c.do("set", "a", strings.Repeat("x", 1<<20))
	const room = 64 << 20
	var taken atomic.Int64
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for many := strings.Repeat(pack("get", "a"), 1<<14); ; {
			n, err := io.WriteString(c, many)
			if taken.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	for range 100 {
		if got := other.line("ping"); got != "PONG" {
			t.Fatalf("ping = %s", got)
		}
	}
	slotmeshtest.Await(t, "it is read from", func() error {
		if n := taken.Load(); n < room {
			return fmt.Errorf("%d bytes of commands were taken", n)
		}
		if got := other.line("client list"); !strings.Contains(got, "cmd=get") {
			return fmt.Errorf("clients: %s", got)
		}
		return nil
	})
	c.Close()
	if <-gone; taken.Load() > room+room/2 {
		t.Errorf("%d bytes of commands were taken", taken.Load())
	}
}

// Many clients send all of a pipeline before they read the first answer.
func TestPipelineSentAsAWholeIsAnswered(t *testing.T) {
	certified, pool := certificate(t)
	var pipeline, want strings.Builder
	for i := range 30000 {
		text := fmt.Sprintf("%01024d", i)
		pipeline.WriteString(pack("echo", text))
		fmt.Fprintf(&want, "$%d\r\n%s\r\n", len(text), text)
	}
	write := func(t *testing.T, c *client) {
		t.Helper()
		if _, err := io.WriteString(c, pipeline.String()); err != nil {
			t.Fatal(err)
		}
	}
	read := func(t *testing.T, c *client) {
		t.Helper()
		got := make([]byte, want.Len())
		if _, err := io.ReadFull(c.in, got); err != nil || string(got) != want.String() {
			t.Fatalf("not all answers came in order: %v", err)
		}
	}
	t.Run("by a client that then sends no more", func(t *testing.T) {
		c := dial(t, serve(t, 1).addrs[0])
		write(t, c)
		if err := c.Conn.(patient).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		read(t, c)
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Errorf("after the answers: %v", err)
		}
	})
	t.Run("over TLS", func(t *testing.T) {
		c := dial(t, serve(t, 1, resp.WithTLS(certified)).addrs[0])
		c.Conn = tls.Client(c.Conn, &tls.Config{RootCAs: pool, ServerName: "example.com"})
		c.in.Reset(c.Conn)
		for range 2 {
			write(t, c)
			read(t, c)
		}
	})
	t.Run("while a message is on its way", func(t *testing.T) {
		f := serve(t, 1)
		c := dial(t, f.addrs[0])
		_ = c.Conn.(patient).SetReadBuffer(1 << 16)
		c.line("hello 3")
		c.line("subscribe news")
		long := strings.Repeat("y", 12<<20)
		if got := dial(t, f.addrs[0]).do("publish", "news", long); got != "1" {
			t.Fatalf("publish = %s", got)
		}
		c.in.ReadByte() // it is being sent
		_ = c.in.UnreadByte()
		write(t, c)
		if got := c.read(); got != `["message" "news" "`+long+`"]` {
			t.Fatalf("message %.50s", got)
		}
		read(t, c)
		if got := c.line("unsubscribe"); got != `["unsubscribe" "news" 0]` {
			t.Errorf("unsubscribe = %s", got)
		}
	})
}

// certificate is one for example.com, and who trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	web := httptest.NewTLSServer(nil) // which has one
	defer web.Close()
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	return &tls.Config{Certificates: web.TLS.Certificates}, pool
}
