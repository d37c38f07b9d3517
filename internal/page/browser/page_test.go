package browser_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

var shots = flag.String("shots", "", "directory to write screenshots to")

// browserPath finds a Chromium, or skips the test.
func browserPath(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no Chromium is installed (Debian: apt-get install chromium), so the page was not tested")
	return ""
}

// tab opens a page in a browser of its own; whatever its console complains
// about fails the test.
func tab(t *testing.T, width, height int) context.Context {
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browserPath(t)), chromedp.NoSandbox, chromedp.WindowSize(width, height), chromedp.Flag("hide-scrollbars", true),
		chromedp.WSURLReadTimeout(2*time.Minute)) // a busy machine takes long to start it
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	chromedp.ListenTarget(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page threw %v", ev.ExceptionDetails)
		case *log.EventEntryAdded:
			if ev.Entry.Level == log.LevelError {
				t.Errorf("the browser complains: %s (%s)", ev.Entry.Text, ev.Entry.URL)
			}
		}
	})
	return ctx
}

func run(t *testing.T, ctx context.Context, what string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// eventually waits until a script gives true.
func eventually(t *testing.T, ctx context.Context, what, script string) {
	t.Helper()
	if err := chromedp.Run(ctx, chromedp.Poll(script, nil, chromedp.WithPollingTimeout(time.Minute))); err != nil {
		var now string
		_ = chromedp.Run(ctx, chromedp.Text("body", &now))
		t.Fatalf("%s: %v; the page says:\n%s", what, err, now)
	}
}

func shoot(t *testing.T, ctx context.Context, name string) {
	if *shots == "" {
		return
	}
	var png []byte
	run(t, ctx, "screenshot", chromedp.FullScreenshot(&png, 100))
	if err := os.WriteFile(filepath.Join(*shots, name), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func scheme(name string) chromedp.Action {
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}})
}

func serve(t *testing.T, c *slotmesh.Cache) string {
	server := httptest.NewServer(http.StripPrefix("/cache", c.Handler()))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL + "/cache/debug/slotmesh"
}

// traffic calls until the test ends.
func traffic(t *testing.T, caches []*slotmesh.Cache) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			key := fmt.Sprintf("order:%d", i*i%5000)
			if i%4 == 0 {
				key = fmt.Sprintf("cart:{%d}", i%3*i%7)
			}
			c := caches[i%len(caches)]
			if _, err := c.Get(ctx, key); errors.Is(err, slotmesh.ErrNotFound) {
				_ = c.Set(ctx, key, make([]byte, 300+i%900))
			}
			if i%50 == 0 {
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func TestPageShowsTheClusterLive(t *testing.T) {
	browserPath(t)
	caches := slotmeshtest.Start(t, 3, slotmesh.WithCluster("orders"), slotmesh.WithSlowCalls(3*time.Millisecond), slotmesh.WithNearCache(8<<20))
	traffic(t, caches)
	ctx := tab(t, 1400, 1000)
	run(t, ctx, "open the page", scheme("light"), chromedp.Navigate(serve(t, caches[0])))
	eventually(t, ctx, "the cluster is told to be well", `document.querySelector("#state").textContent === "✓ ok"`)
	eventually(t, ctx, "all slots are covered", `document.querySelector("#t-slots").textContent === "16,384"`)
	eventually(t, ctx, "three nodes are listed", `document.querySelectorAll("#nodes tr").length === 3 && document.querySelectorAll("#legend button").length === 3`)
	eventually(t, ctx, "calls are counted", `parseFloat(document.querySelector("#t-calls").textContent) > 0`)
	eventually(t, ctx, "every node reports", `[...document.querySelectorAll("#nodes tr")].every(r => r.cells[9].textContent.includes("iB"))`)
	eventually(t, ctx, "hot keys are listed", `[...document.querySelectorAll("#hotkeys .key")].some(c => c.textContent.startsWith("cart:"))`)
	eventually(t, ctx, "the near cache is shown", `document.querySelector("#near").offsetParent && / keys of others, .*B$/.test(document.querySelector("#t-near-sub").textContent) && /^[1-9].* keys granted, .* revoked \/s$/.test(document.querySelector("#t-near-grants").textContent)`)
	eventually(t, ctx, "events are listed", `[...document.querySelectorAll("#events tr")].some(r => r.textContent.includes("node opened"))`)

	// The map is drawn in as many colours as there are nodes.
	var colors int
	run(t, ctx, "count the colours", chromedp.Evaluate(`(() => {
		const c = document.querySelector("#map"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, seen = new Map();
		for (let i = 0; i < d.length; i += 4) { const k = d[i] + "," + d[i+1] + "," + d[i+2]; seen.set(k, (seen.get(k) || 0) + 1); }
		return [...seen.values()].filter(n => n > d.length / 4 / 10).length;
	})()`, &colors))
	if colors < 3 || colors > 5 {
		t.Errorf("the map has %d frequent colours, want one for each of 3 nodes, and the gaps", colors)
	}

	// Pointing at a slot tells of it.
	run(t, ctx, "point at the map", chromedp.ActionFunc(func(ctx context.Context) error {
		var box struct{ X, Y float64 }
		if err := chromedp.Evaluate(`(() => { const b = document.querySelector("#map").getBoundingClientRect(); return {X: b.left + 1, Y: b.top + 1}; })()`, &box).Do(ctx); err != nil {
			return err
		}
		return chromedp.MouseEvent("mouseMoved", box.X, box.Y).Do(ctx)
	}))
	var where string
	run(t, ctx, "read what it says", chromedp.Text("#where", &where))
	owner, err := ownerOf(caches[0], 0)
	if err != nil || !strings.HasPrefix(where, "Slot 0\nprimary "+owner+"\n") || !strings.Contains(where, "range 0") {
		t.Errorf("pointing at slot 0, served by %s, says %q (%v)", owner, where, err)
	}

	// The keyboard moves over the map as well, and lights nodes up.
	run(t, ctx, "press keys", chromedp.Focus("#map"), chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight))
	eventually(t, ctx, "the keyboard moves over slots", `/^Slot [1-3]\n/.test(document.querySelector("#where").textContent)`)
	run(t, ctx, "focus a node", chromedp.Focus("#legend button"))
	eventually(t, ctx, "a node's slots are told", `/^n1: primary of 5,46\d slots/.test(document.querySelector("#where").textContent)`)
	run(t, ctx, "leave the node", chromedp.Evaluate(`document.activeElement.blur()`, nil))
	shoot(t, ctx, "page-light.png")
	run(t, ctx, "turn dark", scheme("dark"))
	eventually(t, ctx, "it is dark", `getComputedStyle(document.body).backgroundColor === "rgb(14, 19, 25)"`)
	run(t, ctx, "order by node", chromedp.Evaluate(`document.querySelector("input[value=node]").click()`, nil))
	shoot(t, ctx, "page-dark.png")

	// News arrive by themselves.
	if err := caches[2].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "a dead node is told of", `[...document.querySelectorAll("#events tr")].some(r => r.textContent.includes("node counts as dead"))`)
	shoot(t, ctx, "page-failover.png")
	eventually(t, ctx, "the survivors hold everything", `document.querySelector("#state").textContent === "✓ ok" && document.querySelectorAll("#legend button").length === 2`)
}

func TestPageFitsANarrowWindow(t *testing.T) {
	browserPath(t)
	caches := slotmeshtest.Start(t, 1)
	ctx := tab(t, 390, 844)
	run(t, ctx, "open the page", chromedp.EmulateViewport(390, 844), chromedp.Navigate(serve(t, caches[0])))
	eventually(t, ctx, "the page is ready", `document.body.dataset.ready === "true"`)
	var over int
	run(t, ctx, "measure", chromedp.Evaluate(`document.documentElement.scrollWidth - innerWidth`, &over))
	eventually(t, ctx, "a near cache that there is not is not shown", `document.querySelector("#near").offsetParent === null`)
	if over > 0 {
		t.Errorf("the page is %d pixels wider than the window", over)
	}
	shoot(t, ctx, "page-narrow.png")
}

func TestPageCanBeUsedWithoutSeeingIt(t *testing.T) {
	browserPath(t)
	caches := slotmeshtest.Start(t, 1)
	ctx := tab(t, 1000, 800)
	run(t, ctx, "open the page", chromedp.Navigate(serve(t, caches[0])))
	eventually(t, ctx, "the page is ready", `document.body.dataset.ready === "true"`)
	var faults []string
	run(t, ctx, "look for faults", chromedp.Evaluate(`(() => {
		const faults = [], named = e => e.getAttribute("aria-label") || e.textContent.trim() || [...(e.labels || [])].some(l => l.textContent.trim());
		if (!document.documentElement.lang) faults.push("no language");
		for (const e of document.querySelectorAll("button, input, a")) if (!named(e)) faults.push("no name: " + e.outerHTML);
		for (const e of document.querySelectorAll("section")) if (!e.getAttribute("aria-label") && !document.getElementById(e.getAttribute("aria-labelledby"))) faults.push("no name: " + e.outerHTML.slice(0, 80));
		for (const e of document.querySelectorAll("th")) if (!e.getAttribute("scope")) faults.push("no scope: " + e.textContent);
		if (!/16384 slots by primary: n1 16384/.test(document.querySelector("#map").getAttribute("aria-label"))) faults.push("the map does not say what it shows: " + document.querySelector("#map").getAttribute("aria-label"));
		const lum = c => { const [r, g, b] = c.match(/[\d.]+/g).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
		for (const e of document.querySelectorAll("h1, h2, dt, dd b, .sub, th, td, button, .state, .tag, .where, small")) {
			if (!e.textContent.trim() || !e.offsetParent) continue;
			let at = e, bg = "rgba(0, 0, 0, 0)";
			while (at && /, 0\)$/.test(bg)) { bg = getComputedStyle(at).backgroundColor; at = at.parentElement; }
			const a = lum(getComputedStyle(e).color), b = lum(bg), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			if (ratio < 4.5) faults.push("contrast " + ratio.toFixed(2) + ": " + e.textContent.trim().slice(0, 30) + " " + getComputedStyle(e).color + " on " + bg);
		}
		return [...new Set(faults)];
	})()`, &faults))
	for _, f := range faults {
		t.Error(f)
	}
	// From the top, Tab reaches the map.
	var reached bool
	for range 12 {
		run(t, ctx, "press Tab", chromedp.KeyEvent("\t"), chromedp.Evaluate(`document.activeElement.id === "map"`, &reached))
		if reached {
			break
		}
	}
	if !reached {
		t.Error("Tab does not reach the map")
	}
}

// ownerOf returns the name of the node that serves a slot.
func ownerOf(c *slotmesh.Cache, slot uint16) (string, error) {
	for s := range c.Cluster().Slots() {
		if s.Number == slot {
			return s.Primary, nil
		}
	}
	return "", fmt.Errorf("there is no slot %d", slot)
}
