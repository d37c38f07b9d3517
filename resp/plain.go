package resp

import "github.com/slotmesh/slotmesh"

// plainness is what a command is that needs nothing but its key and what it is told.
type plainness uint8

const (
	notPlain plainness = iota
	plainGet
	plainSet // but with GET
	plainSetEx
	plainSetNX
	plainIncr
	plainDel    // of one key
	plainExpire // from now on, without conditions
)

// plain says what a command is.
func plain(args [][]byte) plainness {
	name := args[0]
	switch n := len(args); {
	case n == 2 && word(name, "GET"):
		return plainGet
	case n == 2 && (word(name, "INCR") || word(name, "DECR")), n == 3 && (word(name, "INCRBY") || word(name, "DECRBY")):
		return plainIncr
	case n == 2 && (word(name, "DEL") || word(name, "UNLINK")):
		return plainDel
	case n >= 3 && word(name, "SET"):
		if s, ok := parseSet(args); ok && !s.old {
			return plainSet
		}
	case n == 3 && word(name, "SETNX"):
		return plainSetNX
	case n == 4 && (word(name, "SETEX") || word(name, "PSETEX")):
		return plainSetEx
	case n == 3 && (word(name, "EXPIRE") || word(name, "PEXPIRE")):
		if _, ok := lifetime(args[2], word(name, "EXPIRE")); ok {
			return plainExpire
		}
	}
	return notPlain
}

// add adds a plain command to a group; nil: it has answered, with what is wrong with it.
func (c *conn) add(group *slotmesh.Batch, what plainness, args [][]byte) *slotmesh.BatchResult {
	key, value := string(args[1]), args[len(args)-1]
	switch what {
	case plainGet:
		return group.Get(key)
	case plainIncr:
		delta, ok := c.out.delta(args)
		if !ok {
			return nil
		}
		return group.Incr(key, delta)
	case plainDel:
		return group.Delete(key)
	case plainSetNX:
		return group.Set(key, value, slotmesh.IfAbsent())
	case plainExpire:
		d, _ := lifetime(value, word(args[0], "EXPIRE"))
		return group.Expire(key, d)
	}
	s, name := setting{}, "set"
	if what == plainSetEx {
		s, name = parseSetEx(args)
	} else {
		s, _ = parseSet(args)
		value = args[2]
	}
	opts, ok := c.out.options(&s, name)
	if !ok {
		return nil
	}
	return group.Set(key, value, opts[:]...)
}
