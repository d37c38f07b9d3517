package slotmesh_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// tracer notes what it is told, and follows calls whose context has a value.
type tracer struct {
	mu    sync.Mutex
	notes []string
}

type traceKey struct{}

func (r *tracer) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *tracer) Call(ctx context.Context, op string, slot uint16) ([]byte, func(slotmesh.CallEnd)) {
	id, ok := ctx.Value(traceKey{}).(string)
	if !ok {
		return nil, nil
	}
	r.note("call %s %s", op, id)
	return []byte(id), func(e slotmesh.CallEnd) {
		r.note("called %s %s %s %v", op, id, e.Source, e.Peer != "" && e.Attempts > 0)
	}
}

func (r *tracer) Serve(trace []byte, op string, slot uint16, caller string) func(error) {
	id := string(trace)
	r.note("serve %s %s for %s", op, id, caller)
	return func(err error) { r.note("served %s %s: %v", op, id, err) }
}

func TestTraceFollowsCallsAcrossNodes(t *testing.T) {
	parallel(t)
	var r tracer
	caches := slotmeshtest.Start(t, 2, slotmesh.WithTracer(&r))
	c := caches[0]
	here, there := keyOf(t, c, c.Cluster().Self().Name), ""
	for _, n := range c.Cluster().Nodes() {
		if !n.Self {
			there = keyOf(t, c, n.Name)
		}
	}
	with := func(id string) context.Context { return context.WithValue(t.Context(), traceKey{}, id) }
	if err := c.Set(t.Context(), there, []byte("v")); err != nil { // not followed
		t.Fatal(err)
	}
	if err := c.Set(with("1"), there, []byte("v")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(with("2"), there); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(with("3"), here, []byte("v")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(with("4"), here); err != nil {
		t.Fatal(err)
	}
	if got := c.GetMany(with("5"), []string{here, there}); len(got) != 2 || got[0].Err != nil || got[1].Err != nil {
		t.Fatalf("GetMany = %v", got)
	}
	if _, err := c.Incr(with("6"), there, 1); err == nil {
		t.Fatal("Incr of a text succeeded")
	}
	self := c.Cluster().Self().Name
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, want := range []string{
		"call set 1", "serve set 1 for " + self, "served set 1: <nil>", "called set 1 remote true",
		"call get 2", "serve get 2 for " + self, "served get 2: <nil>", "called get 2 remote true",
		"call set 3", "called set 3 local false", "call get 4", "called get 4 local false",
		"call batch 5", "serve get 5 for " + self, "called batch 5 remote false",
	} {
		if !slices.Contains(r.notes, want) {
			t.Errorf("the tracer was not told %q, but %q", want, r.notes)
		}
	}
	if all := strings.Join(r.notes, "\n"); !strings.Contains(all, "served incr 6: ") || strings.Contains(all, "serve set 3") {
		t.Errorf("the tracer was told %q", r.notes)
	}
}

// keyOf returns a key whose slot the node of that name serves.
func keyOf(t *testing.T, c *slotmesh.Cache, name string) string {
	t.Helper()
	for i := range 10_000 {
		key := fmt.Sprint("key", i)
		if n, err := c.Cluster().Owner(key); err == nil && n.Name == name {
			return key
		}
	}
	t.Fatalf("no slot of 10,000 keys is served by %s", name)
	return ""
}
