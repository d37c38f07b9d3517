package resp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/resp"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// fleet is nodes that serve RESP.
type fleet struct {
	caches []*slotmesh.Cache
	addrs  []string
	ends   []func() // of serving, by node
}

// stop has a node serve nobody any more, and closes it.
func (f *fleet) stop(c *slotmesh.Cache) {
	f.ends[slices.Index(f.caches, c)]()
	c.Close()
}

// serve opens n nodes with a RESP port each.
func serve(t *testing.T, n int, opts ...resp.Option) *fleet {
	t.Helper()
	f := &fleet{caches: slotmeshtest.Start(t, n)}
	for _, c := range f.caches {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f.addrs = append(f.addrs, listener.Addr().String())
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- resp.Serve(ctx, c, listener, opts...) }()
		end := sync.OnceFunc(func() {
			defer cancel()
			var want error
			select {
			case <-c.Done():
				want = slotmesh.ErrClosed
			default:
				cancel()
			}
			if err := <-served; !errors.Is(err, want) {
				t.Errorf("Serve = %v, want %v", err, want)
			}
		})
		f.ends = append(f.ends, end)
		t.Cleanup(end)
	}
	slotmeshtest.Await(t, "all addresses are known", func() error {
		for _, c := range f.caches {
			for _, node := range c.Cluster().Nodes() {
				if node.Attributes[resp.Attribute] == "" {
					return fmt.Errorf("%s does not know that of %s", c.Cluster().Self().Name, node.Name)
				}
			}
		}
		return nil
	})
	return f
}

// transactions counts the calls that transactions made on the first node.
func (f *fleet) transactions() (n uint64) {
	for _, s := range f.caches[0].Stats().Calls {
		if s.Op == "txn" {
			n += s.Count
		}
	}
	return n
}

// client is a connection that shows answers as text: simple strings and
// numbers as they are, bulk strings quoted, arrays in brackets.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	p := patient{nc.(*net.TCPConn)}
	return &client{t, p, bufio.NewReader(p)}
}

// patient is a connection that waits a minute whenever it waits.
type patient struct{ *net.TCPConn }

func (p patient) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(time.Minute))
	return p.TCPConn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	_ = p.SetWriteDeadline(time.Now().Add(time.Minute))
	return p.TCPConn.Write(b)
}

func pack(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

// do sends a command and returns the answer.
func (c *client) do(args ...string) string {
	c.t.Helper()
	if _, err := io.WriteString(c, pack(args...)); err != nil {
		c.t.Fatalf("%q: %v", args, err)
	}
	return c.read()
}

// line is do of words separated by spaces.
func (c *client) line(line string) string {
	c.t.Helper()
	return c.do(strings.Fields(line)...)
}

func (c *client) read() string {
	c.t.Helper()
	text, err := readReply(c.in)
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return text
}

func readReply(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	kind, rest := line[0], line[1:]
	n, _ := strconv.Atoi(rest)
	switch kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "error " + rest, nil
	case '_':
		return "nil", nil
	case '$', '=':
		if n < 0 {
			return "nil", nil
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return "", err
		}
		return strconv.Quote(string(b[:n])), nil
	case '*', '~', '>', '%':
		if n < 0 {
			return "nil", nil
		}
		if kind == '%' {
			n *= 2
		}
		var parts []string
		for range n {
			part, err := readReply(in)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
		return "[" + strings.Join(parts, " ") + "]", nil
	}
	return "", fmt.Errorf("answer %q", line)
}

// to returns a client of the node that serves a key.
func (f *fleet) to(t *testing.T, key string) *client {
	t.Helper()
	return dial(t, f.addrs[f.owner(t, key)])
}

// owner is the number of the node that serves a key.
func (f *fleet) owner(t *testing.T, key string) int {
	t.Helper()
	for i, c := range f.caches {
		if owner, err := c.Cluster().Owner(key); err == nil && owner.Self {
			return i
		}
	}
	t.Fatalf("nobody serves %s", key)
	return 0
}

// fields are those of a line of CLIENT LIST.
func fields(line string) map[string]string {
	all := map[string]string{}
	for _, field := range strings.Fields(line) {
		name, value, _ := strings.Cut(field, "=")
		all[name] = value
	}
	return all
}

func TestClientsAreListedAsTheyAre(t *testing.T) {
	f := serve(t, 1, resp.WithUser("default", "secret"), resp.WithUser("ann", "pass"))
	admin := dial(t, f.addrs[0])
	admin.line("auth secret")
	for i, tt := range []struct {
		commands string
		want     map[string]string
	}{
		{"ping", map[string]string{"flags": "N", "sub": "0", "psub": "0", "ssub": "0", "multi": "-1", "watch": "0", "user": "default", "resp": "2"}},
		{"auth ann pass", map[string]string{"user": "ann"}},
		{"hello 3 auth ann pass", map[string]string{"user": "ann", "resp": "3", "flags": "N"}},
		{"auth ann pass,multi,set a 1,get a", map[string]string{"multi": "2", "flags": "x"}},
		{"auth ann pass,multi,set a 1,discard", map[string]string{"multi": "-1", "flags": "N"}},
		{"auth ann pass,watch {w}a {w}b,readonly", map[string]string{"watch": "2", "flags": "r"}},
		{"auth ann pass,subscribe a,subscribe b,psubscribe c*,ssubscribe d", map[string]string{"sub": "2", "psub": "1", "ssub": "1", "flags": "P"}},
		{"auth ann pass,subscribe a,unsubscribe a", map[string]string{"sub": "0", "flags": "N"}},
		{"auth ann pass,hello 3,multi,reset", map[string]string{"multi": "-1", "flags": "N", "resp": "2", "user": "default"}},
	} {
		c := dial(t, f.addrs[0])
		for command := range strings.SplitSeq(tt.commands, ",") {
			c.line(command)
		}
		listed := ""
		for line := range strings.Lines(strings.ReplaceAll(admin.line("client list"), `\n`, "\n")) {
			if fields(line)["addr"] == c.LocalAddr().String() {
				listed = line
			}
		}
		for name, want := range tt.want {
			if got := fields(listed)[name]; got != want {
				t.Errorf("%d, %s: %s=%s, want %s: %s", i, tt.commands, name, got, want, listed)
			}
		}
	}
}

func TestClientsAreKilledByWhatTheyAre(t *testing.T) {
	f := serve(t, 1, resp.WithUser("default", "secret"), resp.WithUser("ann", "pass"))
	admin := dial(t, f.addrs[0])
	admin.line("auth secret")
	others := map[string]*client{}
	for name, commands := range map[string][]string{"ann": {"auth ann pass"}, "default": {"auth secret"}, "listener": {"auth ann pass", "subscribe ch"}, "stranger": {"ping"}} {
		others[name] = dial(t, f.addrs[0])
		for _, command := range commands {
			others[name].line(command)
		}
	}
	for _, tt := range []struct{ command, want, gone string }{
		{"client kill type nosuch", "error ERR Unknown client type 'nosuch'", ""},
		{"client kill user nosuch", "error ERR No such user 'nosuch'", ""},
		{"client kill skipme maybe", "error ERR syntax error", ""},
		{"client kill type master", "0", ""},
		{"client kill type replica", "0", ""},
		{"client kill type normal user ann", "1", "ann"},
		{"client kill laddr 1.2.3.4:5", "0", ""},
		{"client kill type pubsub addr " + others["default"].LocalAddr().String(), "0", ""},
		{"client kill type pubsub", "1", "listener"},
		{"client kill user default addr " + others["default"].LocalAddr().String(), "1", "default"},
		{"client list id 0", `""`, ""},
		{"client kill user default", "1", "stranger"}, // as in Redis
	} {
		if got := admin.line(tt.command); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.command, got, tt.want)
		}
		if tt.gone != "" {
			if _, err := io.Copy(io.Discard, others[tt.gone]); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: the connection of %s: %v", tt.command, tt.gone, err)
			}
			slotmeshtest.Await(t, "it is not listed", func() error {
				if list := admin.line("client list"); strings.Contains(list, "addr="+others[tt.gone].LocalAddr().String()+" ") {
					return fmt.Errorf("clients: %s", list)
				}
				return nil
			})
		}
	}
	if got := admin.line("client kill type normal skipme no"); got != "1" {
		t.Errorf("a client that kills itself gets %s", got)
	}
	if _, err := io.Copy(io.Discard, admin); err != nil {
		t.Errorf("it is there still: %v", err)
	}
}
