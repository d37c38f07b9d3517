package node

import (
	"testing"

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
		refused bool // by what runs it
		stands  bool
	}
	for name, steps := range map[string][]step{
		"all here":                  {{to: here}, {to: here}, {to: here}},
		"one goes far":              {{to: far}, {to: far, stands: true}, {to: here, stands: true}},
		"the slot has gone":         {{to: here}, {to: far, stands: true}, {to: here, stands: true}},
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
					require.Equal(t, s.stands, f.lane.stands(f), "call %d", i)
					if s.refused {
						f.lane.close()
					}
				}
				alone.group = g
				require.False(t, alone.lane.stands(alone))
			}
		})
	}
}
