package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/shard"
	"github.com/slotmesh/slotmesh/transport"
)

// Follow watches all slots: one call in waiting at each primary, which tells of
// all slots that it serves. It keeps for every slot up to where its news go, so
// that it can go on at the next primary. It is for one goroutine; Close ends it.
type Follow struct {
	n        *Node
	prefix   string
	keysOnly bool
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	upto, lineage [shard.Slots]uint64   // upto 0: not begun
	at            [shard.Slots]*feeding // where it is followed, or about to be
	open          [shard.Slots]bool     // it was adopted there
	opened        int
	table         *shard.Table // as of the last look
	lost          bool         // slots have to be given out again
	pollers       map[shard.NodeID]*feeding
	answers       chan feedAnswer
}

// feeding is a Follow's side of a feed.
type feeding struct {
	id       shard.NodeID
	token    uint64
	answered uint64
	adopt    []feedAdopt // of the Follow's goroutine
	asking   bool        // a call is under way
	cancel   context.CancelFunc
	restAt   time.Time // not to be asked before; after a failure
}

type feedAnswer struct {
	from *feeding
	q    *feedQuestion
	body []byte
	err  error
}

const (
	followTick = 25 * time.Millisecond // how often a Follow looks whether slots have moved
	followTime = 20 * time.Second      // of a call in waiting
	followRest = 50 * time.Millisecond // after a failure
)

// Follow begins to watch the keys of all slots that begin with prefix. It ends
// with ctx too.
func (n *Node) Follow(ctx context.Context, prefix string, keysOnly bool) *Follow {
	fo := &Follow{n: n, prefix: prefix, keysOnly: keysOnly, lost: true, pollers: map[shard.NodeID]*feeding{}, answers: make(chan feedAnswer)}
	fo.ctx, fo.cancel = context.WithCancel(ctx)
	return fo
}

// Close ends the calls under way and waits for them, and has the primaries forget
// the feeds.
func (fo *Follow) Close() {
	fo.cancel()
	fo.wg.Wait()
	for _, p := range fo.pollers {
		fo.end(p)
	}
}

// end gives up a feed. Where that does not arrive, it is forgotten once it is idle.
func (fo *Follow) end(p *feeding) {
	q := feedQuestion{token: p.token, end: true}
	fo.n.forgetAt(p.id, &Call{Op: transport.OpFeed, Value: q.pack()})
}

// Begun reports whether every slot is followed from some place on.
func (fo *Follow) Begun() bool { return fo.opened == shard.Slots }

// Upto is up to which version the news of a slot are known.
func (fo *Follow) Upto(slot uint16) uint64 { return fo.upto[slot] }

// Next waits for news, of any slots; Gap says that there may have been more. It
// may return none. Its error is the context's, or that of a node that closes.
func (fo *Follow) Next() (News, error) {
	tick := time.NewTicker(followTick)
	defer tick.Stop()
	for {
		if err := fo.ctx.Err(); err != nil {
			return News{}, err
		}
		if fo.n.closing.Load() {
			return News{}, fo.n.closedErr()
		}
		fo.giveOut()
		fo.ask()
		select {
		case a := <-fo.answers:
			a.from.asking = false
			begun := fo.Begun()
			if news := fo.take(&a); news.Gap || len(news.Events) > 0 || !begun && fo.Begun() {
				return news, nil
			}
		case <-tick.C:
		case <-fo.ctx.Done():
		}
	}
}

// giveOut has every slot adopted by its primary.
func (fo *Follow) giveOut() {
	table := fo.n.table.Load()
	if table == fo.table && !fo.lost {
		return
	}
	fo.table, fo.lost = table, false
	for i := range fo.at {
		no := uint16(i)
		cl := table.Claim(no)
		if cl == nil {
			fo.lost = true
			continue
		}
		p := fo.pollers[cl.Primary]
		if p == nil {
			p = &feeding{id: cl.Primary, token: fo.n.Token()}
			fo.pollers[cl.Primary] = p
		}
		if fo.at[no] == p {
			continue
		}
		fo.release(no)
		fo.at[no] = p
		p.adopt = append(p.adopt, feedAdopt{no, fo.upto[no], fo.lineage[no]})
	}
}

// release takes a slot from where it was followed.
func (fo *Follow) release(no uint16) {
	fo.at[no] = nil
	if fo.open[no] {
		fo.open[no] = false
		fo.opened--
	}
}

// ask has a call under way to every node that serves slots.
func (fo *Follow) ask() {
	now := time.Now()
	for id, p := range fo.pollers {
		if len(p.adopt) > 0 && p.asking && p.cancel != nil {
			p.cancel() // it waits: ask anew, with the slots to adopt
			p.cancel = nil
		}
		if p.asking || now.Before(p.restAt) {
			continue
		}
		q := &feedQuestion{token: p.token, answered: p.answered, keysOnly: fo.keysOnly, ops: true, prefix: fo.prefix}
		for len(p.adopt) > 0 && len(q.adopt) < maxAdopt {
			a := p.adopt[0]
			p.adopt = p.adopt[1:]
			if fo.at[a.slot] == p {
				q.adopt = append(q.adopt, a)
			}
		}
		if len(q.adopt) == 0 {
			if !fo.any(p) {
				delete(fo.pollers, id)
				fo.end(p)
				continue
			}
			q.wait = true
		}
		ctx, cancel := context.WithTimeout(fo.ctx, followTime)
		p.asking, p.cancel = true, nil
		if q.wait {
			p.cancel = cancel
		}
		fo.wg.Go(func() { // ends with ctx
			defer cancel()
			call := Call{Op: transport.OpFeed, Value: q.pack()}
			r, err := fo.n.doAt(ctx, p.id, &call)
			select {
			case fo.answers <- feedAnswer{p, q, r.Value, err}:
			case <-fo.ctx.Done():
			}
		})
	}
}

func (fo *Follow) any(p *feeding) bool {
	for _, at := range fo.at {
		if at == p {
			return true
		}
	}
	return false
}

// forget gives up what a node kept for this Follow: its slots are begun again
// where their news end.
func (fo *Follow) forget(p *feeding, rest time.Duration) {
	fo.end(p)
	p.token, p.answered, p.adopt = fo.n.Token(), 0, nil
	p.restAt = time.Now().Add(rest)
	for i := range fo.at {
		if fo.at[i] == p {
			fo.release(uint16(i))
		}
	}
	fo.lost = true
}

// take reads an answer.
func (fo *Follow) take(a *feedAnswer) (news News) {
	p := a.from
	if a.err != nil {
		if errors.Is(a.err, context.Canceled) && len(a.q.adopt) == 0 {
			return news // cancelled by ask
		}
		fo.forget(p, followRest)
		return news
	}
	f := fields{b: a.body}
	if f.num() != feedOK {
		fo.forget(p, 0)
		return news
	}
	number := f.num()
	if number != p.answered+1 {
		fo.forget(p, followRest)
		return news
	}
	p.answered = number
	news.Gap = f.num() == 1
	news.Gap = fo.takeAdopted(a, &f) || news.Gap
	for range f.count(shard.Slots) {
		if no := f.num(); !f.bad && no < shard.Slots && fo.at[no] == p {
			fo.giveBack(uint16(no))
		}
	}
	var told [][2]uint64
	for range f.count(shard.Slots) {
		told = append(told, [2]uint64{f.num(), f.num()})
	}
	for f.more() {
		e := f.event()
		if no := hashtag.Slot(e.Key); !f.bad && fo.open[no] && fo.at[no] == p && e.Version > fo.upto[no] {
			news.Events = append(news.Events, e)
		}
	}
	for _, t := range told {
		if no := t[0]; no < shard.Slots && fo.open[no] && fo.at[no] == p {
			fo.upto[no] = max(fo.upto[no], t[1])
		}
	}
	if f.bad {
		fo.forget(p, followRest)
		news.Gap = true
	}
	return news
}

// takeAdopted reads which slots a node has begun, and reports whether news of one
// may have been missed. Those that it was asked for and has not begun it does not serve.
func (fo *Follow) takeAdopted(a *feedAnswer, f *fields) (missed bool) {
	p, adopted := a.from, 0
	for range f.count(maxAdopt) {
		no, upto, lineage, gap := f.num(), f.num(), f.num(), f.num()
		if f.bad || no >= shard.Slots {
			break
		}
		if fo.at[no] != p {
			continue
		}
		missed = missed || gap == 1
		fo.upto[no], fo.lineage[no] = max(upto, 1), lineage
		adopted++
		if !fo.open[no] {
			fo.open[no] = true
			fo.opened++
		}
	}
	if adopted < len(a.q.adopt) {
		for _, w := range a.q.adopt {
			if fo.at[w.slot] == p && !fo.open[w.slot] {
				fo.giveBack(w.slot)
			}
		}
		p.restAt = time.Now().Add(followTick)
	}
	return missed
}

// giveBack takes a slot from a node that does not serve it, to be given out again in a
// moment.
func (fo *Follow) giveBack(no uint16) {
	fo.at[no].restAt = time.Now().Add(followTick)
	fo.release(no)
	fo.lost = true
}

// doAt makes a call on a node, whatever it serves, and once.
func (n *Node) doAt(ctx context.Context, id shard.NodeID, c *Call) (Result, error) {
	deadline := n.Deadline(ctx)
	w := n.cell()
	defer n.release(w)
	w.req = transport.Request{Call: *c, Asked: true, CallID: transport.CallID{Node: n.id}}
	if id == n.id {
		return n.here(ctx, deadline, c, w)
	}
	to := n.peer(id).live()
	if to == nil {
		return Result{}, transport.ErrNotSent
	}
	callID := to.Call(deadline, &w.req, w.answered)
	var err error
	select {
	case err = <-w.ch:
	case <-ctx.Done():
		if pending, _ := to.Cancel(callID); pending {
			return Result{}, ctx.Err()
		}
		err = <-w.ch
	}
	if err == nil && w.rsp.Code != transport.CodeOK {
		err = n.codeError(&w.rsp)
	}
	return w.rsp.Result, err
}
