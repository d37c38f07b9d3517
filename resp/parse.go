package resp

import (
	"bytes"
	"io"
	"strconv"
)

// Bounds of what a client may send. A client that has yet to authenticate is
// allowed little, as in Redis.
const (
	maxInline       = 64 << 10
	maxArgs         = 1 << 20
	maxArgsNoAuth   = 10
	maxBulkNoAuth   = 16 << 10
	maxCommandBytes = 128 << 20 // of one command with all its arguments

	readBuffer = 16 << 10
	keepBuffer = 1 << 20 // a larger buffer is let go once it is not needed
)

// protocolError is an input after which a connection can't go on.
type protocolError string

func (e protocolError) Error() string { return "Protocol error: " + string(e) }

// parser takes commands out of a stream of bytes. Between a fill and the next
// the arguments it returned stay as they are.
type parser struct {
	buf     []byte
	r, w    int // unread bytes are buf[r:w]
	maxBulk int
	limited bool // the client has not authenticated

	// Of a command that is not complete:
	left  int    // arguments to come
	bulk  int    // length of the argument under way; -1: not known yet
	begin int    // where the command begins
	spans []span // the arguments that are there
}

// span is a part of parser.buf.
type span struct{ from, to int }

func newParser(maxBulk int) *parser { return &parser{maxBulk: maxBulk, bulk: -1} }

// fill reads once. It moves the bytes that earlier commands were made of.
func (p *parser) fill(from io.Reader) error {
	keep := p.r
	if p.left > 0 {
		keep = p.begin
	}
	if keep > 0 {
		p.w = copy(p.buf, p.buf[keep:p.w])
		p.r -= keep
		p.begin -= keep
		for i := range p.spans {
			p.spans[i].from -= keep
			p.spans[i].to -= keep
		}
	}
	switch {
	case cap(p.buf) > keepBuffer && p.w < readBuffer && p.bulk < readBuffer:
		p.buf = append(make([]byte, 0, readBuffer), p.buf[:p.w]...)
	case p.w == cap(p.buf):
		if p.w > maxCommandBytes {
			return protocolError("too big command")
		}
		p.buf = append(make([]byte, 0, max(2*cap(p.buf), readBuffer)), p.buf[:p.w]...)
	}
	p.buf = p.buf[:cap(p.buf)]
	n, err := from.Read(p.buf[p.w:])
	p.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// next appends the arguments of the next complete command to args. ok is false
// where more bytes are needed. An empty command gives no arguments.
func (p *parser) next(args [][]byte) (_ [][]byte, ok bool, err error) {
	if p.left == 0 {
		if p.r == p.w {
			return args, false, nil
		}
		p.begin = p.r
		if p.buf[p.r] != '*' {
			return p.inline(args)
		}
		line, ok, err := p.line("too big mbulk count string")
		if !ok || err != nil {
			return args, false, err
		}
		n, numeric := number(line[1:])
		switch {
		case !numeric || n > maxArgs:
			return args, false, protocolError("invalid multibulk length")
		case p.limited && n > maxArgsNoAuth:
			return args, false, protocolError("unauthenticated multibulk length")
		case n <= 0:
			return args, true, nil
		}
		p.left, p.bulk, p.spans = int(n), -1, p.spans[:0]
	}
	for p.left > 0 {
		if p.bulk < 0 {
			line, ok, err := p.line("too big bulk count string")
			if !ok || err != nil {
				return args, false, err
			}
			if len(line) == 0 || line[0] != '$' {
				got := byte('\r')
				if len(line) > 0 {
					got = line[0]
				}
				return args, false, protocolError("expected '$', got '" + string([]byte{got}) + "'")
			}
			n, numeric := number(line[1:])
			switch {
			case !numeric || n < 0 || n > int64(p.maxBulk):
				return args, false, protocolError("invalid bulk length")
			case p.limited && n > maxBulkNoAuth:
				return args, false, protocolError("unauthenticated bulk length")
			case p.r-p.begin+int(n) > maxCommandBytes:
				return args, false, protocolError("too big command")
			}
			p.bulk = int(n)
		}
		if p.w-p.r < p.bulk+2 {
			return args, false, nil
		}
		p.spans = append(p.spans, span{p.r, p.r + p.bulk})
		p.r += p.bulk + 2 // what ends it is not looked at, as in Redis
		p.bulk = -1
		p.left--
	}
	for _, s := range p.spans {
		args = append(args, p.buf[s.from:s.to:s.to])
	}
	if cap(p.spans) > maxInline {
		p.spans = nil
	}
	return args, true, nil
}

// line takes one line off, without its end.
func (p *parser) line(tooLong string) (line []byte, ok bool, err error) {
	i := bytes.IndexByte(p.buf[p.r:p.w], '\r')
	if i < 0 {
		if p.w-p.r > maxInline {
			return nil, false, protocolError(tooLong)
		}
		return nil, false, nil
	}
	if p.r+i+1 >= p.w { // the line feed is still to come
		return nil, false, nil
	}
	line = p.buf[p.r : p.r+i]
	p.r += i + 2
	return line, true, nil
}

// number is a decimal number as Redis writes them: no plus sign, no leading
// zeros.
func number(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	if len(b) == 1 && b[0] >= '0' && b[0] <= '9' {
		return int64(b[0] - '0'), true
	}
	digits := b
	if b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 || digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64) // of at most 20 bytes: not on the heap
	return n, err == nil
}

// inline reads a command as people type it.
func (p *parser) inline(args [][]byte) (_ [][]byte, ok bool, err error) {
	i := bytes.IndexByte(p.buf[p.r:p.w], '\n')
	if i < 0 {
		if p.w-p.r > maxInline {
			err = protocolError("too big inline request")
		}
		return args, false, err
	}
	line := bytes.TrimSuffix(p.buf[p.r:p.r+i], []byte("\r"))
	p.r += i + 1
	args, ok = split(args, line)
	if !ok {
		return args, false, protocolError("unbalanced quotes in request")
	}
	return args, true, nil
}

// split cuts a line into words, which may be quoted as in C or, with single
// quotes, as they are.
func split(words [][]byte, line []byte) ([][]byte, bool) {
	for {
		line = bytes.TrimLeft(line, " \t\n\v\f\r\x00")
		if len(line) == 0 {
			return words, true
		}
		word := []byte{}
		for len(line) > 0 && !bytes.ContainsAny(line[:1], " \t\n\r\x00") { // others do not end a word, as in Redis
			if line[0] != '"' && line[0] != '\'' {
				word = append(word, line[0])
				line = line[1:]
				continue
			}
			quoted, rest, ok := unquote(line)
			if !ok || len(rest) > 0 && !bytes.ContainsAny(rest[:1], " \t\n\v\f\r\x00") {
				return words, false
			}
			word, line = append(word, quoted...), rest
		}
		words = append(words, word)
	}
}

var escapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'a': '\a'}

// unquote reads a quoted string at the beginning of b.
func unquote(b []byte) (text, rest []byte, ok bool) {
	quote := b[0]
	for b = b[1:]; len(b) > 0; {
		switch {
		case b[0] == quote:
			return text, b[1:], true
		case quote == '"' && len(b) > 3 && b[0] == '\\' && b[1] == 'x':
			if n, err := strconv.ParseUint(string(b[2:4]), 16, 8); err == nil {
				text, b = append(text, byte(n)), b[4:]
				continue
			}
			text, b = append(text, 'x'), b[2:]
		case quote == '"' && len(b) > 1 && b[0] == '\\':
			c, special := escapes[b[1]]
			if !special {
				c = b[1]
			}
			text, b = append(text, c), b[2:]
		case quote == '\'' && len(b) > 1 && b[0] == '\\' && b[1] == '\'':
			text, b = append(text, '\''), b[2:]
		default:
			text, b = append(text, b[0]), b[1:]
		}
	}
	return nil, nil, false
}
