package resp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh"
)

const (
	batchCommands = 1024      // of a pipeline that are looked at together
	flushBytes    = 256 << 10 // answers beyond are sent before more commands run; far below keepBuffer

	writeBytes   = 1 << 20 // that a client has to take in writeTimeout
	writeTimeout = time.Minute
)

// conn is a client. All but what mu guards belongs to its goroutine.
type conn struct {
	s       *server
	nc      net.Conn
	id      int64
	began   time.Time
	in      *backlog
	parser  *parser
	out     reply
	args    [][]byte // of all commands of the batch
	batch   [][][]byte
	running [][]byte // the command that is run
	scratch []byte
	answer  int64 // bytes of s.answers that are this one's

	ctx  context.Context // calls go wherever they have to
	stay context.Context // calls stay on this node, unless all are forwarded

	user     string // "" until authenticated
	asking   bool   // the next command, or transaction, may be for a slot on its way here
	readonly bool
	closing  bool // after the answers so far

	multi   bool
	spoiled bool // a command could not be queued
	queued  [][][]byte
	size    int // bytes queued
	watched map[string]uint64

	sub      *subscriber
	name     atomic.Pointer[string]
	lib      [2]atomic.Pointer[string]
	lastUsed atomic.Int64 // Unix seconds
	lastName atomic.Pointer[string]
	shown    atomic.Pointer[state] // for others; set before they know of the connection

	mu sync.Mutex // held while writing to nc; the connection's goroutine takes it by hold
}

func newConn(s *server, nc net.Conn, id int64) *conn {
	c := &conn{s: s, nc: nc, id: id, began: time.Now(), in: newBacklog(nc, &s.backlogs), parser: newParser(s.maxBulk)}
	c.ctx = s.ctx
	c.stay = slotmesh.NoForward(s.ctx)
	if s.forward {
		c.stay = s.ctx
	}
	c.touch(nil)
	c.reset()
	c.show()
	return c
}

// reset brings the connection back to where it began.
func (c *conn) reset() {
	c.out.three = false
	if len(c.s.users) == 0 {
		c.become(defaultUser)
	} else {
		c.become("")
	}
	c.asking, c.readonly = false, false
	c.name.Store(new(string))
	c.discard()
	c.unwatch()
	c.unsubscribeAll()
}

// become makes the connection a user's; "": nobody's.
func (c *conn) become(user string) {
	c.user = user
	c.parser.limited, c.in.limited = user == "", user == ""
}

func (c *conn) touch(cmd *command) {
	c.lastUsed.Store(time.Now().Unix())
	if cmd != nil {
		c.lastName.Store(&cmd.name)
	}
}

// run serves the client until it goes or is sent away.
func (c *conn) run() {
	defer c.s.forget(c)
	defer func() { c.in.drop(len(c.in.chunks)) }()
	defer c.unsubscribeAll()
	defer c.nc.Close()
	for {
		more, fault := c.parse()
		c.execute()
		if fault != nil && !c.closing {
			c.out.fail("ERR " + fault.Error())
			c.closing = true
		}
		if c.flush() != nil || c.closing {
			return
		}
		if more {
			continue
		}
		if err := c.parser.fill(c.in); err != nil {
			var protocol protocolError
			if errors.As(err, &protocol) {
				c.out.fail("ERR " + err.Error())
				_ = c.flush()
			}
			return
		}
	}
}

// parse takes all commands that have arrived as a batch. There may be more where it
// takes no more than a batch may have: one, if that may be AUTH, which lifts the
// bounds for those behind it.
func (c *conn) parse() (more bool, err error) {
	room := batchCommands
	if c.parser.limited {
		room = 1
	}
	c.args, c.batch = c.args[:0], c.batch[:0]
	for len(c.batch) < room {
		before := len(c.args)
		args, ok, err := c.parser.next(c.args)
		if !ok || err != nil {
			return false, err
		}
		c.args = args
		if n := len(args); n > before {
			// Not to be mistaken for room to append to.
			c.batch = append(c.batch, args[before:n:n])
		}
	}
	return true, nil
}

// execute runs the commands of the batch one by one, or several at once where
// nobody can tell.
func (c *conn) execute() {
	for i := 0; i < len(c.batch) && !c.closing; {
		if n := c.together(c.batch[i:]); n > 0 {
			i += n
		} else {
			c.command(c.batch[i])
			c.show()
			i++
		}
		if len(c.out.b) > flushBytes && c.flush() != nil {
			c.closing = true
		}
		c.settle()
	}
	if cap(c.args) > maxInline || cap(c.parser.buf) > keepBuffer {
		// The parser lets its buffer go, and so does who refers to it.
		c.args, c.running = nil, nil
		clear(c.batch)
	}
}

// flush sends the answers so far. A client that does not take them keeps its
// connection waiting here, and nothing else.
func (c *conn) flush() error {
	if len(c.out.b) == 0 {
		return nil
	}
	c.hold()
	defer c.release()
	return c.flushLocked()
}

// hold takes mu for the connection's goroutine. Until release it may have to wait for
// the client, which may first want to be read from.
func (c *conn) hold() {
	c.in.begin()
	c.mu.Lock()
}

func (c *conn) release() {
	c.mu.Unlock()
	c.in.end()
}

func (c *conn) flushLocked() error {
	err := c.sendLocked(c.out.b)
	if c.sub != nil {
		c.sub.three = c.out.three // messages behind an answer to HELLO are as that says
	}
	if c.out.b = c.out.b[:0]; cap(c.out.b) > keepBuffer {
		c.out.b = nil
	}
	return err
}

// sendLocked gives a client time for each part of what is long.
func (c *conn) sendLocked(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), writeBytes)
		_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := c.nc.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// command runs one command.
func (c *conn) command(args [][]byte) {
	c.s.stats.commands.Add(1)
	stay := c.stay
	if c.asking {
		// The slot is on its way here, and perhaps has not arrived: whoever
		// serves it answers.
		c.stay = c.ctx
	}
	defer func() {
		// A transaction is asked as a whole.
		c.stay, c.asking = stay, c.asking && (c.multi || word(args[0], "ASKING"))
	}()
	if word(args[0], "POST") || word(args[0], "HOST:") {
		// HTTP, which a web page had a browser send here: what follows may be commands.
		c.s.logger.Warn("connection of an HTTP client closed", "addr", c.nc.RemoteAddr())
		c.closing = true
		return
	}
	c.running = args
	cmd := find(args[0])
	if cmd != nil && cmd.subs != nil && len(args) > 1 {
		sub := cmd.sub(args[1])
		if sub == nil {
			c.refuse("ERR unknown subcommand '" + clip(args[1], 128) + "'. Try " + strings.ToUpper(cmd.name) + " HELP.")
			return
		}
		cmd = sub
	}
	c.touch(cmd)
	switch {
	case cmd == nil:
		c.refuse(unknown(args))
		return
	case cmd.arity > 0 && len(args) != cmd.arity || len(args) < -cmd.arity:
		c.refuse("ERR wrong number of arguments for '" + cmd.name + "' command")
		return
	case c.user == "" && cmd.flags&noAuth == 0:
		c.refuse("NOAUTH Authentication required.")
		return
	case c.multi && cmd.flags&noMulti != 0:
		c.refuse("ERR Command not allowed inside a transaction")
		return
	case c.sub != nil && c.sub.listens() && !c.out.three && cmd.flags&subscribed == 0:
		c.refuse("ERR Can't execute '" + cmd.name + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
		return
	case c.multi && cmd.flags&control == 0:
		c.queue(cmd, args)
		return
	}
	c.do(cmd, args)
}

// do runs a command whose form is right.
func (c *conn) do(cmd *command, args [][]byte) {
	switch {
	case cmd.run != nil:
		cmd.run(c, args)
	default:
		c.transact(cmd, args)
	}
}

// refuse answers a command that is not run, and spoils a transaction; EXEC itself
// ends it.
func (c *conn) refuse(text string) {
	if word(c.running[0], "EXEC") {
		c.discard()
		c.unwatch()
		text = errAborted + " because of: " + strings.TrimPrefix(text, "ERR ")
	}
	c.spoiled = c.spoiled || c.multi
	c.out.fail(text)
}

// unknown is Redis's text for a command that there is not.
func unknown(args [][]byte) string {
	var b strings.Builder
	b.WriteString("ERR unknown command '" + clip(args[0], 128) + "', with args beginning with: ")
	begin := b.Len()
	for _, a := range args[1:] {
		room := 128 - (b.Len() - begin)
		if room <= 0 {
			break
		}
		b.WriteString("'" + clip(a, room) + "' ")
	}
	return b.String()
}

// clip is an argument as Redis has C print it into an error: n bytes at most, up to a
// zero.
func clip(b []byte, n int) string {
	b, _, _ = bytes.Cut(b[:min(len(b), n)], []byte{0})
	return string(b)
}

// call makes calls that stay on this node, or where the node that the slot
// belongs to serves no RESP, wherever they have to be made.
func (c *conn) call(f func(ctx context.Context) error) error {
	err := f(c.stay)
	if moved, ok := errors.AsType[*slotmesh.MovedError](err); ok && addrOf(moved.Node) == "" {
		return f(c.ctx)
	}
	if ask, ok := errors.AsType[*slotmesh.AskError](err); ok && addrOf(ask.Node) == "" {
		return f(c.ctx)
	}
	return err
}

// fault answers with an error of the library's.
func (c *conn) fault(err error) {
	text, ok := c.elsewhere(err)
	if !ok {
		text = faultText(err)
	}
	c.out.fail(text)
}

func faultText(err error) string {
	if moved, ok := errors.AsType[*slotmesh.MovedError](err); ok {
		return "MOVED " + itoa(int64(moved.Slot)) + " " + addrOf(moved.Node)
	}
	if ask, ok := errors.AsType[*slotmesh.AskError](err); ok {
		return "ASK " + itoa(int64(ask.Slot)) + " " + addrOf(ask.Node)
	}
	for _, f := range faults {
		if errors.Is(err, f.err) {
			return f.text
		}
	}
	return "ERR " + strings.TrimPrefix(err.Error(), "slotmesh: ") // of what is too large, above all
}

// faults are the library's errors in Redis's words. The order counts: an error
// may be several.
var faults = []struct {
	err  error
	text string
}{
	// It may have happened, so no client may repeat it by itself.
	{slotmesh.ErrUnknownOutcome, "ERR the outcome is unknown: the node that served the slot was lost"},
	{slotmesh.ErrNoMemory, "OOM command not allowed when used memory > 'maxmemory'."},
	{slotmesh.ErrNotEnoughBackups, "NOREPLICAS Not enough good replicas to write."},
	{slotmesh.ErrNoPrimary, "CLUSTERDOWN Hash slot not served"},
	{slotmesh.ErrClosed, "CLUSTERDOWN The cluster is down"},
	{slotmesh.ErrSuperseded, "CLUSTERDOWN The cluster is down"},
	{slotmesh.ErrOverloaded, "TRYAGAIN the queue to the slot's primary is full"},
	{slotmesh.ErrConflict, "TRYAGAIN others kept writing the same keys"},
	{errAllAnswers, "TRYAGAIN " + errAllAnswers.Error()},
	{slotmesh.ErrCrossSlot, errCrossSlot},
	{slotmesh.ErrNotInteger, errNotInteger},
	{context.Canceled, "CLUSTERDOWN The cluster is down"},
}

const (
	errSyntax     = "ERR syntax error"
	errNotInteger = "ERR value is not an integer or out of range"
	errNotFloat   = "ERR value is not a valid float"
	errTooLong    = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
	errCrossSlot  = "CROSSSLOT Keys in request don't hash to the same slot"
	errOverflow   = "ERR increment or decrement would overflow"
	errNoKey      = "ERR no such key"
)
