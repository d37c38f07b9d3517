package node

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slotmesh/slotmesh/transport"
)

// Who may go in a round is decided by where those before on the key go, and by what
// became of them.
func TestLane(t *testing.T) {
	here, far := (*transport.Peer)(nil), &transport.Peer{}
	type step struct {
		to      *transport.Peer
		epoch   uint64
		lost    bool // it is not known where it goes
		refused bool // by what runs it
		stands  bool
	}
	for name, steps := range map[string][]step{
		"all here":                  {{to: here}, {to: here}, {to: here}},
		"one goes far":              {{to: far}, {to: far, stands: true}, {to: here, stands: true}},
		"the slot has gone":         {{to: here}, {to: far, stands: true}, {to: here, stands: true}},
		"the first finds no way":    {{lost: true}, {to: here, stands: true}, {to: far, stands: true}},
		"a later one finds no way":  {{to: here}, {lost: true}, {to: here, stands: true}},
		"the first is refused":      {{to: here, refused: true}, {to: here, stands: true}, {to: here, stands: true}},
		"a later one is refused":    {{to: here}, {to: here, refused: true}, {to: here, stands: true}},
		"served under a new claim":  {{to: here, epoch: 1}, {to: here, epoch: 2, stands: true}, {to: here, epoch: 1, stands: true}},
		"the same claim throughout": {{to: here, epoch: 7}, {to: here, epoch: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			order, flights := lanes{}, []*flight(nil)
			for _, s := range steps {
				f := &flight{call: &Call{Key: "key"}, to: s.to, trip: trip{known: s.epoch}}
				order.enter(f)
				flights = append(flights, f)
			}
			alone := &flight{call: &Call{Key: "other"}, to: far}
			order.enter(alone)
			require.Nil(t, alone.lane)
			for range 2 { // each round begins anew
				g := &group{}
				for i, s := range steps {
					f := flights[i]
					f.group = g
					if !s.lost {
						require.Equal(t, s.stands, f.lane.stands(f), "call %d", i)
					}
					if s.lost || s.refused {
						f.lane.close(f)
					}
				}
				alone.group = g
				require.False(t, alone.lane.stands(alone))
			}
		})
	}
}

// A call that waits for what it saw has no version, and may be made again elsewhere: what
// is behind it on its key would have taken effect before.
func TestCallsBehindOneWithoutAVersionWait(t *testing.T) {
	for name, c := range map[string]Call{
		"a read":           {Op: transport.OpGet},
		"a condition":      {Op: transport.OpSet, Flags: transport.FlagIfAbsent},
		"nothing to write": {Op: transport.OpIncr, Delta: 1, Flags: transport.FlagBounds, Old: make([]byte, 16)},
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := openSlot(t)
			n.cfg.SyncWrites = true // writes wait for the disk
			set := Call{Op: transport.OpSet, Value: []byte("7")}
			calls, order, flights := []Call{set, set, c, set}, lanes{}, []*flight(nil)
			g := &group{over: make(chan struct{})}
			g.left.Store(int64(len(calls)))
			for i := range calls {
				calls[i].Slot, calls[i].Key = 5, "key"
				f := n.flight()
				f.call, f.group = &calls[i], g
				n.setOut(&f.trip, &calls[i])
				order.enter(f)
				flights = append(flights, f)
			}
			for i, f := range flights {
				n.launch(context.Background(), time.Now().Add(time.Hour), f)
				if i < 3 {
					require.Equal(t, underWay, f.state.Load(), "call %d: %v", i, f.err)
				} else {
					require.ErrorIs(t, f.err, errNotYet)
				}
			}
		})
	}
}
