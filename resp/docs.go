package resp

import (
	"maps"
	"slices"
	"strings"
)

// forms are the arguments of commands as Redis writes them: what is in brackets may be
// left out.
var forms = map[string]string{
	"ping":                          "[message]",
	"echo":                          "message",
	"select":                        "index",
	"auth":                          "[username] password",
	"hello":                         "[protover [AUTH username password] [SETNAME clientname]]",
	"client|setname":                "connection-name",
	"client|setinfo":                "LIB-NAME|LIB-VER value",
	"client|list":                   "[TYPE NORMAL|MASTER|REPLICA|PUBSUB] [ID client-id [client-id ...]]",
	"client|kill":                   "ip:port|filter [value ...]",
	"client|no-evict":               "ON|OFF",
	"client|no-touch":               "ON|OFF",
	"client|reply":                  "ON",
	"client|tracking":               "OFF",
	"cluster|keyslot":               "key",
	"cluster|countkeysinslot":       "slot",
	"cluster|getkeysinslot":         "slot count",
	"cluster|replicas":              "node-id",
	"cluster|slaves":                "node-id",
	"cluster|count-failure-reports": "node-id",
	"cluster|failover":              "[FORCE|TAKEOVER]",
	"cluster|meet":                  "ip port [cluster-bus-port]",
	"cluster|forget":                "node-id",
	"cluster|replicate":             "node-id",
	"cluster|reset":                 "[HARD|SOFT]",
	"cluster|addslots":              "slot [slot ...]",
	"cluster|addslotsrange":         "start-slot end-slot [start-slot end-slot ...]",
	"cluster|delslots":              "slot [slot ...]",
	"cluster|delslotsrange":         "start-slot end-slot [start-slot end-slot ...]",
	"cluster|setslot":               "slot IMPORTING|MIGRATING|NODE|STABLE [node-id]",
	"cluster|set-config-epoch":      "config-epoch",
	"info":                          "[section [section ...]]",
	"shutdown":                      "[NOSAVE|SAVE] [NOW] [FORCE] [ABORT]",
	"wait":                          "numreplicas timeout",
	"config|get":                    "parameter [parameter ...]",
	"config|set":                    "parameter value [parameter value ...]",
	"latency|history":               "event",
	"latency|reset":                 "[event [event ...]]",
	"command|info":                  "[command-name [command-name ...]]",
	"command|docs":                  "[command-name [command-name ...]]",
	"command|list":                  "[FILTERBY MODULE name|ACLCAT category|PATTERN pattern]",
	"command|getkeys":               "command [arg [arg ...]]",
	"del":                           "key [key ...]",
	"unlink":                        "key [key ...]",
	"exists":                        "key [key ...]",
	"touch":                         "key [key ...]",
	"type":                          "key",
	"ttl":                           "key",
	"pttl":                          "key",
	"expiretime":                    "key",
	"pexpiretime":                   "key",
	"expire":                        "key seconds [NX|XX|GT|LT]",
	"pexpire":                       "key milliseconds [NX|XX|GT|LT]",
	"expireat":                      "key unix-time-seconds [NX|XX|GT|LT]",
	"pexpireat":                     "key unix-time-milliseconds [NX|XX|GT|LT]",
	"persist":                       "key",
	"rename":                        "key newkey",
	"renamenx":                      "key newkey",
	"copy":                          "source destination [DB destination-db] [REPLACE]",
	"dump":                          "key",
	"restore":                       "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
	"keys":                          "pattern",
	"scan":                          "cursor [MATCH pattern] [COUNT count] [TYPE type]",
	"flushall":                      "[ASYNC|SYNC]",
	"flushdb":                       "[ASYNC|SYNC]",
	"object|encoding":               "key",
	"object|refcount":               "key",
	"object|idletime":               "key",
	"object|freq":                   "key",
	"memory|usage":                  "key [SAMPLES count]",
	"watch":                         "key [key ...]",
	"subscribe":                     "channel [channel ...]",
	"psubscribe":                    "pattern [pattern ...]",
	"ssubscribe":                    "shardchannel [shardchannel ...]",
	"unsubscribe":                   "[channel [channel ...]]",
	"punsubscribe":                  "[pattern [pattern ...]]",
	"sunsubscribe":                  "[shardchannel [shardchannel ...]]",
	"publish":                       "channel message",
	"spublish":                      "shardchannel message",
	"pubsub|channels":               "[pattern]",
	"pubsub|shardchannels":          "[pattern]",
	"pubsub|numsub":                 "[channel [channel ...]]",
	"pubsub|shardnumsub":            "[shardchannel [shardchannel ...]]",
	"get":                           "key",
	"set":                           "key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
	"setex":                         "key seconds value",
	"psetex":                        "key milliseconds value",
	"setnx":                         "key value",
	"getset":                        "key value",
	"getdel":                        "key",
	"getex":                         "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]",
	"mget":                          "key [key ...]",
	"mset":                          "key value [key value ...]",
	"msetnx":                        "key value [key value ...]",
	"append":                        "key value",
	"strlen":                        "key",
	"getrange":                      "key start end",
	"substr":                        "key start end",
	"setrange":                      "key offset value",
	"incr":                          "key",
	"decr":                          "key",
	"incrby":                        "key increment",
	"decrby":                        "key decrement",
	"incrbyfloat":                   "key increment",
}

// arguments splits a form at the blanks that are outside of brackets.
func arguments(form string) (list []string) {
	depth, begin := 0, 0
	for i := range len(form) {
		switch form[i] {
		case '[':
			depth++
		case ']':
			depth--
		case ' ':
			if depth == 0 {
				list = append(list, form[begin:i])
				begin = i + 1
			}
		}
	}
	if form == "" {
		return nil
	}
	return append(list, form[begin:])
}

// commandDocs is what redis-cli takes its help and its hints from.
func commandDocs(c *conn, args [][]byte) {
	c.out.docs(slices.DeleteFunc(named(args[2:]), func(cmd *command) bool { return cmd == nil }))
}

func (r *reply) docs(list []*command) {
	r.pairs(len(list))
	for _, cmd := range list {
		r.text(cmd.name)
		r.pairs(3 + min(len(forms[cmd.name]), 1) + min(len(cmd.subs), 1))
		r.text("summary")
		r.text(cmd.about)
		r.text("since")
		r.text("1.0.0")
		r.text("group")
		r.text(cmd.group)
		if form := forms[cmd.name]; form != "" {
			r.text("arguments")
			r.arguments(arguments(form))
		}
		if len(cmd.subs) > 0 {
			r.text("subcommands")
			subs := make([]*command, 0, len(cmd.subs))
			for _, name := range slices.Sorted(maps.Keys(cmd.subs)) {
				subs = append(subs, cmd.subs[name])
			}
			r.docs(subs)
		}
	}
}

// arguments writes each as a word, whatever it is made of.
func (r *reply) arguments(list []string) {
	r.array(len(list))
	for _, arg := range list {
		name, optional := strings.CutPrefix(arg, "[")
		if optional {
			name = strings.TrimSuffix(name, "]")
			r.pairs(3)
			r.text("flags")
			r.set(1)
			r.simple("optional")
		} else {
			r.pairs(2)
		}
		r.text("name")
		r.text(name)
		r.text("type")
		r.text("string")
	}
}
