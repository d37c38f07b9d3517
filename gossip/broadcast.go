package gossip

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/hashicorp/memberlist"
)

const (
	castMessage byte = 1        // a user's broadcast: this byte, 8 random bytes, payload
	castHeader       = 1 + 8    // bytes
	maxQueued        = 1024     // broadcasts waiting to be sent on
	seenHalf         = 16 << 10 // IDs kept in each half of casts.seen
)

// casts spreads broadcasts. memberlist sends a message a few times and leaves
// it at that, which in a large cluster reaches only some; so every node passes
// on what is new to it, known by a random ID.
type casts struct {
	queue *memberlist.TransmitLimitedQueue

	mu   sync.Mutex // guards seen
	seen [2]map[uint64]struct{}
}

func newCasts(members func() int) *casts {
	return &casts{
		queue: &memberlist.TransmitLimitedQueue{NumNodes: members, RetransmitMult: 4},
		seen:  [2]map[uint64]struct{}{{}, {}},
	}
}

// Broadcast spreads b, up to MaxBroadcast bytes, to all members, best effort:
// what cannot be missed belongs into the state.
func (g *Gossip) Broadcast(b []byte) error {
	if len(b) > MaxBroadcast {
		return fmt.Errorf("broadcast of %d bytes, more than %d", len(b), MaxBroadcast)
	}
	id := rand.Uint64()
	g.casts.isNew(id) // it will come back
	m := binary.BigEndian.AppendUint64([]byte{castMessage}, id)
	g.casts.add(append(m, b...))
	return nil
}

func (c *casts) add(m []byte) {
	c.queue.QueueBroadcast(cast(m))
	c.queue.Prune(maxQueued)
}

// receive returns the payload of a broadcast that is new, and passes it on.
// Kinds of later releases are ignored.
func (c *casts) receive(m []byte) []byte {
	if len(m) < castHeader || len(m) > castHeader+MaxBroadcast || m[0] != castMessage {
		return nil
	}
	if !c.isNew(binary.BigEndian.Uint64(m[1:])) {
		return nil
	}
	m = append([]byte(nil), m...) // memberlist's buffer
	c.add(m)
	return m[castHeader:len(m):len(m)]
}

// isNew forgets the older half of the IDs when the newer is full.
func (c *casts) isNew(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.seen {
		if _, ok := s[id]; ok {
			return false
		}
	}
	if len(c.seen[0]) >= seenHalf {
		c.seen[1], c.seen[0] = c.seen[0], make(map[uint64]struct{})
	}
	c.seen[0][id] = struct{}{}
	return true
}

// cast is a queued message; no two replace each other.
type cast []byte

func (c cast) Invalidates(memberlist.Broadcast) bool { return false }
func (c cast) Message() []byte                       { return c }
func (c cast) Finished()                             {}
func (c cast) UniqueBroadcast()                      {}
