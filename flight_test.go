package slotmesh

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slotmesh/slotmesh/internal/node"
)

// A flight that somebody else's value has answered may be joined until that answer has
// arrived, and a large value takes longer than the word that it was deleted since.
func TestLoadGivesNoValueOfBeforeItsCall(t *testing.T) {
	c, err := Open(t.Context(), WithAddr("127.0.0.1:0"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Ready(t.Context()))
	k := flightKey{key: "k"}
	f := &flight{done: make(chan struct{}), callers: 1, cancel: func() {}, found: c.loads.asked.Add(1)}
	f.result = node.Result{Found: true, Value: []byte("deleted")}
	c.loads.m = map[flightKey]*flight{k: f}
	got := make(chan []byte)
	go func() {
		v, err := c.GetOrLoad(t.Context(), "k", func(context.Context, string) ([]byte, error) { return []byte("new"), nil })
		if err != nil {
			t.Error(err)
		}
		got <- v
	}()
	require.Eventually(t, func() bool {
		c.loads.mu.Lock()
		defer c.loads.mu.Unlock()
		return f.callers == 2
	}, time.Minute, time.Millisecond)
	c.unlist(f, k)
	close(f.done)
	require.Equal(t, "new", string(<-got))
}
