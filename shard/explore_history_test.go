package shard

import "fmt"

type opKind uint8

const (
	opRead opKind = iota
	opWrite
	opSwap // compare and swap
)

// op is one call of a client about one key. Values are never written twice;
// 0 is the value of a key that was never written.
type op struct {
	kind      opKind
	arg, old  int  // write, swap: the new value; swap: the one expected
	got       int  // read: the answer
	ok        bool // swap: it took place
	call, ret int  // positions in the history; ret is never where unanswered
	by        NodeID
	ver       uint64 // given to it, if any
}

const never = 1 << 30

func (o op) String() string {
	s := [...]string{"read", "write", "swap"}[o.kind]
	switch o.kind {
	case opRead:
		s += fmt.Sprintf(" = %d", o.got)
	case opWrite:
		s += fmt.Sprintf(" %d", o.arg)
	case opSwap:
		s += fmt.Sprintf(" %d->%d = %v", o.old, o.arg, o.ok)
	}
	return fmt.Sprintf("[%d,%d] at %v %s ver %d/%d", o.call, o.ret, o.by, s, o.ver>>40, o.ver&(1<<40-1))
}

// apply returns the key's value after o, and whether o's answer fits.
func (o *op) apply(value int) (int, bool) {
	switch o.kind {
	case opRead:
		return value, o.got == value
	case opWrite:
		return o.arg, true
	default:
		if o.ret == never { // whatever it did
			if value == o.old {
				return o.arg, true
			}
			return value, true
		}
		if o.ok != (value == o.old) {
			return value, false
		}
		if o.ok {
			return o.arg, true
		}
		return value, true
	}
}

type linState struct {
	done  uint64
	value int
}

// linearizable reports whether the calls of one key can be put in an order
// that explains their answers. Unanswered ones may have taken place or not.
func linearizable(ops []op) bool {
	if len(ops) > 64 {
		panic("history too long for the checker")
	}
	var must uint64
	for i := range ops {
		if ops[i].ret != never {
			must |= 1 << i
		}
	}
	seen := map[linState]bool{}
	var try func(s linState) bool
	try = func(s linState) bool {
		if s.done&must == must {
			return true
		}
		if seen[s] {
			return false
		}
		seen[s] = true
		first := never // no call that began after this may come next
		for i := range ops {
			if s.done&(1<<i) == 0 {
				first = min(first, ops[i].ret)
			}
		}
		for i := range ops {
			if s.done&(1<<i) != 0 || ops[i].call > first {
				continue
			}
			if v, ok := ops[i].apply(s.value); ok && try(linState{s.done | 1<<i, v}) {
				return true
			}
		}
		return false
	}
	return try(linState{})
}
