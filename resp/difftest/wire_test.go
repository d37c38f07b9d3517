package difftest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wire is a client that shows answers byte by byte, so that types count, and
// follows redirects by itself.
type wire struct {
	t     *testing.T
	conns map[string]*bufio.ReadWriter
	seed  string
	last  string // where the last command was answered
	hello string
}

func newWire(t *testing.T, seed, protocol string) *wire {
	return &wire{t: t, conns: map[string]*bufio.ReadWriter{}, seed: seed, last: seed, hello: protocol}
}

func (w *wire) conn(addr string) *bufio.ReadWriter {
	w.t.Helper()
	if c := w.conns[addr]; c != nil {
		return c
	}
	nc, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(5 * time.Minute))
	c := bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc))
	w.conns[addr] = c
	if w.hello != "2" {
		w.ask(addr, "HELLO", w.hello)
	}
	return c
}

// ask sends a command to one node and returns the bytes of its answer.
func (w *wire) ask(addr string, args ...string) string {
	w.t.Helper()
	c := w.conn(addr)
	fmt.Fprintf(c, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(c, "$%d\r\n%s\r\n", len(a), a)
	}
	if err := c.Flush(); err != nil {
		w.t.Fatalf("%q: %v", args, err)
	}
	var b strings.Builder
	if err := copyReply(&b, c.Reader); err != nil {
		w.t.Fatalf("%q: answer %q, %v", args, b.String(), err)
	}
	return b.String()
}

// do is ask of the node that serves the keys.
func (w *wire) do(args ...string) string {
	w.t.Helper()
	addr := w.seed
	for range 5 {
		answer := w.ask(addr, args...)
		if !strings.HasPrefix(answer, "-MOVED ") {
			w.last = addr
			return answer
		}
		addr = strings.TrimSpace(answer[strings.LastIndexByte(answer, ' ')+1:])
	}
	w.t.Fatalf("%q was moved five times", args)
	return ""
}

// owner is the node that serves a key.
func (w *wire) owner(key string) string {
	w.t.Helper()
	w.do("EXISTS", key)
	return w.last
}

func copyReply(b *strings.Builder, in *bufio.Reader) error {
	line, err := in.ReadString('\n')
	b.WriteString(line)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$', '=':
		if n >= 0 {
			_, err = io.CopyN(b, in, int64(n)+2)
		}
	case '%':
		n *= 2
		fallthrough
	case '*', '~', '>':
		for range n {
			if err := copyReply(b, in); err != nil {
				return err
			}
		}
	}
	return err
}
