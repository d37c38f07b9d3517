//go:build !race || slow

package slotmesh_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func eventNames(c *slotmesh.Cache) (names []string) {
	for _, e := range c.Events() {
		names = append(names, e.Name)
	}
	return names
}

func TestEventsTellOfEveryChange(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3, slotmesh.WithBootstrapExpect(0)) // one after the other, so that slots move
	if err := caches[2].Close(); err != nil {
		t.Fatal(err)
	}
	slotmeshtest.Await(t, "the survivors tell what happened", func() error {
		names := append(eventNames(caches[0]), eventNames(caches[1])...)
		for _, want := range []string{
			"node opened", "member joined", "slots opened", "slots are on their way", "slots are where they should be",
			"node counts as dead", "slots claimed", "backups dropped", "backups added",
		} {
			if !slices.Contains(names, want) {
				return fmt.Errorf("no %q among %q", want, names)
			}
		}
		return nil
	})
	if names := eventNames(caches[2]); names[len(names)-1] != "node closed" {
		t.Errorf("the closed node tells %q, want node closed at the end", names)
	}
}

// TestEventsAreDocumented keeps docs/observability.md complete.
func TestEventsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("internal/node/events.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^\tevent\w+ += "(.+)"$`).FindAllSubmatch(source, -1)
	if len(names) < 20 {
		t.Fatalf("found %d names of events in the source, want all", len(names))
	}
	for _, m := range names {
		if !bytes.Contains(doc, []byte("| `"+string(m[1])+"` |")) {
			t.Errorf("docs/observability.md does not list the event %q", m[1])
		}
	}
	logged := regexp.MustCompile(`(?:[lL]og(?:ger)?\.(?:Info|Warn|Error)\(|logs\.add\(slog\.Level(?:Info|Warn|Error), )"([^"]+)"`)
	for _, dir := range []string{".", "internal/node", "transport", "gossip", "store/pebblestore"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			if source, err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
			for _, m := range logged.FindAllSubmatch(source, -1) {
				if !bytes.Contains(doc, []byte("`"+string(m[1])+"`")) {
					t.Errorf("docs/observability.md does not name %q, which %s logs", m[1], file)
				}
			}
		}
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSlowCallsAreLoggedWithoutKeys(t *testing.T) {
	var log logBuffer
	caches := slotmeshtest.Start(t, 2,
		slotmesh.WithLogger(slog.New(slog.NewTextHandler(&log, nil))), slotmesh.WithSlowCalls(time.Nanosecond))
	for i := range 50 {
		set(t, caches[0], fmt.Sprint("secret", i), "value")
	}
	slow := caches[0].SlowCalls()
	if len(slow) == 0 || len(slow) > 64 || caches[0].Stats().SlowCalls < uint64(len(slow)) {
		t.Fatalf("%d slow calls kept of %d", len(slow), caches[0].Stats().SlowCalls)
	}
	i := slices.IndexFunc(slow, func(s slotmesh.SlowCall) bool { return s.Source == "remote" })
	if i < 0 || slow[i].Op != "set" || slow[i].Peer == "" || slow[i].Took <= 0 || slow[i].Attempts == 0 {
		t.Errorf("slow calls are %+v, want a remote set with its peer", slow)
	}
	if text := log.String(); !strings.Contains(text, `msg="slow call" op=set`) || strings.Contains(text, "secret") {
		t.Errorf("the log has no slow call, or a key: %s", text)
	}
	if lines := strings.Count(log.String(), "slow call"); lines > 20 {
		t.Errorf("%d lines for 50 slow calls at once, want few", lines)
	}
}

func TestNoSlowCallsWhereOff(t *testing.T) {
	c := open(t, slotmesh.WithSlowCalls(0))
	set(t, c, "key", "value")
	if s := c.SlowCalls(); len(s) != 0 {
		t.Errorf("slow calls are %+v, want none", s)
	}
}
