package transport

import "sync"

// corks holds back what handlers send until they are done with a received
// batch, so that all that goes to one peer leaves together.
type corks struct {
	mu    sync.Mutex // guards all below, and held of each outbox; taken inside no other
	depth int        // how many hold now
	dirty []*outbox
}

func (c *corks) enter() {
	c.mu.Lock()
	c.depth++
	c.mu.Unlock()
}

// hold reports whether somebody will see to it that o is written.
func (c *corks) hold(o *outbox) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.depth == 0 {
		return false
	}
	if !o.held {
		o.held = true
		c.dirty = append(c.dirty, o)
	}
	return true
}

// leave ends enter. What others hold back leaves as well, so that nothing
// waits for long. gathered says that it came from one batch: there is no
// crowd to wait for.
func (c *corks) leave(gathered bool) {
	var some [8]*outbox
	c.mu.Lock()
	c.depth--
	list := append(some[:0], c.dirty...)
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	for _, o := range list {
		o.held = false
	}
	c.mu.Unlock()
	for _, o := range list {
		o.kick(gathered)
	}
}
