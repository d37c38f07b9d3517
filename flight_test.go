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
	got := make(chan []byte, 1)
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

// Who deletes a key while somebody asks its source for it in vain, and calls then, may
// have had the source have it before: another load is made for it, remembered absences
// or not.
func TestLoadGivesNoAbsenceOfBeforeItsCall(t *testing.T) {
	c, err := Open(t.Context(), WithAddr("127.0.0.1:0"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Ready(t.Context()))
	for key, opts := range map[string][]LoadOption{"forgotten": nil, "remembered": {LoadNegative(time.Minute)}} {
		loading, gone := make(chan struct{}), make(chan struct{})
		first := make(chan error, 1)
		go func() {
			_, err := c.GetOrLoad(t.Context(), key, func(context.Context, string) ([]byte, error) {
				close(loading)
				<-gone
				return nil, ErrNotFound
			}, opts...)
			first <- err
		}()
		select {
		case <-loading:
		case err := <-first:
			require.FailNow(t, "nothing was loaded", err)
		}
		_, err := c.Delete(t.Context(), key)
		require.NoError(t, err)
		got := make(chan []byte, 1)
		go func() {
			v, err := c.GetOrLoad(t.Context(), key, func(context.Context, string) ([]byte, error) { return []byte("new"), nil }, opts...)
			if err != nil {
				t.Errorf("%s: %v", key, err)
			}
			got <- v
		}()
		require.Eventually(t, func() bool {
			c.loads.mu.Lock()
			defer c.loads.mu.Unlock()
			f := c.loads.m[flightKey{key: key}]
			return f != nil && f.callers == 2
		}, time.Minute, time.Millisecond)
		close(gone)
		require.ErrorIs(t, <-first, ErrNotFound)
		require.Equal(t, "new", string(<-got))
	}
}
