package resp_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A transaction runs again where others wrote in between. What is no part of it does not.
func TestPublishInAContestedTransactionIsSentOnce(t *testing.T) {
	f := serve(t, 1)
	listener := dial(t, f.addrs[0])
	listener.line("subscribe ch")
	const clients, rounds = 4, 100
	var all sync.WaitGroup
	for range clients {
		c := dial(t, f.addrs[0])
		all.Go(func() {
			for done := 0; done < rounds; {
				for _, command := range []string{"multi", "incr n", "publish ch m"} {
					c.line(command)
				}
				if !strings.HasPrefix(c.line("exec"), "error") {
					done++
				}
			}
		})
	}
	all.Wait()
	dial(t, f.addrs[0]).line("publish ch end")
	sent := 0
	for strings.HasSuffix(listener.read(), `"m"]`) {
		sent++
	}
	if sent != clients*rounds {
		t.Errorf("%d messages of %d transactions", sent, clients*rounds)
	}
}

func TestWhatIsTooLargeIsSaid(t *testing.T) {
	f := serve(t, 1)
	c := dial(t, f.addrs[0])
	long := "{t}" + strings.Repeat("k", 64<<10)
	for _, tt := range []struct {
		want string
		args []string
	}{
		{`error ERR key or value too large: key "{t}kkkk`, []string{"get", long}},
		{`error ERR key or value too large: key "{t}kkkk`, []string{"mget", long, "{t}a"}},
		{`error ERR key or value too large: key "{t}kkkk`, []string{"msetnx", "{t}a", "v", long, "v"}},
		{`error ERR key or value too large: key `, []string{"set", "{t}a", strings.Repeat("v", 16<<20+1)}},
		{`error ERR key or value too large: 1 keys and`, []string{"msetnx", "{t}a", strings.Repeat("v", 16<<20)}},
		{`error ERR key or value too large: value of 100000001 bytes`, []string{"setrange", "{t}a", "100000000", "v"}},
		{`OK`, []string{"setex", "{t}a", "100", strings.Repeat("v", 16<<20)}}, // no transaction
		{`error ERR string exceeds maximum allowed size (proto-max-bulk-len)`, []string{"setrange", "{t}a", "600000000", "v"}},
	} {
		if got := c.do(tt.args...); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s = %s, want %s", tt.args[0], got, tt.want)
		}
	}
	for _, command := range []string{"watch", "exists", "mget"} {
		args := []string{command}
		for i := range 2 {
			args = append(args, fmt.Sprint(long, i))
		}
		if command == "exists" { // beyond what one transaction reads
			for i := range 1024 {
				args = append(args, fmt.Sprint("{t}", i))
			}
		}
		if got := c.do(args...); strings.Count(got, "too large") != 1 {
			t.Errorf("%s of two keys that are too large = %.300s, want one error", command, got)
		}
	}
	for _, tt := range []struct{ first, each, last, want string }{
		{"multi", "set {t}%d v", "exec", "error ERR key or value too large: 1025 keys and "},
		{"multi", "get {t}%d", "exec", "error ERR key or value too large: a transaction that reads more than 1024 keys"},
		{"unwatch", "watch {t}%d", "watch {t}1025", "error ERR too many keys are watched: at most 1024"},
	} {
		c.line(tt.first)
		for i := range 1025 {
			c.line(fmt.Sprintf(tt.each, i))
		}
		if got := c.line(tt.last); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s of 1025 keys = %s, want %s", tt.each, got, tt.want)
		}
	}
	if got := c.line("watch {t}1 {t}2"); got != "OK" { // they are already
		t.Errorf("watch = %s", got)
	}
}

// What follows HELLO in a transaction is in the protocol that it says.
func TestHelloInATransaction(t *testing.T) {
	c := dial(t, serve(t, 1).addrs[0])
	for _, command := range []string{"multi", "get none", "hello 3 setname", "get none", "hello 3 auth default x", "hello", "get none", "hello 2", "get none"} {
		c.line(command)
	}
	fmt.Fprint(c, pack("exec"))
	var got []string
	for range 9 { // the head, and what is in it
		kind, err := c.in.Peek(3)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(kind[:2]))
		if kind[0] == '*' && len(got) == 1 {
			_, _ = c.in.ReadString('\n')
		} else {
			c.read()
		}
	}
	if want := []string{"*8", "$-", "-E", "$-", "%7", "%7", "_\r", "*1", "$-"}; !slices.Equal(got, want) {
		t.Errorf("answers begin with %q, want %q", got, want)
	}
}

// A few bytes may ask for far more memory than there is.
func TestAnswersAreBounded(t *testing.T) {
	f := serve(t, 1)
	c := dial(t, f.addrs[0])
	c.do("set", "{n}k", strings.Repeat("v", 8<<20))
	const want = "error ERR key or value too large: answers of more than 256 MiB at once"
	many := strings.Repeat(" {n}k", 10_000)
	for _, command := range []string{"mget" + many[:33*len(" {n}k")], "mget" + many} { // as a transaction, and each by itself
		if got := c.line(command); got != want {
			t.Errorf("%.40s... = %.100s, want %s", command, got, want)
		}
	}
	if got := c.line("watch" + many); got != "OK" {
		t.Errorf("watch = %s", got)
	}
	c = dial(t, f.addrs[0]) // which has time of its own
	for _, command := range append([]string{"multi", "incr n"}, slices.Repeat([]string{"get {n}k"}, 33)...) {
		c.line(command)
	}
	if got := c.line("exec"); got != want {
		t.Errorf("exec = %.100s, want %s", got, want)
	}
	if got := c.line("get n"); got != "nil" {
		t.Errorf("get n = %s: the transaction took effect", got)
	}
}
