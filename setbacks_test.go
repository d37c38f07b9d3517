package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSetbacks(t *testing.T) {
	s, k, now := setbacks{}, flightKey{key: "k", refresh: true}, time.Now()
	require.False(t, s.wait(k, now))
	for _, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000} {
		s.add(k, now)
		now = now.Add(want * time.Millisecond)
		require.True(t, s.wait(k, now.Add(-1)))
		require.False(t, s.wait(k, now))
	}
	for i := range 3 * maxSetbacks {
		s.add(flightKey{key: fmt.Sprint(i)}, now)
	}
	require.LessOrEqual(t, len(s), maxSetbacks)
}

// A stale value whose source is down is not asked for anew by each read.
func TestFailedRefreshesWait(t *testing.T) {
	c, err := Open(t.Context(), WithAddr("127.0.0.1:0"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Ready(t.Context()))
	down, runs := errors.New("origin is down"), make(chan struct{}, 100)
	get := func(fail error) string {
		v, err := c.GetOrLoad(t.Context(), "k", func(context.Context, string) ([]byte, error) {
			runs <- struct{}{}
			return []byte("new"), fail
		}, LoadTTL(time.Nanosecond), LoadStale(time.Hour))
		require.NoError(t, err)
		return string(v)
	}
	require.NoError(t, c.Set(t.Context(), "k", []byte("old"), TTL(time.Hour-time.Minute)))
	require.Equal(t, "old", get(down))
	k := flightKey{key: "k", refresh: true}
	failed := func() time.Duration {
		c.loads.mu.Lock()
		defer c.loads.mu.Unlock()
		return c.loads.failed[k].wait
	}
	require.Eventually(t, func() bool { return failed() == minSetback }, time.Minute, time.Millisecond)
	<-runs
	c.loads.mu.Lock()
	c.loads.failed[k] = setback{minSetback, time.Now().Add(time.Hour)}
	c.loads.mu.Unlock()
	require.Equal(t, "old", get(down))
	require.Empty(t, runs)
	require.EqualValues(t, 1, c.Stats().LoadsFailed)

	c.loads.mu.Lock()
	c.loads.failed[k] = setback{minSetback, time.Now()}
	c.loads.mu.Unlock()
	require.Equal(t, "old", get(nil))
	require.Eventually(t, func() bool { return failed() == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, "new", get(nil))
}

// Nobody gets the error of a refresh: where its loader panicked, the log tells.
func TestPanicsOfRefreshesAreLogged(t *testing.T) {
	c, err := Open(t.Context(), WithAddr("127.0.0.1:0"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Ready(t.Context()))
	require.NoError(t, c.Set(t.Context(), "k", []byte("old"), TTL(time.Minute)))
	v, err := c.GetOrLoad(t.Context(), "k", func(context.Context, string) ([]byte, error) { panic("oops") }, LoadTTL(time.Nanosecond), LoadStale(time.Hour))
	require.NoError(t, err)
	require.Equal(t, "old", string(v))
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(c.Events(), func(e NodeEvent) bool {
			return strings.HasPrefix(e.Name, "loader panics") && strings.Contains(e.Attrs, "TestPanicsOfRefreshes")
		})
	}, time.Minute, time.Millisecond)
}
