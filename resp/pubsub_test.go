package resp_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// What follows the answer to UNSUBSCRIBE is the answer to the next command, also
// where messages come all the time.
func TestNoMessageFollowsTheAnswerToUnsubscribe(t *testing.T) {
	f := serve(t, 1)
	for _, tt := range []struct {
		name, setup, add, remove, flood string
		rounds                          int
	}{
		{"channel", "ping", "subscribe ch", "unsubscribe", "publish ch m", 300},
		{"pattern", "ping", "psubscribe c*", "punsubscribe", "publish ch m", 300},
		{"shard channel", "ping", "ssubscribe ch", "sunsubscribe", "spublish ch m", 300},
		{"notifications", "config set notify-keyspace-events K$", "subscribe __keyspace@0__:ch", "unsubscribe", "set ch m", 45},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, f.addrs[0])
			c.line(tt.setup)
			publisher := dial(t, f.addrs[0])
			var flood sync.WaitGroup
			more := make(chan struct{}) // a burst for each round: more would send the subscriber away
			flood.Go(func() {
				const burst = 20
				many := strings.Repeat(pack(strings.Fields(tt.flood)...), burst)
				for range more {
					_, err := io.WriteString(publisher, many)
					for i := 0; i < burst && err == nil; i++ {
						_, err = readReply(publisher.in)
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
			defer flood.Wait()
			defer close(more)
			for i := range tt.rounds {
				c.line(tt.add)
				more <- struct{}{}
				c.read() // a message: they are on their way
				fmt.Fprint(c, pack(tt.remove))
				for {
					if got := c.read(); strings.HasPrefix(got, `["`+tt.remove+`"`) {
						break
					}
				}
				if got := c.line("echo MARK"); got != `"MARK"` {
					t.Fatalf("round %d: echo after %s = %s", i, tt.remove, got)
				}
			}
		})
	}
}

// Messages are in the protocol that the last answer said, wherever HELLO was.
func TestMessagesFollowTheAnswerToHello(t *testing.T) {
	f := serve(t, 1)
	c, publisher := dial(t, f.addrs[0]), dial(t, f.addrs[0])
	for i := range 100 {
		c.line("hello 3")
		c.line("subscribe ch")
		script := pack("hello", "2")
		if i%2 == 1 {
			script = pack("multi") + pack("hello", "2") + pack("exec")
		}
		fmt.Fprint(publisher, strings.Repeat(pack("publish", "ch", "m"), 20))
		fmt.Fprint(c, script)
		kinds, told := "", false
		for read := 0; read < 20 || !told; { // messages, beside the answers
			kind, err := c.in.Peek(1)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.read(); strings.HasPrefix(got, `["message"`) {
				kinds += string(kind)
				read++
			} else if strings.Contains(got, `"proto" 2`) {
				kinds, told = kinds+" ", true
			}
		}
		if before, after, _ := strings.Cut(kinds, " "); strings.Trim(before, ">") != "" || strings.Trim(after, "*") != "" {
			t.Fatalf("round %d: messages and, between them, the answer to HELLO 2: %q", i, kinds)
		}
		for range 20 {
			publisher.read()
		}
		if got := c.line("reset"); got != "RESET" {
			t.Fatalf("reset = %s", got)
		}
	}
}

// With RESP2 a client that listens to a shard channel alone has subscribed as well.
func TestShardChannelsSubscribe(t *testing.T) {
	c := dial(t, serve(t, 1).addrs[0])
	c.line("ssubscribe ch")
	if got, want := c.line("ping"), `["pong" ""]`; got != want {
		t.Errorf("ping = %s, want %s", got, want)
	}
	if got, want := c.line("get a"), "error ERR Can't execute 'get'"; !strings.HasPrefix(got, want) {
		t.Errorf("get = %s, want %s", got, want)
	}
	c.line("sunsubscribe ch")
	if got, want := c.line("ping"), "PONG"; got != want {
		t.Errorf("ping = %s, want %s", got, want)
	}
}
