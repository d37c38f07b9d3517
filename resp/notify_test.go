package resp_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func TestNotificationsOfKeys(t *testing.T) {
	f := serve(t, 3)
	c, events := dial(t, f.addrs[0]), dial(t, f.addrs[0])
	for _, tt := range []struct{ command, want string }{
		{"config get notify-keyspace-events", `["notify-keyspace-events" ""]`},
		{"config set notify-keyspace-events KEA", "OK"},
		{"config get notify-keyspace-events", `["notify-keyspace-events" "AKE"]`},
		{"config set notify-keyspace-events Exg$", "OK"},
		{"config get notify-keyspace-events", `["notify-keyspace-events" "g$xE"]`},
		{"config set notify-keyspace-events q", "error ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid event class character. Use 'Ag$lshzxeKEtmdn'."},
		{"config set nosuch 1", "error ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"},
		{"config set port 1", "error ERR CONFIG SET failed (possibly related to argument 'port') - can't set immutable config"},
		{"config set notify-keyspace-events K notify-keyspace-events E", "error ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - duplicate parameter"},
		{"config set notify-keyspace-events K x", "error ERR syntax error"},
		{"config set notify-keyspace-events", "error ERR wrong number of arguments for 'config|set' command"},
		{"config set notify-keyspace-events KEA", "OK"},
	} {
		if got := c.line(tt.command); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.command, got, tt.want)
		}
	}
	if got := events.line("psubscribe __key*__:*"); got != `["psubscribe" "__key*__:*" 1]` {
		t.Fatalf("psubscribe = %s", got)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		for _, w := range want {
			if got := events.read(); got != w {
				t.Errorf("%s: %s, want %s", what, got, w)
			}
		}
	}
	space := func(key, event string) string {
		return fmt.Sprintf(`["pmessage" "__key*__:*" "__keyspace@0__:%s" %q]`, key, event)
	}
	event := func(key, event string) string {
		return fmt.Sprintf(`["pmessage" "__key*__:*" "__keyevent@0__:%s" %q]`, event, key)
	}
	// Of whatever node.
	for i := range 10 {
		key := fmt.Sprint("key:", i)
		owner := f.to(t, key)
		owner.line("set " + key + " 1")
		expect("set", space(key, "set"), event(key, "set"))
		owner.line("set " + key + " 1 px 50")
		expect("set px", space(key, "set"), event(key, "set"), space(key, "expire"), event(key, "expire"))
		expect("time is up", space(key, "expired"), event(key, "expired"))
		for _, w := range []struct{ command, event string }{
			{"incr", "incrby"}, {"decrby", "incrby"}, {"append", "append"}, {"expire", "expire"}, {"getex", "expire"}, {"persist", "persist"},
			{"pexpire", "expire"}, {"expireat", "del"},
		} {
			owner.line(w.command + " " + key + map[string]string{"decrby": " 2", "append": " 0", "expire": " 100", "pexpire": " 100000", "getex": " ex 100", "expireat": " 1"}[w.command])
			expect(w.command, space(key, w.event), event(key, w.event))
		}
		owner.line("set " + key + " 1")
		expect("set again", space(key, "set"), event(key, "set"))
		owner.line("del " + key)
		expect("del", space(key, "del"), event(key, "del"))
	}
	// Of one event and one key, by name.
	c.line("config set notify-keyspace-events Kg$Ex")
	f.to(t, "key:1").line("set key:1 1")
	expect("set with K and E", space("key:1", "set"), event("key:1", "set"))
	named := dial(t, f.addrs[0])
	named.line("subscribe __keyspace@0__:key:1 __keyevent@0__:del")
	named.read()
	f.to(t, "key:2").line("set key:2 1")
	f.to(t, "key:1").line("del key:1")
	for _, want := range []string{`["message" "__keyspace@0__:key:1" "del"]`, `["message" "__keyevent@0__:del" "key:1"]`} {
		if got := named.read(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	// Off again.
	if got := c.line(`config set notify-keyspace-events K`); got != "OK" {
		t.Errorf("config set = %s", got)
	}
	f.to(t, "key:3").line("set key:3 1")
	if got := c.line("publish __keyspace@0__:key:1 by-hand"); got != "2" {
		t.Errorf("publish = %s", got)
	}
	if got := named.read(); got != `["message" "__keyspace@0__:key:1" "by-hand"]` {
		t.Errorf("after the end: %s", got)
	}
	if _, err := fmt.Fprint(c, pack("config", "set", "notify-keyspace-events", "")); err != nil || c.read() != "OK" {
		t.Error("config set to nothing is refused")
	}
}

// Commands that are transactions are told by their names, in EXEC too.
func TestNotificationsNameTransactions(t *testing.T) {
	f := serve(t, 3)
	c, events := f.to(t, "{k}"), dial(t, f.addrs[1])
	if got := events.line("config set notify-keyspace-events KA"); got != "OK" {
		t.Fatalf("config set = %s", got)
	}
	events.line("psubscribe __keyspace@0__:*")
	for _, tt := range []struct{ command, want string }{
		{"set {k}n 1", "n set"},
		{"incrbyfloat {k}n 0.5", "n incrbyfloat"},
		{"setrange {k}n 1 xy", "n setrange"},
		{"expireat {k}n 4000000000", "n expire"},
		{"expire {k}n 100 gt", ""},
		{"pexpire {k}n 100000 lt", "n expire"},
		{"copy {k}n {k}m", "m copy_to"},
		{"rename {k}n {k}o", "n rename_from, o rename_to"},
		{"rename {k}o {k}o", ""},
		{"renamenx {k}o {k}m", ""},
		{"persist {k}o", "o persist"},
		{"persist {k}o", ""},
		{"getex {k}m persist", "m persist"},
		{"getex {k}m exat 4000000000", "m expire"},
		{"setex {k}m 100 1", "m set, m expire"},
		{"set {k}m 2 keepttl", "m set"},
		{"set {k}m 3 keepttl get", "m set"},
		{"multi; set {k}m 4 keepttl; exec", "m set"},
		{"multi; set {k}m 5 ex 100; set {k}m 6 keepttl; exec", "m set, m expire"},
		{"getdel {k}m", "m del"},
		{"multi; incr {k}i; append {k}a x; set {k}s x; incr {k}i; rename {k}o {k}p; exec", "i incrby, a append, s set, o rename_from, p rename_to"},
		{"multi; set {k}i 1; expire {k}i 100; persist {k}s; del {k}a; exec", "i set, i expire, a del"}, // as the key is left
		{"multi; expire {k}i 0; del {k}none; mset {k}x 1 {k}y 2; exec", "i del, x set, y set"},
	} {
		for command := range strings.SplitSeq(tt.command, "; ") {
			if got := c.line(command); strings.Contains(got, "error") {
				t.Errorf("%s = %s", command, got)
			}
		}
		if tt.want == "" {
			continue
		}
		for want := range strings.SplitSeq(tt.want, ", ") {
			key, event, _ := strings.Cut(want, " ")
			want = fmt.Sprintf(`["pmessage" "__keyspace@0__:*" "__keyspace@0__:{k}%s" %q]`, key, event)
			if got := events.read(); got != want {
				t.Errorf("%s: %s, want %s", tt.command, got, want)
			}
		}
	}
	c.line("set {k}d 1")
	events.read()
	dump, err := strconv.Unquote(c.line("dump {k}d"))
	if got := c.do("restore", "{k}e", "0", dump); err != nil || got != "OK" {
		t.Fatalf("restore = %s, %v", got, err)
	}
	if got := events.read(); got != `["pmessage" "__keyspace@0__:*" "__keyspace@0__:{k}e" "restore"]` {
		t.Errorf("restore: %s", got)
	}
}

// Events go on, none lost, when the node with the key is gone.
func TestNotificationsGoOnThroughAFailover(t *testing.T) {
	f := serve(t, 3)
	var key string
	var victim *slotmesh.Cache
	for i := 0; victim == nil; i++ {
		key = fmt.Sprint("key:", i)
		for _, c := range f.caches[1:] {
			if owner, err := c.Cluster().Owner(key); err == nil && owner.Self {
				victim = c
			}
		}
	}
	c, events := dial(t, f.addrs[0]), dial(t, f.addrs[0])
	if got := c.line("config set notify-keyspace-events K$"); got != "OK" {
		t.Fatalf("config set = %s", got)
	}
	events.line("subscribe __keyspace@0__:" + key)
	want := fmt.Sprintf(`["message" "__keyspace@0__:%s" "set"]`, key)
	for i := range 20 {
		if i == 10 {
			f.stop(victim)
		}
		slotmeshtest.Await(t, "a write is taken", func() error {
			return f.caches[0].Set(t.Context(), key, []byte(strings.Repeat("x", i)))
		})
		if got := events.read(); got != want {
			t.Fatalf("event %d: %s, want %s", i, got, want)
		}
	}
}
