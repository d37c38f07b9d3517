package resp

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// serverVersion is the release of Redis whose replies and error texts these
// are. Clients choose by it what they ask for.
const serverVersion = "7.2.0"

// connCommands are set by init: help about commands refers to the table.
var connCommands []command

func init() {
	connCommands = []command{
		{name: "ping", arity: -1, flags: fast | subscribed, group: "connection", about: "Returns PONG, or its argument.", run: ping},
		{name: "echo", arity: 2, flags: fast, group: "connection", about: "Returns its argument.", run: func(c *conn, args [][]byte) { c.out.bulk(args[1]) }},
		{name: "select", arity: 2, flags: fast, group: "connection", about: "Selects database 0.", run: selectDB},
		{name: "auth", arity: -2, flags: fast | noAuth, group: "connection", about: "Authenticates the client.", run: auth},
		{name: "hello", arity: -1, flags: fast | noAuth, group: "connection", about: "Begins a connection.", run: hello},
		{name: "reset", arity: 1, flags: fast | noAuth | control | subscribed, group: "connection", about: "Brings the connection back to where it began.", run: func(c *conn, _ [][]byte) {
			c.reset()
			c.out.simple("RESET")
		}},
		{name: "quit", arity: -1, flags: fast | noAuth | control | subscribed, group: "connection", about: "Closes the connection.", run: func(c *conn, _ [][]byte) {
			c.out.ok()
			c.closing = true
		}},
		{name: "client", arity: -2, group: "connection", about: "A container for commands about clients."},
		{name: "asking", arity: 1, flags: fast, group: "cluster", about: "Lets the next command be for a slot on its way here.", run: func(c *conn, _ [][]byte) {
			c.asking = true
			c.out.ok()
		}},
		{name: "readonly", arity: 1, flags: fast, group: "cluster", about: "Lets reads be answered from backups.", run: func(c *conn, _ [][]byte) {
			c.readonly = true
			c.out.ok()
		}},
		{name: "readwrite", arity: 1, flags: fast, group: "cluster", about: "Ends READONLY.", run: func(c *conn, _ [][]byte) {
			c.readonly = false
			c.out.ok()
		}},
		{name: "cluster", arity: -2, group: "cluster", about: "A container for commands about the cluster."},
	}
}

var clientCommands = []command{
	{name: "id", arity: 2, about: "Returns the connection's number.", run: func(c *conn, _ [][]byte) { c.out.int(c.id) }},
	{name: "getname", arity: 2, about: "Returns the connection's name.", run: func(c *conn, _ [][]byte) {
		if name := *c.name.Load(); name != "" {
			c.out.text(name)
		} else {
			c.out.null()
		}
	}},
	{name: "setname", arity: 3, about: "Names the connection.", run: func(c *conn, args [][]byte) {
		if c.rename(args[2]) {
			c.out.ok()
		}
	}},
	{name: "setinfo", arity: 4, about: "Tells of the client's library.", run: clientSetInfo},
	{name: "info", arity: 2, about: "Describes the connection.", run: func(c *conn, _ [][]byte) { c.out.verbatim(c.describe() + "\n") }},
	{name: "list", arity: -2, flags: admin, about: "Describes the connections of this node.", run: clientList},
	{name: "kill", arity: -3, flags: admin, about: "Closes connections of this node.", run: clientKill},
	{name: "no-evict", arity: 3, flags: admin, about: "Does nothing: clients are not evicted.", run: onOff},
	{name: "no-touch", arity: 3, about: "Does nothing: reads change no key.", run: onOff},
	{name: "reply", arity: 3, about: "Takes ON alone.", run: func(c *conn, args [][]byte) {
		switch {
		case word(args[2], "ON"):
			c.out.ok()
		case word(args[2], "OFF"), word(args[2], "SKIP"):
			c.out.fail("ERR CLIENT REPLY takes ON alone here")
		default:
			c.out.fail(errSyntax)
		}
	}},
	{name: "tracking", arity: -3, about: "Takes OFF alone.", run: func(c *conn, args [][]byte) {
		switch {
		case word(args[2], "OFF"):
			c.out.ok()
		case word(args[2], "ON"):
			c.out.fail("ERR Client tracking is not supported")
		default:
			c.out.fail(errSyntax)
		}
	}},
	{name: "getredir", arity: 2, about: "Returns -1: there is no tracking.", run: func(c *conn, _ [][]byte) { c.out.int(-1) }},
}

func ping(c *conn, args [][]byte) {
	switch {
	case len(args) > 2:
		c.out.fail("ERR wrong number of arguments for 'ping' command")
	case c.sub != nil && c.sub.listens() && !c.out.three:
		c.out.array(2)
		c.out.text("pong")
		if len(args) == 2 {
			c.out.bulk(args[1])
		} else {
			c.out.text("")
		}
	case len(args) == 2:
		c.out.bulk(args[1])
	default:
		c.out.simple("PONG")
	}
}

func selectDB(c *conn, args [][]byte) {
	var db int64
	switch {
	case !c.out.database(args[1], &db):
	case db != 0:
		c.out.fail("ERR SELECT is not allowed in cluster mode")
	default:
		c.out.ok()
	}
}

const (
	errWrongPass = "WRONGPASS invalid username-password pair or user is disabled."
	errBadName   = "ERR Client names cannot contain spaces, newlines or special characters."
	errNoHello   = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
)

// defaultUser is who clients are that name no user.
const defaultUser = "default"

func auth(c *conn, args [][]byte) {
	user, password := defaultUser, string(args[len(args)-1])
	switch {
	case len(args) > 3:
		c.out.fail(errSyntax)
		return
	case len(args) == 3:
		user = string(args[1])
	case len(c.s.users) == 0:
		c.out.fail("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
		return
	}
	if !c.s.password(user, password) {
		c.out.fail(errWrongPass)
		return
	}
	c.become(user)
	c.out.ok()
}

// greeting is what HELLO asks for.
type greeting struct {
	three          bool
	auth           bool
	user, password string
	name           []byte // nil: none
}

// greets reads HELLO; refusal is "" where it will be as it says.
func (c *conn) greets(args [][]byte) (g greeting, refusal string) {
	g.three = c.out.three
	if len(args) > 1 {
		n, ok := number(args[1])
		if !ok {
			return g, "ERR Protocol version is not an integer or out of range"
		}
		if n != 2 && n != 3 {
			return g, "NOPROTO unsupported protocol version"
		}
		g.three = n == 3
	}
	for i := 2; i < len(args); i++ {
		switch {
		case word(args[i], "AUTH") && i+2 < len(args):
			g.auth, g.user, g.password = true, string(args[i+1]), string(args[i+2])
			i += 2
		case word(args[i], "SETNAME") && i+1 < len(args):
			if i++; !printable(args[i]) {
				return g, errBadName
			}
			g.name = args[i]
		default:
			return g, "ERR Syntax error in HELLO option '" + clip(args[i], 128) + "'"
		}
	}
	switch {
	case g.auth && !c.s.password(g.user, g.password):
		return g, errWrongPass
	case !g.auth && c.user == "":
		return g, errNoHello
	}
	return g, ""
}

func hello(c *conn, args [][]byte) {
	g, refusal := c.greets(args)
	if refusal != "" {
		c.out.fail(refusal)
		return
	}
	if g.auth {
		c.become(g.user)
	}
	if g.name != nil {
		c.rename(g.name)
	}
	c.out.three = g.three
	c.out.pairs(7)
	c.out.text("server")
	c.out.text("redis")
	c.out.text("version")
	c.out.text(serverVersion)
	c.out.text("proto")
	c.out.int(map[bool]int64{false: 2, true: 3}[g.three])
	c.out.text("id")
	c.out.int(c.id)
	c.out.text("mode")
	c.out.text("cluster")
	c.out.text("role")
	c.out.text("master")
	c.out.text("modules")
	c.out.array(0)
}

// printable reports whether text has only bytes that do not break a line of
// CLIENT LIST.
func printable(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c < '!' || c > '~' })
}

// rename names the connection; false: it has answered.
func (c *conn) rename(name []byte) bool {
	if !printable(name) {
		c.out.fail(errBadName)
		return false
	}
	text := clip(name, 1024)
	c.name.Store(&text)
	return true
}

func clientSetInfo(c *conn, args [][]byte) {
	at := 0
	switch {
	case word(args[2], "LIB-NAME"):
	case word(args[2], "LIB-VER"):
		at = 1
	default:
		c.out.fail("ERR Unrecognized option '" + clip(args[2], 128) + "'")
		return
	}
	if !printable(args[3]) {
		c.out.fail("ERR " + strings.ToLower(string(args[2])) + " cannot contain spaces, newlines or special characters.")
		return
	}
	text := clip(args[3], 128)
	c.lib[at].Store(&text)
	c.out.ok()
}

func onOff(c *conn, args [][]byte) {
	if !word(args[2], "ON") && !word(args[2], "OFF") {
		c.out.fail(errSyntax)
		return
	}
	c.out.ok()
}

// state is what CLIENT LIST tells of a connection that its own goroutine alone knows.
type state struct {
	user     string
	subs     [kinds]int
	multi    int // commands queued; -1: not in MULTI
	watched  int
	three    bool
	readonly bool
}

// show lets others know the connection as it is now.
func (c *conn) show() {
	now := state{user: c.user, multi: -1, watched: len(c.watched), three: c.out.three, readonly: c.readonly}
	if c.multi {
		now.multi = len(c.queued)
	}
	if c.sub != nil {
		for k, names := range c.sub.names {
			now.subs[k] = len(names)
		}
	}
	if before := c.shown.Load(); before == nil || *before != now {
		changed := now // on the heap, which most commands need not be
		c.shown.Store(&changed)
	}
}

func (s *state) listens() bool { return s.subs != [kinds]int{} }

// account is the user's name; who has yet to authenticate is the default one, as in Redis.
func (s *state) account() string { return cmp.Or(s.user, defaultUser) }

// letters are the flags of CLIENT LIST.
func (s *state) letters() string {
	letters := ""
	if s.listens() {
		letters += "P"
	}
	if s.multi >= 0 {
		letters += "x"
	}
	if s.readonly {
		letters += "r"
	}
	return cmp.Or(letters, "N")
}

// describe is a line of CLIENT LIST. Other connections may call it.
func (c *conn) describe() string {
	st, protocol := c.shown.Load(), 2
	if st.three {
		protocol = 3
	}
	idle := max(time.Now().Unix()-c.lastUsed.Load(), 0)
	command := "NULL"
	if name := c.lastName.Load(); name != nil {
		command = *name
	}
	lib := [2]string{}
	for i := range lib {
		if text := c.lib[i].Load(); text != nil {
			lib[i] = *text
		}
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=0 sub=%d psub=%d ssub=%d multi=%d watch=%d qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=%s user=%s redir=-1 resp=%d lib-name=%s lib-ver=%s",
		c.id, c.nc.RemoteAddr(), c.nc.LocalAddr(), c.id, *c.name.Load(), int64(time.Since(c.began).Seconds()), idle, st.letters(),
		st.subs[channels], st.subs[patterns], st.subs[shards], st.multi, st.watched, command, st.account(), protocol, lib[0], lib[1])
}

// others are the connections of the server, in the order of their numbers.
func (s *server) others() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.clients))
	for _, c := range s.clients {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *conn) int { return int(a.id - b.id) })
	return list
}

// ofType tells the connections of a type; nil: it has answered.
func (c *conn) ofType(name []byte) func(*conn) bool {
	switch strings.ToLower(string(name)) {
	case "normal":
		return func(o *conn) bool { return !o.shown.Load().listens() }
	case "pubsub":
		return func(o *conn) bool { return o.shown.Load().listens() }
	case "master", "replica", "slave":
		return func(*conn) bool { return false }
	}
	c.out.fail("ERR Unknown client type '" + clip(name, 128) + "'")
	return nil
}

func clientList(c *conn, args [][]byte) {
	wanted := func(*conn) bool { return true }
	switch {
	case len(args) == 2:
	case len(args) == 4 && word(args[2], "TYPE"):
		if wanted = c.ofType(args[3]); wanted == nil {
			return
		}
	case len(args) > 3 && word(args[2], "ID"):
		ids := map[int64]bool{}
		for _, arg := range args[3:] {
			n, ok := number(arg)
			if !ok {
				c.out.fail("ERR Invalid client ID")
				return
			}
			ids[n] = true
		}
		wanted = func(o *conn) bool { return ids[o.id] }
	default:
		c.out.fail(errSyntax)
		return
	}
	var b strings.Builder
	for _, o := range c.s.others() {
		if wanted(o) {
			b.WriteString(o.describe() + "\n")
		}
	}
	c.out.verbatim(b.String())
}

func clientKill(c *conn, args [][]byte) {
	if len(args) == 3 { // by address, the old way
		for _, o := range c.s.others() {
			if o.nc.RemoteAddr().String() == string(args[2]) {
				c.kill(o)
				c.out.ok()
				return
			}
		}
		c.out.fail("ERR No such client")
		return
	}
	skipMe := true
	var tests []func(*conn) bool
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			c.out.fail(errSyntax)
			return
		}
		value := string(args[i+1])
		switch {
		case word(args[i], "ID"):
			n, ok := number(args[i+1])
			if !ok || n <= 0 {
				c.out.fail("ERR client-id should be greater than 0")
				return
			}
			tests = append(tests, func(o *conn) bool { return o.id == n })
		case word(args[i], "ADDR"):
			tests = append(tests, func(o *conn) bool { return o.nc.RemoteAddr().String() == value })
		case word(args[i], "LADDR"):
			tests = append(tests, func(o *conn) bool { return o.nc.LocalAddr().String() == value })
		case word(args[i], "TYPE"):
			fits := c.ofType(args[i+1])
			if fits == nil {
				return
			}
			tests = append(tests, fits)
		case word(args[i], "USER"):
			if _, ok := c.s.users[value]; !ok && value != defaultUser {
				c.out.fail("ERR No such user '" + clip(args[i+1], 128) + "'")
				return
			}
			tests = append(tests, func(o *conn) bool { return o.shown.Load().account() == value })
		case word(args[i], "SKIPME") && (word(args[i+1], "yes") || word(args[i+1], "no")):
			skipMe = word(args[i+1], "yes")
		default:
			c.out.fail(errSyntax)
			return
		}
	}
	count := int64(0)
	for _, o := range c.s.others() {
		if o == c && skipMe || slices.ContainsFunc(tests, func(fits func(*conn) bool) bool { return !fits(o) }) {
			continue
		}
		c.kill(o)
		count++
	}
	c.out.int(count)
}

// kill closes a connection; its own once it has the answer.
func (c *conn) kill(o *conn) {
	if o == c {
		c.closing = true
		return
	}
	o.nc.Close()
}
