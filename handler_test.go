package slotmesh_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// ask makes a request of a handler.
func ask(h http.Handler, method, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandlerAnswersInWhatIsAccepted(t *testing.T) {
	h := slotmeshtest.Start(t, 1)[0].Handler()
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
	for _, tt := range []struct {
		name, method, path, accept string
		code                       int
		kind                       string
	}{
		{"probe", "GET", "/healthz", "", 200, "text/plain"},
		{"probe of curl", "GET", "/healthz", "*/*", 200, "text/plain"},
		{"probe as JSON", "GET", "/healthz", "application/json", 200, "application/json"},
		{"probe in a browser", "GET", "/healthz", browser, 200, "text/plain"},
		{"JSON preferred", "GET", "/healthz", "text/plain;q=0.5, application/json", 200, "application/json"},
		{"JSON refused", "GET", "/debug/slotmesh", "application/json;q=0, */*", 200, "text/html"},
		{"head", "HEAD", "/readyz", "", 200, "text/plain"},
		{"page", "GET", "/debug/slotmesh", browser, 200, "text/html"},
		{"page with a slash", "GET", "/debug/slotmesh/", browser, 200, "text/html"},
		{"page as JSON", "GET", "/debug/slotmesh", "application/json", 200, "application/json"},
		{"what there is not", "GET", "/debug/slotmesh", "image/png", 406, "text/plain"},
		{"writing", "POST", "/healthz", "", 405, "text/plain"},
		{"elsewhere", "GET", "/debug/other", "", 404, "text/plain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(h, tt.method, tt.path, tt.accept)
			if kind := w.Header().Get("Content-Type"); w.Code != tt.code || !strings.HasPrefix(kind, tt.kind) {
				t.Errorf("%s %s (Accept %q) = %d %s, want %d %s", tt.method, tt.path, tt.accept, w.Code, kind, tt.code, tt.kind)
			}
		})
	}
	page := ask(h, "GET", "/debug/slotmesh", browser)
	policy := page.Header().Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("the page's policy is %q, want nothing but its own script", policy)
	}
	if body := page.Body.String(); strings.Contains(body, "http://") || strings.Contains(body, "https://") || strings.Contains(body, "//cdn") {
		t.Error("the page asks for something from elsewhere")
	}
}

func TestProbesTellTheState(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2)
	h := caches[0].Handler()
	for _, path := range []string{"/healthz", "/readyz", "/safez"} {
		if w := ask(h, "GET", path, ""); w.Code != 200 || w.Body.String() != "ok\n" {
			t.Errorf("%s of a cluster at rest = %d %q, want ok", path, w.Code, w.Body)
		}
	}
	set(t, caches[0], "key", "value")
	if err := caches[1].Close(); err != nil {
		t.Fatal(err)
	}
	slotmeshtest.Await(t, "the survivor is ready and not safe to stop", func() error {
		safe, ready := ask(h, "GET", "/safez", "application/json"), ask(h, "GET", "/readyz", "")
		if safe.Code != 503 || !strings.Contains(safe.Body.String(), `"reasons": [`) {
			return fmt.Errorf("/safez = %d %s", safe.Code, safe.Body)
		}
		if ready.Code != 200 {
			return fmt.Errorf("/readyz = %d %s", ready.Code, ready.Body)
		}
		return nil
	})
	if err := caches[0].Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if w := ask(h, "GET", path, ""); w.Code != 503 || !strings.Contains(w.Body.String(), "closed") {
			t.Errorf("%s of a closed node = %d %q, want 503 and why", path, w.Code, w.Body)
		}
	}
}

func TestPageAsJSONShowsTheCluster(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3, slotmesh.WithCluster("orders"))
	set(t, caches[0], "key", "value")
	w := ask(caches[0].Handler(), "GET", "/debug/slotmesh", "application/json")
	var v struct {
		Cluster, State string
		Nodes          []struct {
			Name                       string
			Primaries, Backups, Memory int
			Reported                   bool
		}
		Slots struct{ Primary, Backup map[string]string }
		Calls []struct {
			Op    string
			Count int
		}
		Events []struct{ Name string }
		Moves  struct{ Progress float64 }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if v.Cluster != "orders" || v.State != "ok" || len(v.Nodes) != 3 || v.Moves.Progress != 1 || len(v.Events) == 0 || len(v.Calls) == 0 {
		t.Errorf("the page shows %+v", v)
	}
	primaries, listed := 0, 0
	for _, n := range v.Nodes {
		primaries += n.Primaries
		if !n.Reported || n.Memory == 0 {
			t.Errorf("node %+v did not report", n)
		}
		for part := range strings.SplitSeq(v.Slots.Primary[n.Name], ",") {
			var from, to int
			if k, _ := fmt.Sscanf(part, "%d-%d", &from, &to); k == 1 {
				to = from
			}
			listed += to - from + 1
		}
	}
	if primaries != 16384 || listed != 16384 {
		t.Errorf("%d primaries and %d slots are listed, want 16384", primaries, listed)
	}
}

// A view is kept for all who look: also one that was made for somebody who has gone.
func TestPageOfSomebodyGoneIsWhole(t *testing.T) {
	parallel(t)
	h := slotmeshtest.Start(t, 2)[0].Handler()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/debug/slotmesh", nil)
	r.Header.Set("Accept", "application/json")
	h.ServeHTTP(w, r.WithContext(gone))
	if got := strings.Count(w.Body.String(), `"reported": true`); got != 2 {
		t.Errorf("%d of 2 nodes reported", got)
	}
}

// The page marks the slots that Health counts: one that waits for another's seat is
// nobody who could hold a backup.
func TestPageMarksWhatHealthCounts(t *testing.T) {
	parallel(t)
	const cluster = "seats"
	caches := slotmeshtest.Start(t, 2, slotmesh.WithCluster(cluster), slotmesh.WithBackups(2))
	next := open(t, slotmesh.WithName("next"), slotmesh.WithSeat("n2"), slotmesh.WithCluster(cluster), slotmesh.WithBackups(2),
		slotmesh.WithSeeds(caches[0].Cluster().Self().Addr))
	awaitBalance(t, next, 3)
	var v struct {
		State string
		Slots struct{ NoPrimary, ShortBackups, Moving string }
	}
	w := ask(next.Handler(), "GET", "/debug/slotmesh", "application/json")
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if v.State != "ok" || v.Slots.NoPrimary+v.Slots.ShortBackups+v.Slots.Moving != "" {
		t.Errorf("of a cluster at rest the page shows %+v", v)
	}
}

func TestPageFollowsTheCluster(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 2)
	server := httptest.NewServer(caches[0].Handler())
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/debug/slotmesh", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	rsp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	lines := bufio.NewScanner(rsp.Body)
	lines.Buffer(nil, 4<<20)
	next := func() (v struct {
		Slots struct {
			Unchanged bool
			Primary   map[string]string
		}
	}) {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &v); err != nil {
					t.Fatal(err)
				}
				return v
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return v
	}
	if first := next(); len(first.Slots.Primary) != 2 {
		t.Errorf("the first event lists slots of %d nodes, want 2", len(first.Slots.Primary))
	}
	// Roles may still move between the first events; then an event has them all.
	for at := 2; ; at++ {
		event := next()
		if event.Slots.Unchanged {
			if event.Slots.Primary != nil {
				t.Error("an event repeats the slots, which have not changed")
			}
			break
		}
		if at > 20 {
			t.Fatal("each event repeats the slots, which have not changed")
		}
	}
	if err := caches[0].Close(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, rsp.Body); done <- err }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("the stream outlives the cache")
	}
}
