package simcluster

import (
	"context"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
)

// Kill ends a node's process: its kernel resets its connections and refuses
// new ones. Its memory is lost.
func (sc *Cluster) Kill(name string) { sc.kill(name, false) }

// KillSilent pulls the plug of a host: nothing answers any more, and what its
// disk had not synced may be lost.
func (sc *Cluster) KillSilent(name string) { sc.kill(name, true) }

func (sc *Cluster) kill(name string, power bool) {
	sc.T.Helper()
	if n := sc.crash(name, power); n == nil {
		sc.T.Fatalf("kill %s: it does not run", name)
	} else {
		_ = n.Close() // of sockets that are dead
	}
}

// crash is a kill as others see it. The node is to be closed, or nil if it does
// not run.
func (sc *Cluster) crash(name string, power bool) *node.Node {
	h := sc.Host(name)
	n := h.stop() // from here on what its callers are told does not count
	if n == nil {
		return nil
	}
	if h.Clock.Sleep(false); power {
		sc.Net.CrashSilent(name)
	} else {
		sc.Net.Crash(name)
	}
	h.disk.kill(power)
	return n
}

// PowerLoss pulls the plugs of all hosts at one time.
func (sc *Cluster) PowerLoss() {
	var nodes []*node.Node
	for _, h := range sc.Up() {
		nodes = append(nodes, sc.crash(h.Name, true))
	}
	for _, n := range nodes {
		_ = n.Close()
	}
}

// Restart kills a node and starts it at once, with nothing in memory.
func (sc *Cluster) Restart(name string) {
	sc.T.Helper()
	sc.Kill(name)
	sc.Start(name)
}

// Shutdown has a node hand over its slots and leave.
func (sc *Cluster) Shutdown(name string, timeout time.Duration) error {
	return sc.depart(name, timeout, (*node.Node).Shutdown)
}

// StepDown has a node hand its slots to their backups and end, for a while.
func (sc *Cluster) StepDown(name string, timeout time.Duration) error {
	return sc.depart(name, timeout, (*node.Node).StepDown)
}

func (sc *Cluster) depart(name string, timeout time.Duration, how func(*node.Node, context.Context) error) error {
	h := sc.Host(name)
	if !h.isUp() {
		return fmt.Errorf("%s does not run", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := how(sc.Node(name), ctx)
	h.stop()
	return err
}

// Pause stalls a node: nothing it sends leaves and nothing reaches it, until
// Resume, when all of it arrives late. Its own code goes on meanwhile.
func (sc *Cluster) Pause(name string) { sc.Net.Pause(name) }

// Resume undoes Pause.
func (sc *Cluster) Resume(name string) { sc.Net.Resume(name) }

// Suspend is Pause of a machine whose monotonic clock stands still meanwhile.
func (sc *Cluster) Suspend(name string) {
	sc.Host(name).Clock.Sleep(true)
	sc.Net.Pause(name)
}

// Wake undoes Suspend.
func (sc *Cluster) Wake(name string) {
	sc.Host(name).Clock.Sleep(false)
	sc.Net.Resume(name)
}

// Isolate cuts a host off from all others.
func (sc *Cluster) Isolate(name string) { sc.Net.Isolate(name) }

// Cut cuts two hosts off from each other.
func (sc *Cluster) Cut(a, b string) { sc.Net.Cut(a, b) }

// Heal undoes all cuts and isolations.
func (sc *Cluster) Heal() { sc.Net.HealAll() }
