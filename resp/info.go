package resp

import (
	"fmt"
	"maps"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh"
)

// serverCommands are set by init, as connCommands are.
var serverCommands []command

func init() {
	serverCommands = []command{
		{name: "info", arity: -1, group: "server", about: "Describes the node in lines.", run: info},
		{name: "time", arity: 1, flags: fast, group: "server", about: "Returns the time.", run: func(c *conn, _ [][]byte) {
			now := time.Now()
			c.out.texts(itoa(now.Unix()), itoa(int64(now.Nanosecond()/1000)))
		}},
		{name: "config", arity: -2, flags: admin, group: "server", about: "A container for commands about settings."},
		{name: "command", arity: -1, group: "server", about: "Describes commands.", run: commandAll},
		{name: "role", arity: 1, flags: fast, group: "server", about: "Returns that this is a master.", run: func(c *conn, _ [][]byte) {
			c.out.array(3)
			c.out.text("master")
			c.out.int(0)
			c.out.array(0)
		}},
		{name: "latency", arity: -2, flags: admin, group: "server", about: "A container for commands about latency."},
		{name: "debug", arity: -2, flags: admin | control, group: "server", about: "Is refused.", run: func(c *conn, _ [][]byte) {
			c.refuse("ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.")
		}},
		{name: "shutdown", arity: -1, flags: admin | noMulti, group: "server", about: "Ends the program, where it allows that.", run: shutdown},
		{name: "wait", arity: 3, group: "generic", about: "Returns how many backups every acknowledged write has reached.", run: wait},
	}
}

var configCommands = []command{
	{name: "get", arity: -3, flags: admin, about: "Returns settings that match patterns.", run: configGet},
	{name: "set", arity: -4, flags: admin, about: "Sets notify-keyspace-events.", run: configSet},
	{name: "resetstat", arity: 2, flags: admin, about: "Sets the counters of INFO to zero.", run: func(c *conn, _ [][]byte) {
		for _, n := range c.s.stats.counters() {
			n.Store(0)
		}
		c.out.ok()
	}},
	{name: "rewrite", arity: 2, flags: admin, about: "Is refused.", run: func(c *conn, _ [][]byte) {
		c.out.fail("ERR The server is running without a config file")
	}},
}

var latencyCommands = []command{
	{name: "latest", arity: 2, flags: admin, about: "Returns nothing: latency is not monitored.", run: func(c *conn, _ [][]byte) { c.out.array(0) }},
	{name: "history", arity: 3, flags: admin, about: "Returns nothing.", run: func(c *conn, _ [][]byte) { c.out.array(0) }},
	{name: "reset", arity: -2, flags: admin, about: "Returns 0.", run: func(c *conn, _ [][]byte) { c.out.int(0) }},
}

var commandCommands []command

func init() {
	commandCommands = []command{
		{name: "count", arity: 2, about: "Counts the commands.", run: func(c *conn, _ [][]byte) { c.out.int(int64(len(commands))) }},
		{name: "info", arity: -2, about: "Describes commands.", run: commandInfo},
		{name: "docs", arity: -2, about: "Returns what commands are for.", run: commandDocs},
		{name: "list", arity: -2, about: "Returns the names of the commands.", run: commandList},
		{name: "getkeys", arity: -3, about: "Returns the keys among a command's arguments.", run: commandGetKeys},
	}
}

// section is a part of INFO.
type section struct {
	name  string
	lines func(c *conn) []string
}

var sections = []section{
	{"Server", func(c *conn) []string {
		up := time.Since(c.s.started)
		return []string{
			"redis_version:" + serverVersion, "redis_git_sha1:00000000", "redis_git_dirty:0", "redis_mode:cluster", "server_name:slotmesh",
			"os:" + runtime.GOOS + " " + runtime.GOARCH, "arch_bits:" + itoa(strconv.IntSize), "process_id:" + itoa(int64(pid())), "run_id:" + c.s.runID,
			"tcp_port:" + c.s.addr[strings.LastIndexByte(c.s.addr, ':')+1:], fmt.Sprintf("server_time_usec:%d", time.Now().UnixMicro()),
			fmt.Sprintf("uptime_in_seconds:%d", int64(up.Seconds())), fmt.Sprintf("uptime_in_days:%d", int64(up.Hours()/24)), "slotmesh_node:" + c.s.self,
		}
	}},
	{"Clients", func(c *conn) []string {
		return []string{fmt.Sprintf("connected_clients:%d", len(c.s.others())), "cluster_connections:" + itoa(int64(2*(len(c.s.look().members)-1))), fmt.Sprintf("maxclients:%d", c.s.maxClients), "blocked_clients:0"}
	}},
	{"Memory", func(c *conn) []string {
		st, process := c.s.cache.Stats(), footprint()
		return []string{
			fmt.Sprintf("used_memory:%d", st.MemoryBytes), "used_memory_human:" + human(st.MemoryBytes),
			fmt.Sprintf("used_memory_rss:%d", process), "used_memory_rss_human:" + human(process),
			fmt.Sprintf("maxmemory:%d", st.MemoryLimit), "maxmemory_human:" + human(st.MemoryLimit), "maxmemory_policy:" + policyOf(&st),
		}
	}},
	{"Persistence", func(*conn) []string {
		return []string{"loading:0", "rdb_bgsave_in_progress:0", "aof_enabled:0", "aof_rewrite_in_progress:0"}
	}},
	{"Stats", func(c *conn) []string {
		st, own, now := c.s.cache.Stats(), &c.s.stats, time.Now()
		commands, in, out := own.commands.Load(), own.received.Load(), own.sent.Load()
		return []string{
			fmt.Sprintf("total_connections_received:%d", own.connections.Load()), fmt.Sprintf("total_commands_processed:%d", commands),
			fmt.Sprintf("instantaneous_ops_per_sec:%.0f", own.commandRate.look(commands, now, c.s.started)),
			fmt.Sprintf("total_net_input_bytes:%d", in), fmt.Sprintf("total_net_output_bytes:%d", out),
			fmt.Sprintf("instantaneous_input_kbps:%.2f", own.receivedRate.look(in, now, c.s.started)/1024),
			fmt.Sprintf("instantaneous_output_kbps:%.2f", own.sentRate.look(out, now, c.s.started)/1024),
			fmt.Sprintf("rejected_connections:%d", own.rejected.Load()), fmt.Sprintf("expired_keys:%d", st.Expiries), fmt.Sprintf("evicted_keys:%d", st.Evictions),
			fmt.Sprintf("keyspace_hits:%d", own.hits.Load()), fmt.Sprintf("keyspace_misses:%d", own.misses.Load()),
		}
	}},
	{"Replication", func(c *conn) []string {
		return []string{"role:master", "connected_slaves:0", "master_failover_state:no-failover", "master_replid:" + c.s.runID, "master_repl_offset:0"}
	}},
	{"CPU", func(*conn) []string {
		user, system, ok := usage()
		if !ok {
			return nil
		}
		return []string{fmt.Sprintf("used_cpu_sys:%.6f", system.Seconds()), fmt.Sprintf("used_cpu_user:%.6f", user.Seconds())}
	}},
	{"Cluster", func(*conn) []string { return []string{"cluster_enabled:1"} }},
	{"Keyspace", func(c *conn) []string {
		if n := c.count(); n > 0 {
			return []string{fmt.Sprintf("db0:keys=%d,expires=0,avg_ttl=0", n)}
		}
		return nil
	}},
}

// footprint is the memory that the program has from the system, all of it.
func footprint() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64()) - int64(s[1].Value.Uint64())
}

// policyOf is Redis's name of what happens at the memory limit.
func policyOf(st *slotmesh.Stats) string {
	if st.Eviction == slotmesh.EvictNone {
		return "noeviction"
	}
	return "allkeys-lfu"
}

func human(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if n >= u.size {
			return fmt.Sprintf("%.2f%s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}

func info(c *conn, args [][]byte) {
	var parts []string
	for _, s := range sections {
		wanted := len(args) == 1
		for _, arg := range args[1:] {
			wanted = wanted || word(arg, s.name) || word(arg, "all") || word(arg, "default") || word(arg, "everything")
		}
		if wanted {
			lines := append([]string{"# " + s.name}, s.lines(c)...)
			parts = append(parts, strings.Join(lines, "\r\n")+"\r\n")
		}
	}
	c.out.verbatim(strings.Join(parts, "\r\n"))
}

// notifySetting is the one that CONFIG SET changes.
const notifySetting = "notify-keyspace-events"

// settings are what CONFIG GET tells of.
func (c *conn) settings() map[string]string {
	host, port := c.s.addr, ""
	if i := strings.LastIndexByte(c.s.addr, ':'); i >= 0 {
		host, port = c.s.addr[:i], c.s.addr[i+1:]
	}
	st := c.s.cache.Stats()
	return map[string]string{
		"maxmemory": itoa(st.MemoryLimit), "maxmemory-policy": policyOf(&st), "maxclients": itoa(int64(c.s.maxClients)),
		"proto-max-bulk-len": itoa(int64(c.s.maxBulk)), "save": "", "appendonly": "no", "timeout": "0", "tcp-keepalive": "15", "databases": "1",
		"cluster-enabled": "yes", "cluster-require-full-coverage": "no", "port": port, "bind": host, notifySetting: classes(c.s.notices.classes.Load()).String(),
	}
}

func configGet(c *conn, args [][]byte) {
	settings, found := c.settings(), map[string]string{}
	for _, arg := range args[2:] {
		if value, ok := settings[strings.ToLower(string(arg))]; ok {
			found[string(arg)] = value // by the name as it was asked for
			continue
		}
		for name, value := range settings {
			if slotmesh.MatchGlob(strings.ToLower(string(arg)), name) {
				found[name] = value
			}
		}
	}
	c.out.pairs(len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		c.out.text(name)
		c.out.text(found[name])
	}
}

// configSet changes which keyspace notifications this node sends. Everything
// else is an option of the program.
func configSet(c *conn, args [][]byte) {
	if len(args)%2 != 0 {
		c.out.fail(errSyntax)
		return
	}
	settings := c.settings()
	refused := func(name, why string) {
		c.out.fail("ERR CONFIG SET failed (possibly related to argument '" + name + "') - " + why)
	}
	for i := 2; i < len(args); i += 2 {
		name := strings.ToLower(string(args[i]))
		if _, ok := settings[name]; !ok {
			c.out.fail("ERR Unknown option or number of arguments for CONFIG SET - '" + clip(args[i], 128) + "'")
			return
		}
		if name != notifySetting {
			refused(name, "can't set immutable config")
			return
		}
		if i > 2 {
			refused(name, "duplicate parameter")
			return
		}
	}
	all, ok := parseClasses(string(args[3]))
	if !ok {
		refused(notifySetting, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
		return
	}
	if err := c.s.notify(all); err != nil {
		refused(notifySetting, err.Error())
		return
	}
	c.out.ok()
}

func shutdown(c *conn, args [][]byte) {
	said := map[string]bool{}
	for _, arg := range args[1:] {
		option := strings.ToUpper(string(arg))
		if !slices.Contains([]string{"NOSAVE", "SAVE", "NOW", "FORCE", "ABORT"}, option) {
			c.out.fail(errSyntax)
			return
		}
		said[option] = true
	}
	if said["SAVE"] && said["NOSAVE"] || said["ABORT"] && len(said) > 1 {
		c.out.fail(errSyntax)
		return
	}
	if said["ABORT"] {
		c.out.fail("ERR No shutdown in progress.")
		return
	}
	if c.s.shutdown == nil {
		c.out.fail("ERR SHUTDOWN is not allowed: the node is part of a program")
		return
	}
	c.s.shutdownOnce.Do(func() { c.s.wg.Go(c.s.shutdown) })
	c.closing = true
}

// wait answers at once: a write that was answered has reached every in-sync
// backup of its slot.
func wait(c *conn, args [][]byte) {
	var n int64
	if !c.out.integer(args[1], &n) {
		return
	}
	timeout, ok := number(args[2])
	switch {
	case !ok:
		c.out.fail("ERR timeout is not an integer or out of range")
		return
	case timeout < 0:
		c.out.fail("ERR timeout is negative")
		return
	}
	t := c.s.look()
	least := -1
	for no, m := range t.primary {
		if m != nil && m == t.self && (least < 0 || len(t.backups[no]) < least) {
			least = len(t.backups[no])
		}
	}
	c.out.int(int64(max(least, 0)))
}

// sub is a subcommand by its name in any case.
func (cmd *command) sub(name []byte) *command {
	return cmd.subs[strings.ToLower(string(name[:min(len(name), 64)]))]
}

// describe writes what COMMAND says of a command.
func (cmd *command) describe(r *reply) {
	r.array(10)
	r.text(cmd.name)
	r.int(int64(cmd.arity))
	r.set(len(cmd.flagList()))
	for _, f := range cmd.flagList() {
		r.simple(f)
	}
	r.int(int64(cmd.first))
	r.int(int64(cmd.last))
	r.int(int64(cmd.step))
	categories := cmd.categories()
	r.set(len(categories))
	for _, name := range categories {
		r.simple(name)
	}
	r.array(0)
	r.array(0)
	r.array(len(cmd.subs))
	for _, name := range slices.Sorted(maps.Keys(cmd.subs)) {
		cmd.subs[name].describe(r)
	}
}

func commandAll(c *conn, args [][]byte) {
	names := slices.Sorted(maps.Keys(commands))
	c.out.array(len(names))
	for _, name := range names {
		commands[name].describe(&c.out)
	}
}

// named are the commands that arguments name; nil for one that there is not.
func named(args [][]byte) (list []*command) {
	if len(args) == 0 {
		for _, name := range slices.Sorted(maps.Keys(commands)) {
			list = append(list, commands[name])
		}
		return list
	}
	for _, arg := range args {
		name, sub, part := strings.Cut(string(arg), "|")
		cmd := find([]byte(name))
		if cmd != nil && part {
			cmd = cmd.sub([]byte(sub))
		}
		list = append(list, cmd)
	}
	return list
}

func commandInfo(c *conn, args [][]byte) {
	list := named(args[2:])
	c.out.array(len(list))
	for _, cmd := range list {
		if cmd == nil {
			c.out.null()
		} else {
			cmd.describe(&c.out)
		}
	}
}

// commandList names commands, subcommands too where it is told which.
func commandList(c *conn, args [][]byte) {
	wanted := func(*command) bool { return true }
	switch {
	case len(args) == 2:
		c.out.texts(slices.Sorted(maps.Keys(commands))...)
		return
	case len(args) != 5 || !word(args[2], "FILTERBY"):
		c.out.fail(errSyntax)
		return
	case word(args[3], "MODULE"):
		wanted = func(*command) bool { return false }
	case word(args[3], "ACLCAT"):
		category := "@" + strings.ToLower(string(args[4]))
		wanted = func(cmd *command) bool { return slices.Contains(cmd.categories(), category) }
	case word(args[3], "PATTERN"):
		pattern := strings.ToLower(string(args[4]))
		wanted = func(cmd *command) bool { return slotmesh.MatchGlob(pattern, cmd.name) }
	default:
		c.out.fail(errSyntax)
		return
	}
	var names []string
	look := func(list map[string]*command) {
		for _, cmd := range list {
			if wanted(cmd) {
				names = append(names, cmd.name)
			}
		}
	}
	look(commands)
	for _, cmd := range commands {
		look(cmd.subs)
	}
	slices.Sort(names)
	c.out.texts(names...)
}

// help is the subcommand that says what others a command has.
func (cmd *command) help() *command {
	return &command{name: cmd.name + "|help", arity: 2, group: cmd.group, about: "Prints this help.", run: func(c *conn, _ [][]byte) {
		lines := []string{strings.ToUpper(cmd.name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
		for _, name := range slices.Sorted(maps.Keys(cmd.subs)) {
			lines = append(lines, strings.ToUpper(name), "    "+cmd.subs[name].about)
		}
		c.out.array(len(lines))
		for _, line := range lines {
			c.out.simple(line)
		}
	}}
}

func commandGetKeys(c *conn, args [][]byte) {
	args = args[2:]
	cmd := find(args[0])
	if cmd != nil && cmd.subs != nil && len(args) > 1 {
		cmd = cmd.sub(args[1])
	}
	switch {
	case cmd == nil:
		c.out.fail("ERR Invalid command specified")
	case cmd.first == 0:
		c.out.fail("ERR The command has no key arguments")
	case cmd.arity > 0 && len(args) != cmd.arity || len(args) < -cmd.arity:
		c.out.fail("ERR Invalid number of arguments specified for command")
	default:
		found := cmd.keysOf(nil, args)
		c.out.array(len(found))
		for _, key := range found {
			c.out.bulk(key)
		}
	}
}
