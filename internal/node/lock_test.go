package node

import (
	"errors"
	"testing"
	"time"
)

// A lock that nobody renews is free when its time has passed, though the epoch of its
// slot is raised again and again meanwhile, as it is where connections break.
func TestLockLapsesUnderNewEpochs(t *testing.T) {
	n := start(t, "a", nil)
	const slot = 7
	take := func(token uint64) error {
		call := Lock{Token: token, TTL: 200 * time.Millisecond, How: LockTry}.Call(slot, "k")
		_, err := n.Do(t.Context(), &call)
		return err
	}
	if err := take(1); err != nil {
		t.Fatal(err)
	}
	raise := func() (epoch uint64) {
		epoch = n.table.Load().Claim(slot).Epoch
		n.renew(slot, epoch)
		return epoch
	}
	first := raise()
	awaitNode(t, "the epoch is raised", func() bool { return raise() > first })
	awaitNode(t, "the lock is free", func() bool {
		raise()
		err := take(2)
		if err != nil && !errors.Is(err, ErrLocked) {
			t.Fatal(err)
		}
		return err == nil
	})
}
