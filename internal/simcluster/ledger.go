package simcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/transport"
)

// Ledger holds what callers were told of their writes, for clusters that fork:
// there reads may differ for a time, but no acknowledged write may vanish
// unless a newer one of the key replaced it. The zero value is empty.
type Ledger struct {
	mu    sync.Mutex // guards keys
	keys  map[string]*page
	total int
}

type page struct {
	acked []written
	maybe []string // values of unknown outcome
}

// written is a write by the version it was given; a value "" is a delete.
type written struct {
	version uint64
	value   string
}

// Do writes a value that nobody writes twice, or deletes the key if it is "".
func (l *Ledger) Do(ctx context.Context, sc *Cluster, from, key, value string) error {
	h := sc.Host(from)
	h.mu.Lock()
	life := h.life
	h.mu.Unlock()
	c := node.Call{Op: transport.OpSet, Key: key, Value: []byte(value)}
	if value == "" {
		c = node.Call{Op: transport.OpDelete, Key: key}
	}
	r, err := sc.Do(ctx, from, c)
	select {
	case <-life:
		err = node.ErrUnknownOutcome // nobody was told
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[string]*page{}
	}
	p := l.keys[key]
	if p == nil {
		p = &page{}
		l.keys[key] = p
	}
	switch {
	case err == nil && r.Version > 0:
		p.acked = append(p.acked, written{r.Version, value})
		l.total++
	case err == nil: // nothing to delete
	case errors.Is(err, node.ErrUnknownOutcome), !errors.Is(err, node.ErrNoPrimary) && !errors.Is(err, node.ErrOverloaded):
		p.maybe = append(p.maybe, value)
	}
	return err
}

// Check compares a cluster at rest with what was acknowledged, as every node
// answers.
func (l *Ledger) Check(sc *Cluster) {
	sc.T.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, p := range l.keys {
		up := sc.Up()
		it := itemOf(sc.T, up, key)
		origin := it.Origin
		if origin == 0 {
			origin = it.Version
		}
		if fault := p.fault(string(it.Value), it.State == store.Found, origin); fault != "" {
			sc.T.Errorf("I9: %s (slot %d): %s", key, hashtag.Slot(key), fault)
		}
		for _, h := range up {
			got, found, err := sc.Get(h.Name, key)
			if err != nil || found != (it.State == store.Found) || got != string(it.Value) {
				sc.T.Errorf("I9: %s answers %q, %v, %v for %s, whose primary has %q", h.Name, got, found, err, key, it.Value)
			}
		}
	}
	sc.T.Logf("%d acknowledged writes to %d keys", l.total, len(l.keys))
}

// fault says what is wrong with what a key holds. Two sides of a fork may give
// writes the same version: either may be the one that stays.
func (p *page) fault(value string, found bool, origin uint64) string {
	newest := []written{{}}
	for _, w := range p.acked {
		switch {
		case w.version > newest[0].version:
			newest = []written{w}
		case w.version == newest[0].version:
			newest = append(newest, w)
		}
	}
	has := func(value string) bool {
		return slices.ContainsFunc(newest, func(w written) bool { return w.value == value })
	}
	if found && has(value) {
		return ""
	}
	if !found {
		if has("") || slices.Contains(p.maybe, "") {
			return ""
		}
		return fmt.Sprintf("it is gone, and %q@%s was acknowledged", newest[0].value, version(newest[0].version))
	}
	if origin < newest[0].version {
		return fmt.Sprintf("it holds %q@%s, older than the acknowledged %q@%s", value, version(origin), newest[0].value, version(newest[0].version))
	}
	if !slices.Contains(p.maybe, value) && !slices.Contains(p.acked, written{origin, value}) {
		return fmt.Sprintf("it holds %q@%s, which nobody wrote so", value, version(origin))
	}
	return ""
}

func version(v uint64) string { return fmt.Sprintf("%d:%d", v>>40, v&(1<<40-1)) }

// itemOf reads a key from the engine of its primary.
func itemOf(t *testing.T, up []*Host, key string) store.Item {
	t.Helper()
	cl := up[0].node.Table().Claim(hashtag.Slot(key))
	for _, h := range up {
		if cl != nil && h.node.Self().ID == cl.Primary {
			it, err := h.engine.Fetch(nil, cl.Slot, 0, key, "", 0)
			if err != nil {
				t.Errorf("read %s on %s: %v", key, h.Name, err)
			}
			return it
		}
	}
	t.Errorf("%s has no primary", key)
	return store.Item{}
}
