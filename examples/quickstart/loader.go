package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
)

const (
	workers  = 32
	attempts = 5 // of one write or read, each through another replica
)

// loader moves the files through the fleet and checks them.
type loader struct {
	fleet *fleet
	files []file
	out   *report
	via   []*replica // by file: the replica that its last write went through
}

// each calls fn for every file, many at a time, until one fails.
func (l *loader) each(ctx context.Context, what string, fn func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	bar := l.out.progress(what, len(l.files))
	defer bar.finish()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { // ends at the last file or the first failure
			for i := int(next.Add(1)) - 1; i < len(l.files) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := fn(ctx, i); err != nil {
					cancel(err)
				}
				bar.add(1)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// writeAll is the first pass.
func (l *loader) writeAll(ctx context.Context) error {
	l.via = make([]*replica, len(l.files))
	began := time.Now()
	err := l.each(ctx, "writing", func(ctx context.Context, i int) error {
		_, err := l.write(ctx, i, 1)
		return err
	})
	if err != nil {
		return err
	}
	l.out.line("written in %s, each acknowledged when two replicas had it", round(time.Since(began)))
	return nil
}

// verifyAll reads every key through another replica than wrote it and compares
// with what the pass wrote.
func (l *loader) verifyAll(ctx context.Context, pass int) error {
	began := time.Now()
	err := l.each(ctx, "reading", func(ctx context.Context, i int) error { return l.verify(ctx, i, pass) })
	if err != nil {
		return err
	}
	l.out.line("all %s checksums match, read in %s", count(len(l.files)), round(time.Since(began)))
	return nil
}

// write stores what pass makes of a file through a random replica, and through
// another one if that is lost on the way: the outcome is unknown then, but the
// value is the same.
func (l *loader) write(ctx context.Context, i, pass int) (repeats int, err error) {
	f := &l.files[i]
	for ; repeats < attempts; repeats++ {
		r := pick(l.fleet.alive(), nil)
		err = r.call(ctx, "Put", PutArgs{f.key, f.path, pass}, &struct{}{})
		if err == nil {
			l.via[i] = r
			return repeats, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return repeats, fmt.Errorf("write %s: %w", f.key, err)
}

func (l *loader) verify(ctx context.Context, i, pass int) error {
	f := &l.files[i]
	var err error
	for range attempts {
		var sum Sum
		r := pick(l.fleet.alive(), l.via[i])
		err = r.call(ctx, "Get", f.key, &sum)
		switch {
		case err == nil && sum == f.sums[pass]:
			return nil
		case err == nil && pass == 2 && sum == f.sums[1]:
			return fmt.Errorf("%s: %s returned the old value: an acknowledged write is missing", f.key, r.name)
		case err == nil:
			return fmt.Errorf("%s: %s returned another value than was written, unless %s has changed meanwhile",
				f.key, r.name, f.path)
		case !errors.Is(err, errReplicaGone):
			return fmt.Errorf("read %s through %s: %w", f.key, r.name, err)
		}
	}
	return fmt.Errorf("read %s: %w", f.key, err)
}

// pick returns a random replica, not the one to avoid where there is another.
func pick(from []*replica, avoid *replica) *replica {
	i := rand.IntN(len(from))
	if from[i] == avoid {
		i = (i + 1) % len(from)
	}
	return from[i]
}

// failover is what the second pass measures.
type failover struct {
	victim string
	table  *slotTable

	mu       sync.Mutex // guards what follows
	killed   time.Time  // zero before
	resumed  time.Duration
	slowest  time.Duration
	affected int // writes to the victim's slots that began after the kill
	repeated int
}

// rewriteWithKill is the second pass. The victim is the replica that started
// first and was everybody's seed: nothing depends on it.
func (l *loader) rewriteWithKill(ctx context.Context, before *slotTable) error {
	victim := l.fleet.alive()[0]
	m := &failover{victim: victim.name, table: before}
	half := len(l.files) / 2
	began := time.Now()
	err := l.each(ctx, "rewriting", func(ctx context.Context, i int) error {
		if i == half {
			if err := l.fleet.kill(victim); err != nil {
				return err
			}
			m.kill()
		}
		if err := m.time(l.files[i].key, func() (int, error) { return l.write(ctx, i, 2) }); err != nil {
			return err
		}
		return l.verify(ctx, i, 2)
	})
	if err != nil {
		return err
	}
	l.out.line("%s was killed; it served %s slots", m.victim, count(before.primaries[m.victim]))
	if m.affected == 0 {
		l.out.line("no later write met its slots: the input is too small to time the failover")
	} else {
		l.out.line("writes to its slots went on after %s; the slowest of %s took %s",
			round(m.resumed), count(m.affected), round(m.slowest))
	}
	if m.repeated > 0 {
		l.out.line("%s writes under way in the killed process were repeated through another", count(m.repeated))
	}
	l.out.line("%s writes, each read at once through another replica, in %s",
		count(len(l.files)), round(time.Since(began)))
	return nil
}

func (m *failover) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.killed = time.Now()
}

// time runs a write and takes its time if it meets a slot of the victim and
// began after the kill.
func (m *failover) time(key string, write func() (repeats int, err error)) error {
	m.mu.Lock()
	killed := m.killed
	m.mu.Unlock()
	began := time.Now()
	repeats, err := write()
	took := time.Since(began)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.repeated += repeats
	if err != nil || killed.IsZero() || m.table.primary[hashtag.Slot(key)] != m.victim {
		return err
	}
	if since := time.Since(killed); m.affected == 0 || since < m.resumed {
		m.resumed = since
	}
	m.affected++
	m.slowest = max(m.slowest, took)
	return nil
}
