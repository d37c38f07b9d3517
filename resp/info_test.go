package resp_test

import (
	"strconv"
	"strings"
	"testing"
)

// infoOf returns the fields of INFO.
func infoOf(t *testing.T, c *client) map[string]string {
	t.Helper()
	text, err := strconv.Unquote(c.do("INFO"))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// INFO tells what was measured, of the clients and of the program.
func TestInfoMeasures(t *testing.T) {
	c := dial(t, serve(t, 1).addrs[0])
	number := func(fields map[string]string, name string) float64 {
		t.Helper()
		f, err := strconv.ParseFloat(fields[name], 64)
		if err != nil {
			t.Errorf("%s is %q: %v", name, fields[name], err)
		}
		return f
	}
	const value = 10_000
	before := infoOf(t, c)
	c.do("SET", "key", strings.Repeat("v", value))
	c.do("GET", "key")
	after := infoOf(t, c)
	for name, least := range map[string]float64{
		"total_commands_processed": 3, "total_net_input_bytes": value, "total_net_output_bytes": value,
	} {
		if b, a := number(before, name), number(after, name); a-b < least || a-b > 10*least {
			t.Errorf("%s went from %v to %v, want about %v more", name, b, a, least)
		}
	}
	for _, name := range []string{"used_cpu_user", "used_memory_rss"} {
		if number(after, name) <= 0 {
			t.Errorf("%s is %s", name, after[name])
		}
	}
	if after["maxmemory_policy"] != "allkeys-lfu" {
		t.Errorf("maxmemory_policy is %s", after["maxmemory_policy"])
	}
	c.do("CONFIG", "RESETSTAT")
	if got := number(infoOf(t, c), "total_net_input_bytes"); got >= value {
		t.Errorf("%v bytes were received since RESETSTAT", got)
	}
}
