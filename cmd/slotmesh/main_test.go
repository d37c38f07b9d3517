package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fleet is three nodes in this process, and what runs the program on them.
type fleet struct {
	t      *testing.T
	caches []*slotmesh.Cache
	env    map[string]string
}

const testCluster = "cli"

func newFleet(t *testing.T, n int, opts ...slotmesh.Option) *fleet {
	t.Helper()
	caches := slotmeshtest.Start(t, n, append([]slotmesh.Option{slotmesh.WithCluster(testCluster)}, opts...)...)
	return &fleet{t, caches, map[string]string{"SLOTMESH_JOIN": caches[0].Cluster().Self().Addr, "SLOTMESH_CLUSTER": testCluster}}
}

// run runs the program with nothing on standard input.
func (f *fleet) run(args ...string) (code int, out, errOut string) {
	f.t.Helper()
	return f.feed("", args...)
}

func (f *fleet) feed(in string, args ...string) (code int, out, errOut string) {
	f.t.Helper()
	var o, e bytes.Buffer
	code = run(f.t.Context(), args, func(k string) string { return f.env[k] }, io.Reader(strings.NewReader(in)), &o, &e)
	return code, o.String(), e.String()
}

// want runs the program and expects an exit code and an output.
func (f *fleet) want(code int, out string, args ...string) {
	f.t.Helper()
	gotCode, gotOut, gotErr := f.run(args...)
	if gotCode != code || gotOut != out {
		f.t.Errorf("slotmesh %s: exit %d, output %q, errors %q; want %d, %q", strings.Join(args, " "), gotCode, gotOut, gotErr, code, out)
	}
}

// masks hide what differs from run to run. Blanks follow from widths.
var masks = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDR"},
	{regexp.MustCompile(`"id": "[0-9a-f]{32}"`), `"id": "ID"`},
	{regexp.MustCompile(`\d+(\.\d+)? ([KMG]i)?B\b`), "SIZE"},
	{regexp.MustCompile(`\b(\d+m)?\d+(\.\d+)?(ms|µs|s)\b`), "TIME"},
	{regexp.MustCompile(`"(memory_bytes|uptime_seconds|round_trip_ms|promotions)": [\d.]+`), `"$1": N`},
	{regexp.MustCompile(`(memory_bytes|promotions):\d+`), "$1:N"},
	{regexp.MustCompile(`version \d+`), "version N"},
	{regexp.MustCompile(`epoch \d+`), "epoch N"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "CLOCK"},
	{regexp.MustCompile(` {2,}`), "  "},
}

func masked(s string) string {
	for _, m := range masks {
		s = m.re.ReplaceAllString(s, m.by)
	}
	return s
}

// golden compares the masked output of the program with a file. It tries again
// where they differ: nodes on a busy machine may be without their leases for a
// moment, and say so.
func (f *fleet) golden(name string, args ...string) {
	f.t.Helper()
	line := strings.Join(args, " ")
	slotmeshtest.Await(f.t, "slotmesh "+line+" prints what it should", func() error {
		code, out, errOut := f.run(args...)
		if code != exitOK || errOut != "" {
			return fmt.Errorf("exit %d, output %s, errors %q; want 0 and none", code, out, errOut)
		}
		return matches(name, "$ slotmesh "+line+"\n"+masked(out))
	})
}

// matches says where got differs from a file, or writes the file.
func matches(name, got string) error {
	file := filepath.Join("testdata", name+".golden")
	if *update {
		return os.WriteFile(file, []byte(got), 0o644)
	}
	want, err := os.ReadFile(file)
	if err == nil && got != string(want) {
		err = fmt.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
	return err
}

// TestFleetOfThree runs the commands one after another on one fleet.
func TestFleetOfThree(t *testing.T) {
	f := newFleet(t, 3)
	for _, tt := range []struct {
		name string
		test func(*testing.T, *fleet)
	}{
		{"looks", looksAtIt}, {"keys and values", keysAndValues}, {"watches", watches}, {"asks before it hurts", asksFirst},
		{"moves slots", movesSlots}, {"bench leaves nothing", benchLeavesNothing}, {"visits leave nothing", visitsLeaveNothing},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, &fleet{t, f.caches, f.env}) })
	}
}

func looksAtIt(_ *testing.T, f *fleet) {
	f.golden("info", "info")
	f.golden("info_json", "info", "--check", "-o", "json")
	f.golden("nodes", "nodes")
	f.golden("nodes_json", "nodes", "-o", "json")
	f.golden("slots", "slots")
	f.golden("slots_some", "slots", "0-2", "12182")
	f.golden("doctor", "doctor", "--strict")
	f.golden("top", "top", "-n", "1", "--interval", "100ms")
}

// goName is a name in JSON that looks like one of Go.
var goName = regexp.MustCompile(`"[A-Z]\w*":`)

// visitsLeaveNothing: the nodes forget visitors, who moved no slot.
func visitsLeaveNothing(t *testing.T, f *fleet) {
	for _, c := range f.caches {
		slotmeshtest.Await(t, "the visitors are forgotten", func() error {
			if n := len(c.Cluster().Nodes()); n != 3 {
				return fmt.Errorf("%s sees %d nodes, want 3", c.Cluster().Self().Name, n)
			}
			return nil
		})
	}
}

func keysAndValues(t *testing.T, f *fleet) {
	f.want(exitOK, "12182\n", "keyslot", "foo")
	f.want(exitOK, "OK\n", "set", "{u}name", "Ann")
	f.want(exitOK, "Ann\n", "get", "{u}name")
	f.want(exitOK, "Ann", "get", "--raw", "{u}name")
	f.want(exitNotFound, "", "get", "{u}none")
	f.want(exitNotFound, "", "set", "{u}name", "Bob", "--if-absent")
	f.want(exitNotFound, "", "set", "{u}none", "Bob", "--if-present")
	f.want(exitOK, "OK\n", "set", "{u}name", "Bob", "--ttl", "1h")
	f.golden("explain", "explain", "{u}name")
	if _, out, _ := f.run("explain", "{u}name", "-o", "json"); !strings.Contains(out, `"state": "present"`) || goName.MatchString(out) {
		t.Errorf("explain -o json = %s, want names in lower case", out)
	}
	if code, out, errOut := f.feed("from\xffinput", "set", "{u}bin", "-"); code != exitOK || out != "OK\n" {
		t.Errorf("set from input: exit %d, %q, %q", code, out, errOut)
	}
	f.want(exitOK, "from\xffinput\n", "get", "{u}bin")
	_, out, _ := f.run("get", "{u}bin", "-o", "json")
	var item struct {
		Key    string
		Base64 []byte `json:"value_base64"`
	}
	if err := json.Unmarshal([]byte(out), &item); err != nil || item.Key != "{u}bin" || string(item.Base64) != "from\xffinput" {
		t.Errorf("get -o json = %s, %v", out, err)
	}
	_, out, _ = f.run("scan", "--tag", "u")
	if got := strings.Join(sorted(strings.Fields(out)), " "); got != "{u}bin {u}name" {
		t.Errorf("scan = %q, want both keys", out)
	}
	if _, out, _ = f.run("scan", "--limit", "1"); strings.Count(out, "\n") != 1 {
		t.Errorf("scan --limit 1 = %q, want one line", out)
	}
	if _, out, _ = f.run("scan", "--prefix", "{u}n", "--values"); out != "{u}name\tBob\n" {
		t.Errorf("scan --values = %q, want the one key with its value", out)
	}
	f.want(exitOK, "2\n", "del", "{u}name", "{u}bin", "{u}none")
}

func watches(_ *testing.T, f *fleet) {
	f.want(exitOK, "OK\n", "set", "{w}a", "1")
	f.want(exitOK, "set {w}a 1\nlive\n", "watch", "--tag", "w", "--snapshot", "--limit", "2")
	f.want(exitOK, "OK\n", "set", "wide:1", "2")
	f.want(exitOK, "set wide:1 2\nlive\n", "watch", "--prefix", "wide:", "--snapshot", "--limit", "2")
	f.want(exitOK, "1\n", "del", "wide:1")
	f.want(exitUsage, "", "watch")
}

func asksFirst(t *testing.T, f *fleet) {
	f.want(exitOK, "OK\n", "set", "p:1", "v")
	for _, args := range [][]string{{"del", "--prefix", "p:"}, {"bench", "--duration", "100ms"}} {
		if code, out, errOut := f.run(args...); code != exitDeclined || out != "" || !strings.Contains(errOut, "--yes") {
			t.Errorf("slotmesh %v: exit %d, %q, %q; want %d and a word on --yes", args, code, out, errOut, exitDeclined)
		}
	}
	f.want(exitOK, "v\n", "get", "p:1")
	f.want(exitOK, "1\n", "del", "--prefix", "p:", "--yes")
	f.want(exitNotFound, "", "get", "p:1")
}

// movesSlots has people decide where slots are, and undoes it.
func movesSlots(t *testing.T, f *fleet) {
	primary := func(slot, want string) {
		t.Helper()
		if _, out, _ := f.run("slots", slot, "-o", "json"); !strings.Contains(out, `"primary": "`+want+`"`) {
			t.Errorf("slot %s: %s, want it at %s", slot, out, want)
		}
	}
	primary("0", "n1")
	f.want(exitOK, "n2 serves 2 slots, which are pinned to it\n", "move", "0", "1", "n2")
	primary("0", "n2")
	f.want(exitOK, "WHAT       NODE  VALUE\npinned to  n2    0-1\n", "pins")
	if _, out, _ := f.run("pins", "-o", "json"); !strings.Contains(out, `"1": "n2"`) || goName.MatchString(out) {
		t.Errorf("pins -o json = %s, want names in lower case", out)
	}
	f.want(exitUsage, "", "move", "0", "nobody")
	f.want(exitDeclined, "", "failover", "2")
	f.want(exitOK, "1 slots were handed over; slotmesh unpin --all undoes it\n", "failover", "2", "--yes")
	primary("2", "n3")
	f.want(exitDeclined, "", "rebalance", "--drop-pins")
	f.want(exitOK, "every slot is where it should be\n", "rebalance", "--drop-pins", "--yes")
	primary("0", "n1")
	primary("2", "n1")
	f.want(exitDeclined, "", "pause")
	f.want(exitOK, "paused; slotmesh resume ends it\n", "pause", "--yes")
	if _, out, _ := f.run("info"); !strings.Contains(out, "paused:true") {
		t.Errorf("info while paused: %s, want paused:true", out)
	}
	f.want(exitOK, "resumed\n", "resume")
	f.want(exitUsage, "", "drain", "nobody", "--yes")
	f.want(exitOK, "n3 holds nothing; it may be stopped, or slotmesh weight n3 own undoes it\n", "drain", "n3", "--yes")
	if _, out, _ := f.run("slots", "--node", "n3", "-o", "json"); out != "[]\n" {
		t.Errorf("slots of a drained node: %s, want none", out)
	}
	f.want(exitOK, "the weight of n3 is own; slotmesh rebalance waits until slots have moved\n", "weight", "n3", "own")
	f.want(exitOK, "every slot is where it should be\n", "rebalance")
	f.want(exitOK, "WHAT  NODE  VALUE\n", "pins")
}

func benchLeavesNothing(t *testing.T, f *fleet) {
	f.want(exitOK, "1\n", "del", "{w}a")
	code, out, errOut := f.run("bench", "--yes", "--duration", "300ms", "--keys", "50", "--callers", "4", "-o", "json")
	var got map[string]figures
	if err := json.Unmarshal([]byte(out), &got); code != exitOK || err != nil {
		t.Fatalf("bench: exit %d, %q, %q, %v", code, out, errOut, err)
	}
	for kind, g := range got {
		if g.Calls == 0 || g.Errors != 0 || g.P50 <= 0 || g.P50 > g.P99 || g.P999 > g.Max {
			t.Errorf("bench of %s: %+v, want calls, no errors and times in order", kind, g)
		}
	}
	f.want(exitOK, "", "scan")
}

func TestCheckpointsOfNodes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	f := newFleet(t, 1, slotmesh.WithDataDir(dir))
	code, out, errOut := f.run("checkpoint", "--all", "--label", "now", "-o", "json")
	var got []struct{ Node, Dir string }
	if err := json.Unmarshal([]byte(out), &got); code != exitOK || err != nil || len(got) != 1 || got[0].Node != "n1" {
		t.Fatalf("checkpoint: exit %d, %q, %q, %v", code, out, errOut, err)
	}
	if _, err := os.Stat(got[0].Dir); err != nil || got[0].Dir != dir+"-checkpoints/now" {
		t.Errorf("checkpoint in %q: %v", got[0].Dir, err)
	}
	if code, _, errOut := f.run("checkpoint", "n1", "--label", "now"); code != exitUsage || !strings.Contains(errOut, "exists") {
		t.Errorf("checkpoint of a label twice: exit %d, %q; want 2", code, errOut)
	}
	if code, _, errOut := f.run("checkpoint", "n9"); code != exitUsage || !strings.Contains(errOut, "there are n1") {
		t.Errorf("checkpoint of nobody: exit %d, %q; want 2 and the names", code, errOut)
	}
}

func TestWrongUsage(t *testing.T) {
	f := &fleet{t: t, env: map[string]string{}}
	for _, args := range [][]string{
		{"nonsense"}, {"get"}, {"get", "a", "b"}, {"get", "k", "--nonsense"}, {"info", "-o", "xml"}, {"slots", "16384"}, {"slots", "5-3"}, {"del"},
		{"del", "k", "--prefix", "p"}, {"bench", "--callers", "0"}, {"top", "--interval", "1ms"}, {"info", "--timeout", "0"}, {"checkpoint"},
		{"info", "--secret-file", "/nonexistent"}, {"info", "--cluster", strings.Repeat("x", 65)}, {"info", "--join", ""}, {"info", "--join", "a,,b"},
		{"scan", "--limit", "-1"}, {"watch", "--key", "k", "--limit", "-1"}, {"top", "-n", "-1"}, {"help", "nonsense"}, {"completion", "nonsense"},
	} {
		if code, out, errOut := f.run(args...); code != exitUsage || out != "" || errOut == "" {
			t.Errorf("slotmesh %v: exit %d, %q, %q; want %d and an error", args, code, out, errOut, exitUsage)
		}
	}
	if code, _, errOut := f.run("info", "-j", "127.0.0.1:1", "--timeout", "200ms"); code != exitNoJoin || !strings.Contains(errOut, "127.0.0.1:1") {
		t.Errorf("info of nothing: exit %d, %q; want %d and the address", code, errOut, exitNoJoin)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if code := run(stopped, []string{"info"}, os.Getenv, strings.NewReader(""), io.Discard, io.Discard); code != exitStopped {
		t.Errorf("info interrupted: exit %d, want %d", code, exitStopped)
	}
	if code, out, errOut := f.run("help", "info"); code != exitOK || !strings.Contains(out, "--check") {
		t.Errorf("help info: exit %d, %q, %q; want the flags of info", code, out, errOut)
	}
	silent, end := io.Pipe() // of a terminal where nobody types
	defer end.Close()
	if code := run(stopped, []string{"set", "k", "-"}, os.Getenv, silent, io.Discard, io.Discard); code != exitStopped {
		t.Errorf("set from input interrupted: exit %d, want %d", code, exitStopped)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, errOut := f.run("completion", shell); code != exitOK || !strings.Contains(out, "slotmesh") {
			t.Errorf("completion %s: exit %d, %q", shell, code, errOut)
		}
	}
}
