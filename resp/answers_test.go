package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// Large answers that clients are slow to take leave no room for others; small ones need none.
func TestAnswersToAllClientsAreBounded(t *testing.T) {
	s := &server{cache: slotmeshtest.Start(t, 1)[0], addr: "127.0.0.1:6379"} // without it pipelines run one by one
	client := connect(t, s)
	in := bufio.NewReader(client)
	line := func() string {
		text, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(text)
	}
	const size = 1 << 20
	for _, key := range []string{"{t}big", "{t}" + strings.Repeat("k", 60<<10)} {
		if err := s.cache.Set(t.Context(), key, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		if err := s.cache.Set(t.Context(), fmt.Sprint("{t}", i, strings.Repeat("k", 60<<10)), nil); err != nil {
			t.Fatal(err)
		}
	}
	full := "-TRYAGAIN " + errAllAnswers.Error()
	for _, tt := range []struct{ command, want string }{
		{"get {t}big", full},
		{"mget {t}big {t}big", full},
		{"getrange {t}big 0 -1", full},
		{"keys *", full},
		{"multi\r\nget {t}big\r\nexec", "+OK\n+QUEUED\n" + full},
		{"set {t}x 1\r\nget {t}big\r\nget {t}x", "+OK\n" + full + "\n$1\n1"},
		{"set {t}big 1 get", full},
		{"strlen {t}big", fmt.Sprint(":", size)}, // nothing has happened
	} {
		s.answers.Store(maxAllAnswers)
		fmt.Fprintf(client, "%s\r\n", tt.command)
		for want := range strings.SplitSeq(tt.want, "\n") {
			if got := line(); got != want {
				t.Errorf("%.40q = %.100s, want %s", tt.command, got, want)
			}
		}
		if n := s.answers.Load(); n != maxAllAnswers {
			t.Errorf("%.40q leaves %d bytes more", tt.command, n-maxAllAnswers)
		}
	}
	// Those to a pipeline are sent one by one: there need not be room for all.
	s.answers.Store(maxAllAnswers - size - size/2)
	fmt.Fprint(client, "set {t}x 1\r\nget {t}big\r\nget {t}big\r\n")
	if got := line(); got != "+OK" {
		t.Fatalf("set in a pipeline = %.100s", got)
	}
	for range 2 {
		if got := line(); got != fmt.Sprint("$", size) {
			t.Fatalf("get in a pipeline = %.100s", got)
		}
		if _, err := io.CopyN(io.Discard, in, size+2); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprint(client, "ping\r\n")
	if got := line(); got != "+PONG" || s.answers.Load() != maxAllAnswers-size-size/2 {
		t.Errorf("after a pipeline: %.100s, %d bytes are left", got, s.answers.Load())
	}
	s.answers.Store(0)
	fmt.Fprint(client, "get {t}big\r\nping\r\n")
	if got := line(); got != fmt.Sprint("$", size) {
		t.Fatalf("get with room = %.100s", got)
	}
	if got := s.answers.Load(); got < size {
		t.Errorf("an answer that is being sent counts for %d bytes", got)
	}
	if _, err := io.CopyN(io.Discard, in, size+2); err != nil || line() != "+PONG" {
		t.Fatal("the answer is cut short")
	}
	if n := s.answers.Load(); n != 0 {
		t.Errorf("%d bytes are left when all was sent", n)
	}
}

// An answer that was broken off for want of room is refused, also where there is room again
// before its command ends.
func TestAnswersThatWereBrokenOffAreRefused(t *testing.T) {
	s, out := &server{}, reply{}
	v := view{c: &conn{s: s}, out: &out, read: func(names []string) (results []slotmesh.ItemResult) {
		for _, name := range names {
			results = append(results, slotmesh.ItemResult{Item: slotmesh.Item{Key: name, Value: make([]byte, flushBytes)}})
		}
		return results
	}}
	s.answers.Store(maxAllAnswers)
	mget(&v, [][]byte{[]byte("mget"), []byte("a"), []byte("b")})
	if len(out.b) > 2*flushBytes {
		t.Errorf("%d bytes are answered, want one of two values", len(out.b))
	}
	s.answers.Store(0)
	if err := v.bounded(); !errors.Is(err, errAllAnswers) {
		t.Errorf("half an answer gives %v, want %v", err, errAllAnswers)
	}
}
