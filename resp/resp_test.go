package resp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/resp"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func TestServeRefusesOptionsOutOfRange(t *testing.T) {
	cache := slotmeshtest.Start(t, 1)[0]
	over, end := context.WithCancel(t.Context()) // one that is taken serves nobody
	end()
	for name, opt := range map[string]resp.Option{
		"no clients": resp.WithMaxClients(0), "fewer than none": resp.WithMaxClients(-1),
		"no bytes": resp.WithMaxBulk(0), "too many bytes": resp.WithMaxBulk(1 << 30),
		"no staleness": resp.WithStaleness(0), "no port": resp.WithAdvertiseAddr("here"),
		"no password": resp.WithUser("default", ""), "no user": resp.WithUser("", "secret"),
		"a port's name": resp.WithAdvertiseAddr("here:http"), "no host": resp.WithAdvertiseAddr(":6379"), "every host": resp.WithAdvertiseAddr("0.0.0.0:6379"),
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Serve(over, cache, listener, opt); !errors.Is(err, slotmesh.ErrInvalid) {
			t.Errorf("%s: Serve = %v, want ErrInvalid", name, err)
		}
	}
}

// Commands and what Redis answers, on one node; after ~ as a regular expression.
func TestCommands(t *testing.T) {
	f := serve(t, 1)
	for _, tt := range []struct{ name, script string }{
		{"strings", `
set a 1 = OK
get a = "1"
get none = nil
set a 2 NX = nil
set a 2 XX GET = "1"
set b 1 XX = nil
set a 1 EX 0 = error ERR invalid expire time in 'set' command
set a 1 EX x = error ERR value is not an integer or out of range
set a 1 NX XX = error ERR syntax error
set a = error ERR wrong number of arguments for 'set' command
append a xyz = 4
strlen a = 4
getrange a 1 -1 = "xyz"
setrange a 6 ! = 7
get a = "2xyz\x00\x00!"
getset a 5 = "2xyz\x00\x00!"
getdel a = "5"
getdel a = nil
setnx a 7 = 1
setnx a 8 = 0
mset {t}1 a {t}2 b = OK
mget {t}1 {t}2 {t}3 = ["a" "b" nil]
msetnx {t}3 c {t}1 x = 0
mset {t}1 1 {t}2 = error ERR wrong number of arguments for 'mset' command
mget {t}1 other = error CROSSSLOT Keys in request don't hash to the same slot`},
		{"numbers", `
incr n = 1
incrby n 10 = 11
decr n = 10
decrby n 20 = -10
incrby n x = error ERR value is not an integer or out of range
set n 9223372036854775807 = OK
incr n = error ERR increment or decrement would overflow
set n abc = OK
incr n = error ERR value is not an integer or out of range
set n 10.5 = OK
incrbyfloat n 0.1 = "10.6"
incrbyfloat n -5 = "5.6"
incrbyfloat n 1e999999999 = error ERR value is not a valid float
incrbyfloat n -1e5000 = error ERR value is not a valid float
incrbyfloat n 1e-5000 = error ERR value is not a valid float
incrbyfloat n inf = error ERR increment would produce NaN or Infinity
incrbyfloat n -Infinity = error ERR increment would produce NaN or Infinity
incrbyfloat n +-inf = error ERR value is not a valid float
incrbyfloat n nan = error ERR value is not a valid float
set big 1e4932 = OK
incrbyfloat big 1e4932 = error ERR increment would produce NaN or Infinity
set big inf = OK
incrbyfloat big 1 = error ERR increment would produce NaN or Infinity
incrbyfloat big -inf = error ERR increment would produce NaN or Infinity
set big 1e999999999 = OK
incrbyfloat big 1 = error ERR value is not a valid float
incrbyfloat n 1p5 = error ERR value is not a valid float
incrbyfloat n x = error ERR value is not a valid float`},
		{"expiry", `
set a 1 EX 100 = OK
ttl a ~ 9\d|100
expire a 50 GT = 0
expire a 200 GT = 1
expire a 300 NX = 0
expire a 10 NX XX = error ERR NX and XX, GT or LT options at the same time are not compatible
persist a = 1
persist a = 0
ttl a = -1
ttl none = -2
expireat a 33177117420 = 1
expiretime a = 33177117420
pexpiretime a = 33177117420000
set a 2 KEEPTTL = OK
expiretime a = 33177117420
getex a PERSIST = "2"
ttl a = -1
expire a -1 = 1
exists a = 0
setex a 0 x = error ERR invalid expire time in 'setex' command`},
		{"keys", `
mset {k}1 a {k}2 b = OK
exists {k}1 {k}1 {k}2 {k}3 = 3
rename {k}1 {k}3 = OK
rename {k}1 {k}3 = error ERR no such key
renamenx {k}3 {k}2 = 0
copy {k}3 {k}2 = 0
copy {k}3 {k}2 REPLACE = 1
copy {k}3 {k}3 = error ERR source and destination objects are the same
get {k}2 = "a"
type {k}2 = string
type {k}9 = none
object encoding {k}2 = "embstr"
del {k}1 {k}2 {k}3 = 2
flushall = OK
dbsize = 0
randomkey = nil
set only 1 = OK
randomkey = "only"
keys * = ["only"]
keys o[m-n]l? = ["only"]
scan 0 = ["0" ["only"]]
scan 0 TYPE hash = ["0" []]
scan 0 MATCH [ MATCH * TYPE hash TYPE string COUNT 1 COUNT 9 = ["0" ["only"]]
keys [no = []
keys [no]nl[^] = ["only"]
keys onl[xy = ["only"]
keys []only = []
scan 0 match onl[xy = ["0" ["only"]]
scan +0 = ["0" ["only"]]
scan -18446744073709551615 MATCH nothing = ["0" []]
scan x = error ERR invalid cursor
scan - = error ERR invalid cursor
scan 1x = error ERR invalid cursor
scan 18446744073709551616 = error ERR invalid cursor
copy only {only}2 DB 1 = error ERR Copying to another database is not allowed in cluster mode
copy only {only}2 DB 16 = error ERR DB index is out of range
copy only {only}2 DB 2147483648 = error ERR value is out of range, value must between -2147483648 and 2147483647
select -2147483649 = error ERR value is out of range, value must between -2147483648 and 2147483647
select 2147483647 = error ERR SELECT is not allowed in cluster mode
restore none 0 bad FREQ 1 IDLETIME 1 = error ERR syntax error
restore none 0 bad IDLETIME 1 FREQ 1 = error ERR syntax error
restore none 0 bad IDLETIME 1 IDLETIME 2 = error ERR DUMP payload version or checksum are wrong`},
		{"operators", `
client kill id 0 skipme = error ERR client-id should be greater than 0
client kill user nosuch skipme = error ERR No such user 'nosuch'
client kill skipme = error ERR No such client
config get MaxClients save = ["MaxClients" "10000" "save" ""]
cluster failover force now = error ERR unknown subcommand or wrong number of arguments for 'failover'. Try CLUSTER HELP.
shutdown nosave save = error ERR syntax error
shutdown abort now = error ERR syntax error
shutdown abort = error ERR No shutdown in progress.
shutdown nosave = error ERR SHUTDOWN is not allowed: the node is part of a program`},
		{"transactions", `
multi = OK
set {m}a 1 EX 100 = QUEUED
incr {m}a = QUEUED
incrby {m}a x = QUEUED
ttl {m}a = QUEUED
exec ~ \[OK 2 error ERR value is not an integer or out of range (9\d|100)\]
multi = OK
nosuch = error ERR unknown command 'nosuch', with args beginning with: 
exec = error EXECABORT Transaction discarded because of previous errors.
exec = error ERR EXEC without MULTI
discard = error ERR DISCARD without MULTI
multi = OK
multi = error ERR MULTI calls can not be nested
watch {m}a = error ERR WATCH inside MULTI is not allowed
get {m}a = QUEUED
exec = ["2"]
multi = OK
debug sleep 0 = error ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.
exec = error EXECABORT Transaction discarded because of previous errors.
multi = OK
dbsize = QUEUED
set {m}b 1 = QUEUED
keys *b = QUEUED
get {m}b = QUEUED
del {m}b = QUEUED
scan 0 match *a = QUEUED
exec = [1 OK [] "1" 1 ["0" ["{m}a"]]]
multi = OK
dbsize = QUEUED
ping = QUEUED
exec = [1 PONG]
multi = OK
flushall = error ERR Command not allowed inside a transaction
flushdb = error ERR Command not allowed inside a transaction
exec = error EXECABORT Transaction discarded because of previous errors.
get {m}a = "2"
watch {m}a = OK
multi = OK
exec x = error EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command
ping = PONG
exec = error ERR EXEC without MULTI
exec x = error EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command
multi = OK
discard x = error ERR wrong number of arguments for 'discard' command
exec = error EXECABORT Transaction discarded because of previous errors.
multi = OK
auth x = QUEUED
hello 9 = QUEUED
get {m}a = QUEUED
exec = [error ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct? error NOPROTO unsupported protocol version "2"]
multi = OK
set a 1 = QUEUED
set b 1 = QUEUED
exec = error CROSSSLOT Keys in request don't hash to the same slot
watch {m}a = OK
multi = OK
get {m}a = QUEUED
exec = ["2"]
watch {m}a = OK
set {m}a 9 = OK
multi = OK
set {m}a 10 = QUEUED
exec = nil
get {m}a = "9"`},
		{"connection", `
ping = PONG
ping hi = "hi"
echo x = "x"
select 0 = OK
select 1 = error ERR SELECT is not allowed in cluster mode
client setname me = OK
client getname = "me"
auth x = error ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?
cluster keyslot foo = 12182
cluster nosuch = error ERR unknown subcommand 'nosuch'. Try CLUSTER HELP.
cluster countkeysinslot 99999 = error ERR Invalid slot
debug sleep 1 = error ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.
shutdown = error ERR SHUTDOWN is not allowed: the node is part of a program
nosuch a b = error ERR unknown command 'nosuch', with args beginning with: 'a' 'b' 
command list filterby pattern GETR* = ["getrange"]
command list filterby pattern *|usage = ["memory|usage"]
command list filterby module any = []
command list filterby aclcat nosuch = []
command list filterby aclcat transaction = ["discard" "exec" "multi" "unwatch" "watch"]
command list filterby nosuch x = error ERR syntax error
command list filterby = error ERR syntax error
command docs exists none = ["exists" ["summary" "Counts those of the keys that exist." "since" "1.0.0" "group" "generic" "arguments" [["name" "key" "type" "string"] ["flags" [optional] "name" "key ..." "type" "string"]]]]
command docs object|freq = ["object|freq" ["summary" "Is refused, as without an LFU policy." "since" "1.0.0" "group" "generic" "arguments" [["name" "key" "type" "string"]]]]
object help = [OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are: ENCODING     Returns how Redis would keep a value. FREQ     Is refused, as without an LFU policy. HELP     Prints this help. IDLETIME     Returns 0. REFCOUNT     Returns 1.]
object help x = error ERR wrong number of arguments for 'object|help' command
wait 0 x = error ERR timeout is not an integer or out of range
wait 0 -1 = error ERR timeout is negative
command getkeys mset a 1 b 2 = ["a" "b"]
config get maxclients = ["maxclients" "10000"]
publish c hello = 0
hello 3 = ["server" "redis" "version" "7.2.0" "proto" 3 "id" 7 "mode" "cluster" "role" "master" "modules" []]
get none = nil
reset = RESET`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, f.addrs[0])
			c.line("flushall")
			for line := range strings.Lines(strings.TrimPrefix(tt.script, "\n")) {
				line = strings.TrimSuffix(line, "\n")
				command, want, exact := strings.Cut(line, " = ")
				if want = regexp.QuoteMeta(want); !exact { // the machine may be slow
					command, want, _ = strings.Cut(line, " ~ ")
				}
				if got := c.line(command); !regexp.MustCompile("^(?:" + want + ")$").MatchString(got) {
					t.Errorf("%s: %s, want %s", command, got, want)
				}
			}
		})
	}
}

// The empty pattern and very long ones are patterns too.
func TestUnusualPatterns(t *testing.T) {
	c := dial(t, serve(t, 1).addrs[0])
	c.do("set", "", "v")
	c.do("set", "aa", "v")
	for _, tt := range []struct{ pattern, want string }{
		{"", `[""]`}, {strings.Repeat("*", 70000) + "a", `["aa"]`}, {strings.Repeat("?", 70000), "[]"},
	} {
		if got := c.do("keys", tt.pattern); got != tt.want {
			t.Errorf("keys %.10q = %s, want %s", tt.pattern, got, tt.want)
		}
		if got, want := c.do("scan", "0", "match", tt.pattern), `["0" `+tt.want+`]`; got != want {
			t.Errorf("scan 0 match %.10q = %s, want %s", tt.pattern, got, want)
		}
	}
	listener := dial(t, c.RemoteAddr().String())
	listener.line("psubscribe ne[^]s onl[xy")
	listener.read()
	c.line("publish news a")
	c.line("publish only b")
	for _, want := range []string{`["pmessage" "ne[^]s" "news" "a"]`, `["pmessage" "onl[xy" "only" "b"]`} {
		if got := listener.read(); got != want {
			t.Errorf("message %s, want %s", got, want)
		}
	}
}

// Redis has C print what an error is about.
func TestErrorsNameArgumentsUpToAZero(t *testing.T) {
	c := dial(t, serve(t, 1).addrs[0])
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"no\x00such", "\x00a", "b\x00c"}, "error ERR unknown command 'no', with args beginning with: '' 'b' "},
		{[]string{"client", "id\x00"}, "error ERR unknown subcommand 'id'. Try CLIENT HELP."},
		{[]string{"expire", "a", "1", "no\x00such"}, "error ERR Unsupported option no"},
		{[]string{"expire", "a", "1", "a\nb\r\n"}, "error ERR Unsupported option a b"},
	} {
		if got := c.do(tt.args...); got != tt.want {
			t.Errorf("%q = %q, want %q", tt.args, got, tt.want)
		}
	}
}

// Clients of RESP2 tell the two kinds of null apart.
func TestNullsAreOfTheirKind(t *testing.T) {
	c := dial(t, serve(t, 1).addrs[0])
	for _, tt := range []struct{ command, want string }{
		{"get none", "$-1\r\n"}, {"command info nosuch", "*1\r\n$-1\r\n"},
		{"watch k", "+OK\r\n"}, {"set k 1", "+OK\r\n"}, {"multi", "+OK\r\n"}, {"get k", "+QUEUED\r\n"}, {"exec", "*-1\r\n"},
	} {
		if _, err := io.WriteString(c, pack(strings.Fields(tt.command)...)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(tt.want))
		if _, err := io.ReadFull(c.in, got); err != nil || string(got) != tt.want {
			t.Errorf("%s = %q, %v, want %q", tt.command, got, err, tt.want)
		}
	}
}

func TestDumpIsRestored(t *testing.T) {
	f := serve(t, 1)
	c := dial(t, f.addrs[0])
	c.line("set a hello EX 100")
	dumped := c.do("dump", "a")
	var payload string
	if _, err := fmt.Sscanf(dumped, "%q", &payload); err != nil {
		t.Fatalf("dump = %s", dumped)
	}
	for _, tt := range []struct{ key, payload, want string }{
		{"a", payload, "error BUSYKEY Target key name already exists."},
		{"b", payload, "OK"},
		{"c", payload[:len(payload)-1] + "\x00", "error ERR DUMP payload version or checksum are wrong"},
	} {
		if got := c.do("restore", tt.key, "0", tt.payload); got != tt.want {
			t.Errorf("restore %s = %s, want %s", tt.key, got, tt.want)
		}
	}
	if got := c.line("get b"); got != `"hello"` {
		t.Errorf("get = %s", got)
	}
}

// Keys of all nodes are asked of together, and one that is named twice counts twice.
func TestExistsCountsKeysOfAllNodes(t *testing.T) {
	f := serve(t, 3, resp.WithForwarding())
	c := dial(t, f.addrs[0])
	want, command := 0, "exists none none"
	for i := range 20 {
		key := fmt.Sprint("key", i)
		command += " " + key
		if i%3 > 0 {
			c.line("set " + key + " v")
			want++
		}
	}
	if got := c.line(command + " key1 key3 key1"); got != fmt.Sprint(want+2) {
		t.Errorf("%s key1 key3 key1 = %s, want %d", command, got, want+2)
	}
}

// DEL, EXISTS and what watched keys are checked by read no values: a transaction reads
// them a megabyte at a time.
func TestKeysAreCountedWithoutTheirValues(t *testing.T) {
	f := serve(t, 1)
	c := dial(t, f.addrs[0])
	keys := ""
	for i := range 8 {
		key := fmt.Sprint("{t}", i)
		c.do("set", key, strings.Repeat("v", 900<<10))
		keys += " " + key
	}
	for _, tt := range []struct{ commands, want string }{
		{"exists" + keys, "8"}, {"touch" + keys, "8"}, {"watch" + keys + "; multi; get {t}none; exec", "[nil]"}, {"del" + keys, "8"},
	} {
		before, got := f.transactions(), ""
		for command := range strings.SplitSeq(tt.commands, "; ") {
			got = c.line(command)
		}
		if n := f.transactions() - before; got != tt.want || n > 2 {
			t.Errorf("%s = %s after %d calls, want %s after two", tt.commands, got, n, tt.want)
		}
	}
}

// What one call can do is no transaction, which others could make run again and again.
func TestCommandsOfOneCallAreNoTransactions(t *testing.T) {
	f := serve(t, 1)
	c := dial(t, f.addrs[0])
	for _, tt := range []struct{ command, want string }{
		{"set notes x", "OK"}, {"set most 9223372036854775807", "OK"},
		{"setnx a 1", "1"}, {"setnx a 2", "0"}, {"getset a 3", `"1"`}, {"getdel a", `"3"`}, {"getdel a", "nil"}, {"getset a 4", "nil"},
		{"setex a 100 5", "OK"}, {"psetex a 100000 6", "OK"}, {"set a 7 keepttl", "OK"}, {"incr a", "8"}, {"incr notes", "error ERR value is not an integer or out of range"}, {"incr most", "error ERR increment or decrement would overflow"}, {"append a 9", "2"}, {"expire a 10", "1"},
	} {
		if got := c.line(tt.command); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.command, got, tt.want)
		}
	}
	if n := f.transactions(); n > 0 {
		t.Errorf("%d transactions", n)
	}
}

// The value of a typed view is no number, though the msgpack of 53 is the digit 5.
func TestIncrOfATypedValue(t *testing.T) {
	f := serve(t, 1)
	v := slotmesh.For[int](f.caches[0], "n")
	if err := v.Set(t.Context(), "", 53); err != nil {
		t.Fatal(err)
	}
	if got, want := dial(t, f.addrs[0]).line("incr n"), "error ERR value is not an integer or out of range"; got != want {
		t.Errorf("incr = %s, want %s", got, want)
	}
	if n, err := v.Get(t.Context(), ""); n != 53 || err != nil {
		t.Errorf("Get = %d, %v, want 53", n, err)
	}
}

func TestRedirects(t *testing.T) {
	f := serve(t, 3)
	clients := make([]*client, 3)
	for i, addr := range f.addrs {
		clients[i] = dial(t, addr)
	}
	moved := 0
	for i := range 60 {
		key := fmt.Sprintf("key:%d", i)
		for at, c := range clients {
			owner, err := f.caches[at].Cluster().Owner(key)
			if err != nil {
				t.Fatal(err)
			}
			slot := f.caches[at].Cluster().KeySlot(key)
			want := fmt.Sprintf("error MOVED %d %s", slot, owner.Attributes["resp"])
			for _, command := range []string{"set %s 1", "get %s", "incr %s", "expire %s 10", "getdel %s", "mset %s 1", "watch %s"} {
				got := c.line(fmt.Sprintf(command, key))
				if strings.HasPrefix(got, "error") == owner.Self || !owner.Self && got != want {
					t.Errorf("%s at %s = %s, want %s", fmt.Sprintf(command, key), f.addrs[at], got, want)
				}
			}
			if !owner.Self {
				moved++
				c.line("asking")
				if got := c.line("set " + key + " asked"); got != "OK" {
					t.Errorf("an asked command = %s", got)
				}
				c.line("unwatch")
				c.line("asking")
				c.line("asking")
				if got := c.line("get "+key) + c.line("get "+key); got != `"asked"`+want {
					t.Errorf("a command asked twice, and one after it = %s", got)
				}
				c.line("multi")
				c.line("asking")
				if got := c.line("exec") + c.line("get "+key); got != "[OK]"+want {
					t.Errorf("ASKING in a transaction, and a command after it = %s", got)
				}
				c.line("asking")
				got := c.line("multi") + c.line("append "+key+" more") + c.line("exec") + c.line("get "+key)
				if want := "OKQUEUED[9]" + want; got != want {
					t.Errorf("an asked transaction, and a command after it = %s, want %s", got, want)
				}
				c.line("asking")
				if got := c.line("nosuch") + c.line("get "+key); !strings.HasSuffix(got, want) {
					t.Errorf("after an asked command that there is not: %s", got)
				}
			}
		}
	}
	if moved != 120 {
		t.Errorf("%d of 180 calls were at the wrong node, want 120", moved)
	}
}

func TestReadOnlyClientsAreAnsweredFromBackups(t *testing.T) {
	f := serve(t, 3)
	for i := range 20 {
		key := fmt.Sprintf("key:%d", i)
		if err := f.caches[0].Set(t.Context(), key, []byte("v")); err != nil {
			t.Fatal(err)
		}
		slot := f.caches[0].Cluster().KeySlot(key)
		for at := range f.caches {
			holds := false
			for s := range f.caches[at].Cluster().Slots() {
				if s.Number == slot {
					holds = slices.Contains(s.Backups, f.caches[at].Cluster().Self().Name)
				}
			}
			if !holds {
				continue
			}
			c := dial(t, f.addrs[at])
			if got := c.line("get " + key); !strings.HasPrefix(got, "error MOVED") {
				t.Errorf("get at a backup = %s", got)
			}
			c.line("readonly")
			slotmeshtest.Await(t, "a backup answers", func() error {
				if got := c.line("get "+key) + c.line("strlen "+key); got != `"v"1` {
					return fmt.Errorf("get and strlen = %s", got)
				}
				return nil
			})
			if got := c.line("set " + key + " 1"); !strings.HasPrefix(got, "error MOVED") {
				t.Errorf("set at a backup = %s", got)
			}
			c.line("readwrite")
			if got := c.line("get " + key); !strings.HasPrefix(got, "error MOVED") {
				t.Errorf("get after READWRITE = %s", got)
			}
		}
	}
}

func TestScanYieldsEveryKeyOnceOverAllNodes(t *testing.T) {
	f := serve(t, 3)
	want := 2000
	for i := range want {
		if err := f.caches[0].Set(t.Context(), fmt.Sprintf("key:%d", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	sizes := 0
	for _, addr := range f.addrs {
		c := dial(t, addr)
		var n int
		if _, err := fmt.Sscan(c.line("dbsize"), &n); err != nil {
			t.Fatal(err)
		}
		sizes += n
		for cursor := "0"; ; {
			answer := strings.Fields(strings.NewReplacer("[", " ", "]", " ", `"`, " ").Replace(c.line("scan " + cursor + " count 37")))
			for _, key := range answer[1:] {
				seen[key]++
			}
			if cursor = answer[0]; cursor == "0" {
				break
			}
		}
	}
	if sizes != want || len(seen) != want {
		t.Errorf("%d keys counted, %d seen, want %d", sizes, len(seen), want)
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s was seen %d times", key, n)
		}
	}
}

func TestMessagesReachClientsOfAllNodes(t *testing.T) {
	f := serve(t, 3)
	a, b := dial(t, f.addrs[0]), dial(t, f.addrs[1])
	for _, tt := range []struct{ command, want string }{
		{"subscribe news", `["subscribe" "news" 1]`},
		{"psubscribe n*", `["psubscribe" "n*" 2]`},
		{"get x", "error ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"},
		{"ping", `["pong" ""]`},
	} {
		if got := a.line(tt.command); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.command, got, tt.want)
		}
	}
	if got := b.line("publish news hello"); got != "2" {
		t.Errorf("publish = %s, want 2", got)
	}
	for _, want := range []string{`["message" "news" "hello"]`, `["pmessage" "n*" "news" "hello"]`} {
		if got := a.read(); got != want {
			t.Errorf("message %s, want %s", got, want)
		}
	}
	if got := a.line("pubsub numsub news"); !strings.HasPrefix(got, "error ERR Can't execute") {
		t.Errorf("pubsub while subscribed = %s", got)
	}
	a.line("unsubscribe")
	a.line("punsubscribe")
	if got := a.line("ssubscribe shard"); got != `["ssubscribe" "shard" 1]` {
		t.Errorf("ssubscribe = %s", got)
	}
	if got := b.line("spublish shard x"); got != "1" {
		t.Errorf("spublish = %s", got)
	}
	if got := a.read(); got != `["smessage" "shard" "x"]` {
		t.Errorf("message %s", got)
	}
}

func TestPasswords(t *testing.T) {
	f := serve(t, 1, resp.WithUser("default", "secret"))
	c := dial(t, f.addrs[0])
	for _, tt := range []struct{ command, want string }{
		{"get a", "error NOAUTH Authentication required."},
		{"multi", "error NOAUTH Authentication required."},
		{"exec", "error EXECABORT Transaction discarded because of: NOAUTH Authentication required."},
		{"auth wrong", "error WRONGPASS invalid username-password pair or user is disabled."},
		{"hello 3", "error NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"},
		{"auth secret", "OK"},
		{"get a", "nil"},
	} {
		if got := c.line(tt.command); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.command, got, tt.want)
		}
	}
	// What follows AUTH is as long as that allows, also in one piece with it.
	c = dial(t, f.addrs[0])
	long := strings.Repeat("x", 100_000)
	fmt.Fprint(c, pack("auth", "secret"), pack("set", "a", long), pack("reset"), pack("get", "a"))
	for _, want := range []string{"OK", "OK", "RESET", "error NOAUTH Authentication required."} {
		if got := c.read(); got != want {
			t.Errorf("in a pipeline: %s, want %s", got, want)
		}
	}
}

// A web page may have a browser send what it likes to any port.
func TestHTTPRunsNoCommands(t *testing.T) {
	f := serve(t, 1)
	keeper := dial(t, f.addrs[0])
	keeper.line("set kept 1")
	for _, request := range []string{"POST / HTTP/1.1\r\nHost: x\r\n\r\nFLUSHALL\r\n", "Host: localhost\r\nFLUSHALL\r\n", "POST / HTTP/1.1\r\n\r\n{\"\r\n"} {
		c := dial(t, f.addrs[0])
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c.in); len(got) > 0 {
			t.Errorf("%.4s is answered: %q, %v", request, got, err)
		}
	}
	if got := keeper.line("get kept"); got != `"1"` {
		t.Errorf("get = %s after an HTTP request", got)
	}
}

// A client beyond the number allowed holds up nobody, also one that does not speak.
func TestClientTooManyIsSentAway(t *testing.T) {
	config, _ := certificate(t)
	for _, tt := range []struct {
		name string
		opts []resp.Option
		want string
	}{
		{"plain", nil, "-ERR max number of clients reached\r\n"},
		{"TLS", []resp.Option{resp.WithTLS(config)}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := serve(t, 1, append(tt.opts, resp.WithMaxClients(1))...)
			dial(t, f.addrs[0])
			for range 3 {
				if got, err := io.ReadAll(dial(t, f.addrs[0])); string(got) != tt.want || err != nil {
					t.Errorf("read %q, %v, want %q", got, err, tt.want)
				}
			}
		})
	}
}
