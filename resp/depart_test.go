package resp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/slotmesh/slotmesh/resp"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// pipes is a listener of a bubble.
type pipes struct {
	port  int
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newPipes(port int) *pipes {
	p := &pipes{port: port, conns: make(chan net.Conn), done: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.done) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: p.port} }

func (p *pipes) dial(t *testing.T) *client {
	t.Helper()
	here, there := net.Pipe()
	select {
	case p.conns <- there:
	case <-p.done:
		t.Fatal("nobody listens")
	}
	t.Cleanup(func() { here.Close() })
	return &client{t, here, bufio.NewReader(here)}
}

// Clients that still take a node for the primary of a slot are redirected when it has
// left, on the connections they have and on new ones, until they come no more. In
// virtual time: on a busy machine they may come too seldom.
func TestClientsOfANodeThatLeftAreRedirected(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 1}, func(t *testing.T, sim *slotmeshtest.Cluster) {
		ctx, end := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		defer serving.Wait()
		defer end()
		ports := map[string]*pipes{}
		for i, name := range sim.Names() {
			port := newPipes(6379 + i)
			ports[name] = port
			serving.Go(func() { _ = resp.Serve(ctx, sim.Node(name), port) })
		}
		sim.Await("all addresses are known", func() error {
			for _, name := range sim.Names() {
				for _, node := range sim.Node(name).Cluster().Nodes() {
					if node.Attributes[resp.Attribute] == "" {
						return fmt.Errorf("%s does not know that of %s", name, node.Name)
					}
				}
			}
			return nil
		})
		at := sim.Owner("n1", "k")
		c, idle := ports[at].dial(t), ports[at].dial(t)
		c.line("multi")
		c.line("set k 0")
		if err := sim.Shutdown(at); err != nil {
			t.Fatal(err)
		}
		other := sim.Node(sim.Names()[0]).Cluster()
		owner, err := other.Owner("k")
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("error MOVED %d %s", other.KeySlot("k"), owner.Attributes[resp.Attribute])
		for _, command := range []string{"exec", "set k 1", "get k", "incr k", "watch k", "mset k 1", "del k", "publish k hello", "spublish k hello"} {
			if got := c.line(command); got != want {
				t.Errorf("%s = %s, want %s", command, got, want)
			}
		}
		if got := ports[at].dial(t).line("set k 1"); got != want {
			t.Errorf("set on a new connection = %s, want %s", got, want)
		}
		fmt.Fprint(idle, pack("set", "k", "1"), pack("set", "k", "2"), pack("get", "k"))
		for range 3 {
			if got := idle.read(); got != want {
				t.Errorf("a pipeline has %s, want %s", got, want)
			}
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Errorf("the connection ends with %v", err)
		}
	})
}

// A node that closes with slots of its own has nowhere to send clients.
func TestClientsOfANodeThatClosedAreLetGo(t *testing.T) {
	f := serve(t, 1)
	c := dial(t, f.addrs[0])
	c.line("ping")
	if err := f.caches[0].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the connection ends with %v", err)
	}
}

// A primary without an address for clients, as of a node that has just joined, is no
// gap in what they are told: the node that they asked serves them.
func TestSlotsOfNodesWithoutAnAddressAreListed(t *testing.T) {
	f := serve(t, 2)
	if err := f.caches[1].Cluster().SetAttribute("resp", ""); err != nil {
		t.Fatal(err)
	}
	slotmeshtest.Await(t, "the first node hears of it", func() error {
		for _, n := range f.caches[0].Cluster().Nodes() {
			if n.Attributes["resp"] == "" {
				return nil
			}
		}
		return fmt.Errorf("both have an address")
	})
	c := dial(t, f.addrs[0])
	port := f.addrs[0][strings.LastIndexByte(f.addrs[0], ':')+1:]
	entry := regexp.MustCompile(`\[(\d+) (\d+) \["127.0.0.1" ` + port + ` `)
	slotmeshtest.Await(t, "all slots are listed at the first node", func() error {
		listed := 0
		for _, m := range entry.FindAllStringSubmatch(c.line("cluster slots"), -1) {
			from, _ := strconv.Atoi(m[1])
			to, _ := strconv.Atoi(m[2])
			listed += to - from + 1
		}
		if listed != 16384 {
			return fmt.Errorf("%d slots are listed", listed)
		}
		return nil
	})
	for i := range 50 {
		if got := c.line(fmt.Sprintf("set key:%d v", i)); got != "OK" {
			t.Fatalf("set = %s", got)
		}
	}
}
