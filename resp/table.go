package resp

import "github.com/slotmesh/slotmesh/hashtag"

// flags of a command: those of Redis that clients look at, and what may be
// done when.
type flags uint16

const (
	readonly   flags = 1 << iota
	write            // changes a key
	fast             // takes time that does not depend on what is stored
	admin            // for operators
	pubsub           // about messages
	noAuth           // before a client has authenticated
	noMulti          // not inside MULTI
	control          // not queued in MULTI, as what is of MULTI itself
	subscribed       // also while subscribed
	blindly          // takes keys of different slots where calls are forwarded
	denyOOM
	movable // the keys are not where first, last and step say
)

var flagNames = []struct {
	flag flags
	name string
}{
	{readonly, "readonly"}, {write, "write"}, {denyOOM, "denyoom"}, {fast, "fast"}, {admin, "admin"}, {pubsub, "pubsub"},
	{noAuth, "no_auth"}, {noMulti, "no_multi"}, {movable, "movablekeys"},
}

// command is one that clients may send.
type command struct {
	name  string
	arity int // negative: at least
	flags flags
	group string
	about string
	// The arguments that are keys: first, last (negative: from the end) and
	// step; no keys if first is 0.
	first, last, step int
	// label is what notifications say of the keys that tx writes; 0: set, or del.
	label uint8

	// run answers by itself; tx reads and writes keys of one slot, as a
	// transaction by itself or as part of one. Of a command with subcommands
	// subs is set.
	run  func(c *conn, args [][]byte)
	tx   func(v *view, args [][]byte)
	subs map[string]*command
	// alone is a faster way of tx outside of MULTI; false: take tx.
	alone func(c *conn, args [][]byte) bool
}

// commands is filled by init, since its entries refer to it.
var commands map[string]*command

func init() {
	commands = map[string]*command{}
	for _, list := range [][]command{stringCommands, keyCommands, connCommands, serverCommands, pubsubCommands, multiCommands} {
		for i := range list {
			commands[list[i].name] = &list[i]
		}
	}
	for name, subs := range map[string][]command{
		"cluster": clusterCommands, "client": clientCommands, "config": configCommands, "command": commandCommands,
		"object": objectCommands, "memory": memoryCommands, "pubsub": pubsubSubcommands, "latency": latencyCommands,
	} {
		cmd := commands[name]
		cmd.subs = map[string]*command{}
		for i := range subs {
			short := subs[i].name
			subs[i].name = name + "|" + short
			subs[i].group = cmd.group
			cmd.subs[short] = &subs[i]
		}
		cmd.subs["help"] = cmd.help()
	}
}

// find looks a command up by its name in any case. It does not allocate.
func find(name []byte) *command {
	var lower [24]byte
	if len(name) > len(lower) {
		return nil
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return commands[string(lower[:len(name)])]
}

// keysOf appends the keys among the arguments.
func (cmd *command) keysOf(keys [][]byte, args [][]byte) [][]byte {
	if cmd.first == 0 {
		return keys
	}
	last := cmd.last
	if last < 0 {
		last += len(args)
	}
	for i := cmd.first; i <= last && i < len(args); i += cmd.step {
		keys = append(keys, args[i])
	}
	return keys
}

// slotOf is the slot of a command's keys; -1 without keys, -2 where they are
// in different ones.
func (cmd *command) slotOf(args [][]byte) int {
	if cmd.first == 0 {
		return -1
	}
	last := cmd.last
	if last < 0 {
		last += len(args)
	}
	slot := -1
	for i := cmd.first; i <= last && i < len(args); i += cmd.step {
		switch s := int(hashtag.SlotBytes(args[i])); {
		case slot < 0:
			slot = s
		case slot != s:
			return -2
		}
	}
	return slot
}

func (cmd *command) flagList() (list []string) {
	for _, f := range flagNames {
		if cmd.flags&f.flag != 0 {
			list = append(list, f.name)
		}
	}
	return list
}

// categories are the command's in Redis's access control lists.
func (cmd *command) categories() []string {
	var list []string
	for _, f := range []struct {
		flag flags
		name string
	}{{readonly, "@read"}, {write, "@write"}, {admin, "@admin"}, {pubsub, "@pubsub"}} {
		if cmd.flags&f.flag != 0 {
			list = append(list, f.name)
		}
	}
	switch cmd.group {
	case "string", "connection":
		list = append(list, "@"+cmd.group)
	case "generic":
		list = append(list, "@keyspace")
	case "transactions":
		list = append(list, "@transaction")
	}
	if cmd.flags&fast != 0 {
		return append(list, "@fast")
	}
	return append(list, "@slow")
}

// word reports whether an argument is a keyword, in any case. It does not
// allocate.
func word(arg []byte, keyword string) bool {
	if len(arg) != len(keyword) {
		return false
	}
	for i, a := range arg {
		if b := keyword[i]; a != b {
			if low := a | 0x20; a^b != 0x20 || low < 'a' || low > 'z' {
				return false
			}
		}
	}
	return true
}
