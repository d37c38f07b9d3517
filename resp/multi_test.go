package resp_test

import (
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
