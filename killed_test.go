//go:build !race || slow

package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/internal/testca"
)

// TestKilledProcessLosesNoAcknowledgedWrite kills one of two processes while
// the other writes, and lets it come back.
func TestKilledProcessLosesNoAcknowledgedWrite(t *testing.T) { killsAndWrites(t) }

// TestKilledProcessUnderTLS does the same over TLS: the end of a connection has
// to be the same proof.
func TestKilledProcessUnderTLS(t *testing.T) {
	ca, dir := testca.New(t), t.TempDir()
	ca.Write(dir, "child")
	t.Setenv(childTLS, dir)
	killsAndWrites(t, slotmesh.WithTLS(ca.Config("parent")))
}

func killsAndWrites(t *testing.T, opts ...slotmesh.Option) {
	const keys, laps = 200, 20
	// Only the proof that the child is gone ends what waits for it: silence takes longer than calls have.
	c := open(t, append(opts, slotmesh.WithName("parent"), slotmesh.WithOpTimeout(30*time.Second), slotmesh.WithFailureTimeout(time.Minute),
		slotmesh.WithReplicationTimeout(time.Minute), slotmesh.WithCluster(processCluster))...)
	addr := c.Cluster().Self().Addr
	kill := startChild(t, addr)
	awaitBalance(t, c, 2)

	var childs string // a key that the child serves
	acknowledged := make([]string, keys)
	key := func(i int) string { return fmt.Sprint("key", i) }
	for i := range keys {
		if owner, err := c.Cluster().Owner(key(i)); err == nil && owner.Name == "child" {
			childs = key(i)
		}
	}
	if childs == "" {
		t.Fatal("the child serves none of the keys")
	}
	for lap := range laps {
		if lap == laps/2 {
			kill()
			shortCallsEndInTime(t, c, "{"+childs+"}short")
		}
		for i := range keys {
			value := fmt.Sprintf("%d of lap %d", i, lap)
			err := c.Set(t.Context(), key(i), []byte(value))
			switch {
			case err == nil:
				acknowledged[i] = value
			case errors.Is(err, slotmesh.ErrUnknownOutcome): // may hold either value
				acknowledged[i] = ""
			default:
				t.Fatalf("Set in lap %d = %v, want nil", lap, err)
			}
		}
		checkAcknowledged(t, c, key, acknowledged)
	}

	startChild(t, addr)
	awaitBalance(t, c, 2)
	checkAcknowledged(t, c, key, acknowledged)
}

// shortCallsEndInTime makes calls to a slot in the middle of its failover, with
// less time than that takes.
func shortCallsEndInTime(t *testing.T, c *slotmesh.Cache, key string) {
	t.Helper()
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		within(t, 20*time.Second, "a call with a deadline of 10ms", func() {
			err := c.Set(ctx, key, []byte("short"))
			if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, slotmesh.ErrUnknownOutcome) {
				t.Errorf("Set = %v, want nil, DeadlineExceeded or ErrUnknownOutcome", err)
			}
		})
		cancel()
	}
}

func checkAcknowledged(t *testing.T, c *slotmesh.Cache, key func(int) string, want []string) {
	t.Helper()
	for i, value := range want {
		if value == "" {
			continue
		}
		if got, err := c.Get(t.Context(), key(i)); err != nil || string(got) != value {
			t.Fatalf("Get(%s) = %q, %v, want the acknowledged %q", key(i), got, err, value)
		}
	}
}
