package slotmesh_test

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// unhurried has nodes wait for one that a busy machine makes late, and calls for all of
// them, as slotmeshtest.Start does.
var unhurried = []slotmesh.Option{
	slotmesh.WithFailureTimeout(15 * time.Second), slotmesh.WithReplicationTimeout(15 * time.Second), slotmesh.WithOpTimeout(time.Minute),
}

// TestMain lets the test binary run itself again as another process: see
// process_test.go.
func TestMain(m *testing.M) {
	if seed := os.Getenv(childSeed); seed != "" {
		runChild(seed)
		return
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)*3/2)) // see parallel
	}
	os.Exit(m.Run())
}

// parallel lets a test run beside others, since clusters wait more than they
// compute.
func parallel(t *testing.T) {
	if !alone {
		t.Parallel()
	}
}

// await fails the test where cond does not hold within three minutes.
func await(t *testing.T, what string, cond func() error) {
	t.Helper()
	slotmeshtest.Await(t, what, cond)
}

// within fails the test where f takes longer than limit: far longer than it takes on a
// busy machine, and less than where it waits for something else.
func within(t *testing.T, limit time.Duration, what string, f func()) {
	t.Helper()
	began := time.Now()
	f()
	if took := time.Since(began); took > limit {
		t.Errorf("%s took %v, want at most %v", what, took, limit)
	}
}

// receive returns what comes from a channel, and fails the test where that takes longer
// than a call does that nobody answers.
func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(2 * time.Minute):
		t.Fatalf("waited two minutes for %s", what)
		panic("unreachable")
	}
}
