// Rolling deploys a fleet of four twice under load, and looks whether anybody
// noticed:
//
//	go run ./examples/rolling
//
// It starts four replicas of itself as processes of their own, fills them, and
// keeps reading and writing through them as a load balancer would: a replica
// gets calls once it is ready, and none any more before it is told to leave.
// Then each process is replaced by a new one with a new name, one after another,
// and all of that a second time. A newcomer asks for the seat of the replica
// that it replaces (slotmesh.WithSeat), so that each record moves about once in
// a rollout. Errors, lost writes and misses end the program with exit code 1.
//
// On a terminal it shows the fleet at work, elsewhere it prints a line for each
// change. main.go tells the story, fleet.go runs the processes, load.go calls
// and checks, screen.go shows, and replica.go is what would be your service.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"
)

const (
	seats    = 4
	rollouts = 2
	runLimit = 2 * time.Minute // ends a run that hangs
)

func main() {
	if name := os.Getenv(replicaEnv); name != "" {
		serveReplica(name)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, runLimit, errors.New("not done within "+runLimit.String()))
	defer cancel()
	if err := run(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		fmt.Fprintln(os.Stderr, "rolling: FAILED:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	f := &fleet{}
	defer f.stop()
	s := newScreen(os.Stdout)
	for seat := range seats {
		r, err := f.start(ctx, seat, 1)
		if err != nil {
			return err
		}
		f.serve(r)
	}
	if err := f.awaitRest(ctx); err != nil {
		return err
	}
	s.event("%d replicas are up", seats)
	l := newLoad(f)
	if err := l.fill(ctx); err != nil {
		return err
	}
	s.event("%s records of %d bytes are in the cache, each with a backup", thousands(keys), valueSize)
	before, err := f.copied(ctx)
	if err != nil {
		return err
	}

	l.start()
	shown := s.show(ctx, func(ctx context.Context) []string { return f.table(ctx, l) })
	err = deploy(ctx, f, l, s)
	l.stop()
	shown()
	if err != nil {
		return err
	}
	if err := l.readAll(ctx); err != nil {
		return err
	}
	after, err := f.copied(ctx)
	if err != nil {
		return err
	}
	t := l.tally()
	s.event("copied %.1f times what the fleet holds; %d rollouts copy it %d times at least", float64(after-before)/float64(2*keys*valueSize), rollouts, rollouts)
	s.event("%s", t)
	if err := t.verdict(); err != nil {
		return err
	}
	s.event("rolling: ok, nobody noticed")
	return nil
}

// deploy replaces all replicas, one after another, as often as rollouts says.
func deploy(ctx context.Context, f *fleet, l *load, s *screen) error {
	for version := 2; version <= rollouts+1; version++ {
		began := time.Now()
		for seat := range seats {
			old := f.holder(seat)
			newcomer, err := f.start(ctx, seat, version)
			if err != nil {
				return err
			}
			f.serve(newcomer)
			left := time.Now()
			if err := f.leave(ctx, old); err != nil {
				return err
			}
			took := time.Since(left)
			if err := f.awaitRest(ctx); err != nil {
				return err
			}
			t := l.tally()
			s.event("%s (process %d) replaced %s, which left in %v; %s calls, %d errors, %d lost", newcomer.name, newcomer.cmd.Process.Pid,
				old.name, took.Round(time.Millisecond), thousands(t.reads+t.writes), t.errors, t.lost)
		}
		s.event("rollout of v%d took %v", version, time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}
