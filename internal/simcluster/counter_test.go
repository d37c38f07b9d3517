package simcluster

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/slotmesh/slotmesh/transport"
)

// TestCounterFault compares the counters' check with the general one, on
// histories of which some are right and some have one answer changed.
func TestCounterFault(t *testing.T) {
	t.Parallel()
	right, wrong := 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 3))
		var ops []porcupine.Operation
		count, clock := int64(0), int64(0)
		free := [3]int64{} // until when each client is busy
		for range 3 + r.IntN(8) {
			clock += 1 + r.Int64N(4)
			client := r.IntN(len(free))
			begin := max(clock-r.Int64N(6), free[client]+1)
			end := max(clock, begin) + r.Int64N(6)
			clock = max(clock, begin) // it takes effect now
			free[client] = end
			o := porcupine.Operation{ClientId: client, Call: begin * 2, Return: end*2 + 1}
			switch r.IntN(4) {
			case 0, 1:
				count++
				o.Input, o.Output = op{kind: transport.OpIncr, delta: 1}, outcome{num: count}
			case 2:
				o.Input, o.Output = op{kind: transport.OpGet}, outcome{}
				if count > 0 {
					o.Output = outcome{found: true, value: string('0' + rune(count))}
				}
			case 3:
				count += r.Int64N(2) // it may have happened
				o.Input, o.Output, o.Return = op{kind: transport.OpIncr, delta: 1}, outcome{open: true}, math.MaxInt64
			}
			ops = append(ops, o)
		}
		if i := r.IntN(len(ops)); r.IntN(2) == 0 {
			if out := ops[i].Output.(outcome); out.num > 0 {
				out.num += r.Int64N(3) - 1
				ops[i].Output = out
			} else if out.found && out.value > "1" && out.value < "9" {
				out.value = string(rune(out.value[0]) + rune(r.IntN(3)) - 1)
				ops[i].Output = out
			}
		}
		want := porcupine.CheckOperationsTimeout(model, ops, 10*time.Second)
		fault := counterFault(ops)
		if fault == "" != (want == porcupine.Ok) {
			t.Fatalf("seed %d: %q, but the general check says %v of %+v", seed, fault, want, ops)
		}
		if fault == "" {
			right++
		} else {
			wrong++
		}
	}
	if right < 500 || wrong < 300 {
		t.Errorf("%d right and %d wrong histories are no good sample", right, wrong)
	}
}
