package resp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// parseAll reads all commands of a stream.
func parseAll(p *parser, from io.Reader) (commands [][]string, err error) {
	for {
		for {
			args, ok, err := p.next(nil)
			if err != nil {
				return commands, err
			}
			if !ok {
				break
			}
			var words []string
			for _, a := range args {
				words = append(words, string(a))
			}
			commands = append(commands, words)
		}
		if err := p.fill(from); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return commands, err
		}
	}
}

func TestParse(t *testing.T) {
	big := strings.Repeat("x", 3*readBuffer)
	for _, tt := range []struct {
		name, in string
		want     string // commands joined by ';', words by ','
		fault    string
	}{
		{"a command", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "GET,a", ""},
		{"a pipeline", "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "PING;GET,", ""},
		{"a large argument", "*2\r\n$4\r\nECHO\r\n$49152\r\n" + big + "\r\n*1\r\n$4\r\nPING\r\n", "ECHO," + big + ";PING", ""},
		{"inline", "SET a  b\r\nget a\n", "SET,a,b;get,a", ""},
		{"inline with quotes", `set "a\x41\n" 'it\'s'` + "\r\n", "set,aA\n,it's", ""},
		{"inline with rare blanks", "\v\fset\v a\fb\n", "set\v,a\fb", ""}, // which only precede a word
		{"an empty line", "\r\nPING\r\n", ";PING", ""},
		{"an empty array", "*0\r\n*-1\r\nPING\r\n", ";;PING", ""},
		{"unfinished", "*2\r\n$3\r\nGET\r\n$5\r\nab", "", ""},
		{"no bulk", "*1\r\n:3\r\n", "", "Protocol error: expected '$', got ':'"},
		{"no text", "*1\r\n\xd33\r\n", "", "Protocol error: expected '$', got '\xd3'"},
		{"negative bulk", "*1\r\n$-1\r\n", "", "Protocol error: invalid bulk length"},
		{"a huge bulk", "*1\r\n$99999999999\r\n", "", "Protocol error: invalid bulk length"},
		{"no number", "*x\r\n", "", "Protocol error: invalid multibulk length"},
		{"too many", "*2000000\r\n", "", "Protocol error: invalid multibulk length"},
		{"open quote", "set \"a\r\n", "", "Protocol error: unbalanced quotes in request"},
		{"a long line", strings.Repeat("x", maxInline+2*readBuffer), "", "Protocol error: too big inline request"},
		{"a long count", "*" + strings.Repeat("1", maxInline+2*readBuffer), "", "Protocol error: too big mbulk count string"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"at once": strings.NewReader(tt.in), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.in)),
			} {
				commands, err := parseAll(newParser(1<<20), r)
				var got []string
				for _, c := range commands {
					got = append(got, strings.Join(c, ","))
				}
				if joined := strings.Join(got, ";"); joined != tt.want {
					t.Errorf("%s: %.100q, want %.100q", name, joined, tt.want)
				}
				if err == nil && tt.fault != "" || err != nil && err.Error() != tt.fault {
					t.Errorf("%s: error %v, want %q", name, err, tt.fault)
				}
			}
		})
	}
}

func TestParseAllowsStrangersLittle(t *testing.T) {
	for _, in := range []string{"*11\r\n", "*2\r\n$4\r\nAUTH\r\n$20000\r\n"} {
		p := newParser(1 << 20)
		p.limited = true
		if _, err := parseAll(p, strings.NewReader(in)); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}

func TestParserLetsLargeBuffersGo(t *testing.T) {
	p := newParser(8 << 20)
	in := "*1\r\n$4194304\r\n" + strings.Repeat("x", 4<<20) + "\r\n" + strings.Repeat("PING\r\n", 10000)
	if _, err := parseAll(p, strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if cap(p.buf) > keepBuffer {
		t.Errorf("the buffer is still %d bytes large", cap(p.buf))
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	one := []byte("*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$3\r\nabc\r\n")
	in := bytes.Repeat(one, 16)
	p, r := newParser(1<<20), bytes.NewReader(nil)
	args := make([][]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		r.Reset(in)
		if err := p.fill(r); err != nil {
			t.Fatal(err)
		}
		for range 16 {
			var ok bool
			if args, ok, _ = p.next(args[:0]); !ok || len(args) != 3 {
				t.Fatal("no command")
			}
		}
	}); n != 0 {
		t.Errorf("16 commands allocate %v times", n)
	}
}

// What comes in pieces is the same as what comes at once, and costs no more
// memory than was sent.
func FuzzParse(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\na\r\n"), false)
	f.Add([]byte("set \"a\\x41\" 'b'\r\n*1\r\n$4\r\nPING\r\n"), true)
	f.Add([]byte("*1000000\r\n$1\r\n"), false)
	f.Fuzz(func(t *testing.T, in []byte, limited bool) {
		whole, pieces := newParser(1<<20), newParser(1<<20)
		whole.limited, pieces.limited = limited, limited
		a, errA := parseAll(whole, bytes.NewReader(in))
		b, errB := parseAll(pieces, iotest.HalfReader(iotest.OneByteReader(bytes.NewReader(in))))
		if (errA == nil) != (errB == nil) || len(a) != len(b) {
			t.Fatalf("at once %q, %v; in pieces %q, %v", a, errA, b, errB)
		}
		for i := range a {
			if strings.Join(a[i], "\x00") != strings.Join(b[i], "\x00") {
				t.Errorf("command %d is %q at once and %q in pieces", i, a[i], b[i])
			}
		}
		if limit := 4*len(in) + 4*readBuffer; cap(whole.buf) > limit {
			t.Errorf("%d bytes take %d", len(in), cap(whole.buf))
		}
	})
}
