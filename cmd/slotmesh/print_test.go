package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSlotsReadAndWritten(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"7"}, "7"},
		{[]string{"0-3", "5", "4"}, "0-5"},
		{[]string{"16383,1,9-10"}, "1,9-10,16383"},
		{nil, ""},
	} {
		got, err := parseSlots(tt.args)
		if err != nil || formatSlots(got) != tt.want {
			t.Errorf("parseSlots(%q) = %v, %v, want %s", tt.args, got, err, tt.want)
		}
	}
	for _, bad := range []string{"x", "-1", "1-", "16384", "3-2", "1-99999"} {
		if got, err := parseSlots([]string{bad}); err == nil {
			t.Errorf("parseSlots(%q) = %v, want an error", bad, got)
		}
	}
}

func TestTextForPeople(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{size(0), "0 B"}, {size(999), "999 B"}, {size(1536), "1.5 KiB"}, {size(200 << 20), "200 MiB"}, {size(5 << 40), "5.0 TiB"},
		{count(0), "0"}, {count(999), "999"}, {count(1234567), "1,234,567"}, {count(-1234), "-1,234"},
		{ago(59 * time.Second), "59s"}, {ago(61 * time.Second), "1m01s"}, {ago(25 * time.Hour), "25h00m"}, {ago(75 * time.Hour), "3d3h"},
		{percent(1, 0), "-"}, {percent(1, 3), "33.3%"},
		{printable("plain key", 20), "plain key"}, {printable("", 20), `""`}, {printable("\x1b[31m", 20), `"\x1b[31m"`}, {printable("a\xff", 20), `"a\xff"`},
		{printable(strings.Repeat("é", 10), 5), "éé… (20 B)"}, {printable([]byte("line\nbreak"), 20), `"line\nbreak"`},
		{bar(0, 0), strings.Repeat("░", 10)}, {bar(45, 100), "████░░░░░░"}, {bar(200, 100), strings.Repeat("█", 10)},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestProgressTellsTheTimeLeft(t *testing.T) {
	p := progress{what: "keys", total: 400, last: 100}
	if got, want := p.text(10*time.Second), "[#######-----------------------]  25%  100 of 400 keys, 10s, about 30s left"; got != want {
		t.Errorf("text = %q, want %q", got, want)
	}
	p.total = 0
	if got, want := p.text(time.Minute), "100 keys, 1m00s"; got != want {
		t.Errorf("text without a total = %q, want %q", got, want)
	}
	p.total, p.last = 400, 500 // more than was expected
	if got := p.text(time.Second); !strings.HasPrefix(got, "["+strings.Repeat("#", barWidth)+"] 100%") {
		t.Errorf("text above the total = %q, want a full bar", got)
	}
}

// TestQuantilesAreCloseFromAbove compares with sorting.
func TestQuantilesAreCloseFromAbove(t *testing.T) {
	var l latencies
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]time.Duration, 20_000)
	for i := range all {
		all[i] = time.Duration(r.ExpFloat64() * float64(time.Millisecond))
		l.add(all[i])
	}
	slices.Sort(all)
	f := l.figures(2*time.Second, 3)
	if f.Calls != 20_000 || f.Rate != 10_000 || f.Errors != 3 || f.Max != float64(all[len(all)-1])/1000 {
		t.Errorf("figures %+v, want 20000 calls, 10000/s, 3 errors and the maximum", f)
	}
	for _, q := range []struct{ got, at float64 }{{f.P50, 0.5}, {f.P99, 0.99}, {f.P999, 0.999}} {
		exact := float64(all[int(q.at*20_000)]) / 1000
		if q.got < exact || q.got > exact*1.07 {
			t.Errorf("quantile %v = %v µs, want %v up to 7%% more", q.at, q.got, exact)
		}
	}
	for v := range uint64(1 << 12) {
		b := bucketOf(v)
		if ceiling(b) < v || b > 0 && ceiling(b-1) >= v {
			t.Fatalf("%d is in bucket %d, which ends at %d", v, b, ceiling(b))
		}
	}
}

func TestTopShowsRatesBetweenLooks(t *testing.T) {
	before, now := wellFleet().reports, wellFleet().reports
	for i := range now {
		now[i].Clock = now[i].Clock.Add(2 * time.Second)
		now[i].Stats.Local, now[i].Stats.Served, now[i].Stats.Forwarded = 1000, 3000, 500
		now[i].Stats.Hits, now[i].Stats.Misses, now[i].Stats.BytesCopied = 900, 100, 4<<20
	}
	now[1].Node.ID = "restarted" // its counters began anew
	now[2].err = errTest
	before[0].Stats.Hits = 100
	f := newFrame("orders", before, now)
	if n := f.Nodes[0]; n.Calls != 2000 || n.Forwarded != 250 || n.HitRate != 800.0/900 || n.Copied != 2<<20 {
		t.Errorf("rates %+v, want 2000 calls, 250 forwarded, 8/9 hits, 2 MiB copied", n)
	}
	if n := f.Nodes[1]; n.Calls != 0 || n.HitRate != -1 {
		t.Errorf("rates of a restarted node %+v, want none", n)
	}
	f.Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := matches("top_rates", strings.Join(f.lines(), "\n")+"\n"); err != nil {
		t.Error(err)
	}
	drawn := screen(f.lines(), nil)
	if strings.Count(drawn, "\r\n") != len(f.lines()) || !strings.HasPrefix(drawn, toTop) {
		t.Errorf("screen = %q, want a line each", drawn)
	}
	for _, l := range strings.Split(drawn, "\r\n") {
		if n := len([]rune(strings.TrimSuffix(strings.TrimPrefix(l, toTop), clearLine))); n > 80 {
			t.Errorf("line of %d columns: %q", n, l)
		}
	}
}
