package resp

import (
	"strconv"
	"strings"
)

// reply is what is to be sent to a client, in RESP2 or RESP3.
type reply struct {
	b     []byte
	three bool // RESP3
}

func (r *reply) head(kind byte, n int64) {
	r.b = append(r.b, kind)
	r.b = strconv.AppendInt(r.b, n, 10)
	r.b = append(r.b, '\r', '\n')
}

func (r *reply) int(n int64) { r.head(':', n) }

func (r *reply) truth(yes bool) {
	if yes {
		r.b = append(r.b, ":1\r\n"...)
	} else {
		r.b = append(r.b, ":0\r\n"...)
	}
}

func (r *reply) simple(s string) {
	r.b = append(r.b, '+')
	r.b = append(r.b, s...)
	r.b = append(r.b, '\r', '\n')
}

func (r *reply) ok() { r.b = append(r.b, "+OK\r\n"...) }

// line breaks would end an error too early.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// fail replies with an error, text beginning with its code. Line breaks at its end go, as
// in Redis.
func (r *reply) fail(text string) {
	r.b = append(r.b, '-')
	r.b = append(r.b, oneLine.Replace(strings.TrimRight(text, "\r\n"))...)
	r.b = append(r.b, '\r', '\n')
}

func (r *reply) bulk(b []byte) {
	r.head('$', int64(len(b)))
	r.b = append(r.b, b...)
	r.b = append(r.b, '\r', '\n')
}

func (r *reply) text(s string) {
	r.head('$', int64(len(s)))
	r.b = append(r.b, s...)
	r.b = append(r.b, '\r', '\n')
}

// verbatim is text for people.
func (r *reply) verbatim(s string) {
	if !r.three {
		r.text(s)
		return
	}
	r.head('=', int64(len(s)+4))
	r.b = append(r.b, "txt:"...)
	r.b = append(r.b, s...)
	r.b = append(r.b, '\r', '\n')
}

func (r *reply) null() {
	if r.three {
		r.b = append(r.b, "_\r\n"...)
	} else {
		r.b = append(r.b, "$-1\r\n"...)
	}
}

func (r *reply) nullArray() {
	if r.three {
		r.b = append(r.b, "_\r\n"...)
	} else {
		r.b = append(r.b, "*-1\r\n"...)
	}
}

func (r *reply) array(n int) { r.head('*', int64(n)) }

// pairs begins a map of n keys, which follow with their values.
func (r *reply) pairs(n int) {
	if r.three {
		r.head('%', int64(n))
	} else {
		r.head('*', int64(2*n))
	}
}

func (r *reply) set(n int) {
	if r.three {
		r.head('~', int64(n))
	} else {
		r.head('*', int64(n))
	}
}

// push begins what a client did not ask for, as messages are.
func (r *reply) push(n int) {
	if r.three {
		r.head('>', int64(n))
	} else {
		r.head('*', int64(n))
	}
}

func (r *reply) texts(list ...string) {
	r.array(len(list))
	for _, s := range list {
		r.text(s)
	}
}
