package resp_test

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// Clients that still take a node for the primary of a slot are redirected when it has
// left, on the connections they have and on new ones, until they come no more.
func TestClientsOfANodeThatLeftAreRedirected(t *testing.T) {
	f := serve(t, 3)
	c, idle := f.to(t, "k"), f.to(t, "k")
	at := f.owner(t, "k")
	c.line("multi")
	c.line("set k 0")
	if err := f.caches[at].Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := f.caches[(at+1)%3]
	owner, err := other.Cluster().Owner("k")
	if err != nil {
		t.Fatal(err)
	}
	slot := other.Cluster().KeySlot("k")
	want := fmt.Sprintf("error MOVED %d %s", slot, owner.Attributes["resp"])
	for _, command := range []string{"exec", "set k 1", "get k", "incr k", "watch k", "mset k 1", "del k", "publish k hello", "spublish k hello"} {
		if got := c.line(command); got != want {
			t.Errorf("%s = %s, want %s", command, got, want)
		}
	}
	if got := dial(t, f.addrs[at]).line("set k 1"); got != want {
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
