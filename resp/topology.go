package resp

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/hashtag"
)

// member is a node as clients see it.
type member struct {
	slotmesh.Node
	id         string // 40 hexadecimal digits, of its name
	host, port string // "" where it does not serve RESP
	epoch      uint64 // the highest of its slots
	ranges     spans  // of the slots that it serves
	slots      int
}

// spans are ranges of slots, both ends included.
type spans []span

// add adds a slot that is greater than those there.
func (s *spans) add(slot int) {
	if n := len(*s); n > 0 && (*s)[n-1].to == slot-1 {
		(*s)[n-1].to = slot
	} else {
		*s = append(*s, span{slot, slot})
	}
}

// topology is who serves what, at one moment.
type topology struct {
	at      time.Time
	members []*member // by name
	self    *member
	primary [hashtag.Slots]*member   // nil: nobody
	backups [hashtag.Slots][]*member // of one slice for each set of them
	served  int                      // slots with a primary
	epoch   uint64                   // the highest
	// strangers: a node that serves slots serves no RESP.
	strangers bool

	slotsOnce [2]sync.Once // of RESP2 and RESP3
	slots     [2][]byte    // the answer to CLUSTER SLOTS, which is long
}

// A look at 16384 slots takes a millisecond or two, so one serves for a while.
const (
	lookAge   = 20 * time.Millisecond
	glanceAge = time.Second
)

// shared is the topology that all connections look at.
type shared struct {
	mu  sync.Mutex // guards cur, and is held while it is made
	cur *topology
}

// look returns the topology as it is, glance as it was a moment ago.
func (s *server) look() *topology   { return s.topologyOf(lookAge) }
func (s *server) glance() *topology { return s.topologyOf(glanceAge) }

func (s *server) topologyOf(age time.Duration) *topology {
	if last := s.departed.Load(); last != nil {
		return last
	}
	s.topology.mu.Lock()
	defer s.topology.mu.Unlock()
	if cur := s.topology.cur; cur != nil && time.Since(cur.at) < age {
		return cur
	}
	s.topology.cur = s.newTopology()
	return s.topology.cur
}

// nodeID makes a Redis node ID of a name: the same after a restart.
func nodeID(name string) string {
	sum := sha1.Sum([]byte("slotmesh " + name))
	return hex.EncodeToString(sum[:])
}

func (s *server) newTopology() *topology {
	view := s.cache.Cluster()
	t := &topology{at: time.Now()}
	byName := map[string]*member{}
	for _, n := range view.Nodes() {
		m := &member{Node: n, id: nodeID(n.Name)}
		addr := n.Attributes[Attribute]
		if n.Self {
			addr, t.self = s.addr, m
		}
		if host, port, err := net.SplitHostPort(addr); err == nil {
			m.host, m.port = host, port
		}
		if before := byName[n.Name]; before == nil || before.State == "suspect" { // of two starts of a name the living one
			byName[n.Name] = m
		}
		t.members = append(t.members, m)
	}
	t.members = slices.DeleteFunc(t.members, func(m *member) bool { return byName[m.Name] != m })
	sets := map[string][]*member{}
	for slot := range view.Slots() {
		m := byName[slot.Primary]
		t.epoch = max(t.epoch, slot.Epoch)
		if m == nil {
			continue
		}
		no := int(slot.Number)
		t.primary[no] = m
		t.strangers = t.strangers || m.host == ""
		t.served++
		m.slots++
		m.epoch = max(m.epoch, slot.Epoch)
		m.ranges.add(no)
		var key []byte
		for _, name := range slot.Backups {
			key = append(append(key, name...), 0)
		}
		set, ok := sets[string(key)]
		if !ok {
			for _, name := range slot.Backups {
				if b := byName[name]; b != nil {
					set = append(set, b)
				}
			}
			sets[string(key)] = set
		}
		t.backups[no] = set
	}
	return t
}

// portNumber is the port as clients want it: a number.
func (m *member) portNumber() int64 {
	n, _ := strconv.ParseInt(m.port, 10, 64)
	return n
}

// addrOf is host:port as in MOVED, where IPv6 addresses have no brackets.
func addrOf(n slotmesh.Node) string {
	host, port, err := net.SplitHostPort(n.Attributes[Attribute])
	if err != nil {
		return ""
	}
	return host + ":" + port
}

func (m *member) flags() string {
	flags := "master"
	if m.Self {
		flags = "myself,master"
	}
	if m.State == "suspect" {
		flags += ",fail?"
	}
	if m.host == "" {
		flags += ",noaddr"
	}
	return flags
}

// find returns the member with a node ID.
func (t *topology) find(id string) *member {
	for _, m := range t.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// entry is where clients are told that a slot is: at this node where the primary is
// not known, or has no address for them (it has just joined). This node asks on their
// behalf, and a slot without an entry would be an error to them at once.
func (t *topology) entry(slot int) *member {
	if m := t.primary[slot]; m != nil && m.host != "" {
		return m
	}
	return t.self
}

// mine are the slots that this node serves.
func (t *topology) mine() []span {
	if t.self == nil {
		return nil
	}
	return t.self.ranges
}

// sameBackups reports whether two slots have the same backups in one order:
// equal sets share a slice.
func (t *topology) sameBackups(a, b int) bool {
	x, y := t.backups[a], t.backups[b]
	return len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0])
}

// byID orders members as Redis lists nodes: by no order that means anything,
// but by the same one everywhere.
func byID(a, b *member) int { return cmp.Compare(a.id, b.id) }
