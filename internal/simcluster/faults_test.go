package simcluster_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
)

// nemesis brings faults about.
type nemesis struct {
	sc    *Cluster
	r     *rand.Rand
	t     *testing.T
	disks Disks
	begin time.Time
	down  string // killed or left; at most one at a time
	extra bool   // a node runs that is no seed
	foul  bool   // links are bad
	forks bool   // more cuts, and longer ones
	downs int    // how often a node that is to be back has departed

	spared string // never stopped
}

// joiner is the node that comes and goes by plan.
const joiner = "x1"

func (nm *nemesis) log(format string, args ...any) {
	nm.t.Logf("%v: %s", time.Since(nm.begin).Round(time.Millisecond), fmt.Sprintf(format, args...))
}

func (nm *nemesis) any() string {
	up := nm.sc.Up()
	return up[nm.r.IntN(len(up))].Name
}

// anyBut is a node that runs, another than spared where there is one.
func (nm *nemesis) anyBut(spared string) string {
	for {
		if who := nm.any(); who != spared || len(nm.sc.Up()) == 1 {
			return who
		}
	}
}

func (nm *nemesis) wait(least, most time.Duration) {
	nm.sc.Advance(least + time.Duration(nm.r.Int64N(int64(most-least))))
}

func (nm *nemesis) chance(one int) bool { return nm.r.IntN(one) == 0 }

// step is one fault and its end, or two at a time. A node is killed only while
// every slot has all its copies: more than that is not promised.
func (nm *nemesis) step() {
	nm.wait(100*time.Millisecond, 2*time.Second)
	if nm.chance(3) {
		nm.weather()
	}
	if nm.chance(4) {
		nm.clock()
	}
	switch nm.r.IntN(10) {
	case 0, 1, 2:
		nm.stop()
	case 3:
		nm.restart()
	case 4:
		nm.come()
	default:
		end := nm.trouble()
		if nm.chance(4) {
			nm.wait(0, 2*time.Second)
			also := nm.trouble()
			first := end
			end = func() { also(); first() }
		}
		long := 8 * time.Second
		if nm.forks {
			long = 25 * time.Second
		}
		nm.wait(100*time.Millisecond, long)
		end()
		if nm.chance(4) {
			nm.leave()
		}
	}
	if nm.foul && nm.chance(2) {
		nm.clear()
	}
}

// stop ends a node, or starts the one that was.
func (nm *nemesis) stop() {
	sc := nm.sc
	nm.rest()
	if nm.down != "" {
		nm.log("start %s", nm.down)
		sc.Start(nm.down)
		nm.down = ""
		return
	}
	who := nm.anyBut(nm.spared)
	if who == joiner {
		nm.extra = false
	} else {
		nm.down = who
	}
	switch nm.r.IntN(3) {
	case 0:
		nm.log("kill %s", who)
		sc.Kill(who)
	case 1:
		nm.log("pull the plug of %s", who)
		sc.KillSilent(who)
	case 2:
		nm.depart(who, 30*time.Second)
	}
}

// depart has a node go in peace: for good, or, each second time, as one that steps
// down. The joiner may not be back, so it leaves.
func (nm *nemesis) depart(who string, within time.Duration) {
	how, name := nm.sc.Shutdown, "shut down"
	if who != joiner {
		if nm.downs++; nm.downs%2 == 0 {
			how, name = nm.sc.StepDown, "step down"
		}
	}
	nm.log("%s %s", name, who)
	if err := how(who, within); err != nil {
		nm.t.Errorf("%s: %v", name, err)
	}
}

// leave shuts a node down as soon as it reaches the others, at rest or not, and
// starts it again.
func (nm *nemesis) leave() {
	if nm.down != "" {
		return
	}
	who := nm.anyBut(nm.spared)
	for begin := time.Now(); !nm.reachesAll(who); nm.sc.Advance(10 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			nm.t.Errorf("%s does not reach the others", who)
			return
		}
	}
	nm.log("without rest, %s is to go and to be back", who)
	nm.depart(who, time.Minute)
	nm.sc.Start(who)
}

// reachesAll reports whether a node is connected to all others that run.
func (nm *nemesis) reachesAll(who string) bool {
	up := 0
	for _, p := range nm.sc.Node(who).Stats().Peers {
		if p.Up {
			up++
		}
	}
	return up >= len(nm.sc.Up())-1
}

// restart kills a node, or all of them where that is survived, and starts them
// at once.
func (nm *nemesis) restart() {
	sc, r := nm.sc, nm.r
	if nm.down != "" {
		return
	}
	nm.rest()
	who := nm.anyBut(nm.spared)
	switch {
	case nm.disks == SyncedDisks && nm.chance(2):
		var names []string
		for _, h := range sc.Up() {
			names = append(names, h.Name)
		}
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		pause := time.Duration(r.Int64N(int64(3 * time.Second)))
		nm.log("power loss, start %v each after %v", names, pause)
		sc.PowerLoss()
		sc.StartEvery(pause, names...)
	case nm.disks != NoDisks && nm.chance(3):
		nm.log("restart %s with an empty disk", who)
		sc.Kill(who)
		sc.WipeDisk(who)
		sc.Start(who)
	case nm.disks != NoDisks && nm.chance(3):
		nm.log("fill the disk of %s", who)
		sc.FillDisk(who, true)
		nm.wait(100*time.Millisecond, 5*time.Second)
		nm.log("make room and restart %s", who)
		sc.Kill(who)
		sc.FillDisk(who, false)
		sc.Start(who)
	default:
		nm.log("restart %s", who)
		sc.Restart(who)
	}
	nm.rest() // what it held is copied
}

// come has a node join, or leave, so that slots move by plan.
func (nm *nemesis) come() {
	if nm.extra {
		nm.depart(joiner, 60*time.Second)
	} else {
		nm.log("start %s", joiner)
		nm.sc.Start(joiner)
	}
	nm.extra = !nm.extra
}

// trouble is a fault that ends when the function returned is called.
func (nm *nemesis) trouble() (end func()) {
	sc, who := nm.sc, nm.any()
	other := nm.anyBut(who)
	heal := func() {
		nm.log("heal")
		sc.Heal()
	}
	kind := nm.r.IntN(8)
	if nm.forks && nm.chance(2) {
		kind = 3
	}
	switch {
	case kind < 2:
		nm.log("pause %s", who)
		sc.Pause(who)
		return func() {
			nm.log("resume %s", who)
			sc.Resume(who)
		}
	case kind == 2:
		nm.log("suspend %s", who)
		sc.Suspend(who)
		return func() {
			nm.log("wake %s", who)
			sc.Wake(who)
		}
	case kind == 3:
		nm.log("isolate %s", who)
		sc.Isolate(who)
		return heal
	case kind == 4:
		nm.log("cut %s and %s", who, other)
		sc.Cut(who, other)
		return heal
	case kind == 5:
		nm.log("cut the way from %s to %s", who, other)
		sc.Net.CutOneWay(who, other)
		return heal
	case kind == 6:
		deaf := nm.chance(2)
		nm.log("%s hears nobody: %v, else nobody hears it", who, deaf)
		for _, h := range sc.Up() {
			switch {
			case h.Name == who:
			case deaf:
				sc.Net.CutOneWay(h.Name, who)
			default:
				sc.Net.CutOneWay(who, h.Name)
			}
		}
		return heal
	case nm.disks != NoDisks:
		slow := time.Duration(nm.r.Int64N(int64(800 * time.Millisecond)))
		nm.log("syncs of %s take %v", who, slow)
		sc.SlowDisk(who, slow)
		return func() {
			nm.log("the disk of %s is quick", who)
			sc.SlowDisk(who, 0)
		}
	default:
		nm.log("reset %s and %s", who, other)
		sc.Net.Reset(who, other)
		return func() {}
	}
}

// weather makes links bad, all of them or those between two nodes one way.
func (nm *nemesis) weather() {
	r := nm.r
	l := simnet.Link{Delay: 200 * time.Microsecond, Jitter: 100 * time.Microsecond}
	switch r.IntN(3) {
	case 0:
		l.Loss, l.Duplicate, l.Reorder = r.Float64()*0.05, r.Float64()*0.2, r.Float64()*0.2
	case 1:
		l.Delay = time.Duration(r.Int64N(int64(30 * time.Millisecond)))
		l.Jitter = 1 + time.Duration(r.Int64N(int64(30*time.Millisecond)))
	case 2:
		l.BytesPerSecond = 300_000 + r.IntN(3_000_000)
	}
	nm.foul = true
	if nm.chance(2) {
		nm.log("all links: %+v", l)
		nm.sc.Net.SetDefault(l)
		return
	}
	a, b := nm.any(), nm.any()
	nm.log("the way from %s to %s: %+v", a, b, l)
	nm.sc.Net.SetOneWay(a, b, l)
}

func (nm *nemesis) clear() {
	nm.log("links are good")
	nm.sc.Net.SetDefault(simnet.Link{Delay: 200 * time.Microsecond, Jitter: 100 * time.Microsecond})
	nm.foul = false
}

// clock sets a wall clock, or has a clock run too fast or too slow: by less
// than what leases allow for.
func (nm *nemesis) clock() {
	h := nm.sc.Host(nm.any())
	if nm.chance(2) {
		by := time.Duration(nm.r.Int64N(int64(2*time.Minute))) - time.Minute
		nm.log("set the clock of %s by %v", h.Name, by)
		h.Clock.Step(by)
		return
	}
	rate := nm.r.Float64()*0.06 - 0.03
	nm.log("the clock of %s gains %.3f", h.Name, rate)
	h.Clock.SetDrift(rate)
}

// rest waits until the cluster is stable.
func (nm *nemesis) rest() {
	if nm.foul {
		nm.clear()
	}
	begin := time.Now()
	nm.sc.AwaitStable(60 * time.Second)
	nm.log("stable after %v", time.Since(begin))
}

func (nm *nemesis) end() {
	if nm.down != "" {
		nm.rest()
		nm.log("start %s", nm.down)
		nm.sc.Start(nm.down)
	}
	nm.rest()
}
