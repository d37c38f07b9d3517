package node

import (
	"slices"
	"time"

	"github.com/slotmesh/slotmesh/shard"
)

// eventKind says what the control loop is told.
type eventKind uint8

const (
	evMessages eventKind = iota // of a peer's core
	evClaims                    // in force, from anywhere
	evDown                      // a node counts as dead: from here to evUncut nothing is dropped
	evGone                      // and there is proof
	evUp
	evCut     // only others hear a node
	evUncut   // that is over
	evSettled // a backup holds the union
	evLose    // a copy can't be caught up: drop it
	evOffer   // the loser of a fork asks to offer
	evRenew   // sequence numbers are used up
	evSee     // an epoch was met
	evBegin   // a primary makes this node its learner
)

type event struct {
	kind     eventKind
	slot     uint16
	id       shard.NodeID
	epoch    uint64
	messages []shard.Message
	claims   []*shard.Claim
	begin    copyBegin
}

// maxEvents bounds what waits for the control loop, each message and claim
// counted. What comes beyond is dropped: it is sent again. Who lives is not: that is
// told once, and there are no more such events than nodes that come and go.
const maxEvents = 1 << 20

// post queues an event for the control loop; false: it was dropped.
func (n *Node) post(e event) bool {
	n.eventsMu.Lock()
	size := 1 + len(e.messages) + len(e.claims)
	queued := n.eventsSize+size <= maxEvents || e.kind >= evDown && e.kind <= evUncut
	if queued {
		n.eventsSize += size
		n.events = append(n.events, e)
	}
	n.eventsMu.Unlock()
	n.poke()
	return queued
}

// trickles reports whether little waits for the control loop.
func (n *Node) trickles() bool {
	n.eventsMu.Lock()
	defer n.eventsMu.Unlock()
	return n.eventsSize < trickled
}

// poke wakes the control loop.
func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

const (
	tickBusy = 5 * time.Millisecond
	tickIdle = 50 * time.Millisecond
	// stepGap lies between two steps while little arrives: that is decided, and
	// answered, together. Where many slots move one by one it saves most of the work.
	stepGap  = 2 * time.Millisecond
	trickled = 64 // so much in the queue does not wait
)

// loop is the control loop: the only goroutine that decides on claims. It
// ends when n.stop closes.
func (n *Node) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for stepped := time.Now(); ; stepped = time.Now() {
		select {
		case <-n.stop:
			return
		case <-n.wake:
			if early := stepGap - time.Since(stepped); early > 0 && n.trickles() {
				time.Sleep(early)
			}
		case <-timer.C:
		}
		busy := n.step()
		d := tickIdle
		if busy {
			d = tickBusy
		}
		timer.Reset(d)
	}
}

// step takes in what happened, decides, and carries out what was decided.
func (n *Node) step() (busy bool) {
	n.eventsMu.Lock()
	events := n.events
	n.events, n.eventsSize = nil, 0
	n.eventsMu.Unlock()

	now := n.now()
	n.listen(now)
	n.coreMu.Lock()
	for i := range events {
		n.take(&events[i], now)
	}
	n.core.Slow(n.stepTook > int64(n.resend)/4)
	n.core.Tick(now)
	n.coreMu.Unlock()
	n.carryOut()
	n.beginCopies(n.begins)
	n.begins = n.begins[:0]

	n.reconcile(now)
	n.carryOut()
	n.pressSettlements(now)
	n.pressDuties(now)
	n.dropLeftovers(now)
	n.pressGathering(now)
	n.countMoves()
	n.tell(now)
	n.tellLostDisk()
	waiting := n.spread(now)
	n.stepTook = n.now() - now
	return waiting || n.reconciling() || n.core.Busy(now+int64(tickIdle)) || len(n.settling) > 0
}

func (n *Node) take(e *event, now int64) {
	c := n.core
	switch e.kind {
	case evMessages:
		for i := range e.messages {
			c.Receive(e.id, e.messages[i], now)
		}
	case evClaims:
		if news := c.Learn(e.claims, now); len(news) > 0 {
			n.merge(news)
		}
	case evDown, evGone:
		n.pacer.stir(now)
		if !c.IsDown(e.id) || e.kind == evGone {
			n.log.Info(eventDead, "peer", n.who(e.id), "id", e.id, "proof", e.kind == evGone)
		}
		c.Down(e.id, e.kind == evGone, now)
	case evUp:
		n.pacer.stir(now)
		c.Up(e.id)
	case evCut:
		c.Cut(e.id, now)
	case evUncut:
		c.Uncut(e.id)
	case evSettled:
		c.Settled(e.slot, e.epoch, e.id, now)
	case evLose:
		n.dropBackup(e.slot, e.id, now)
	case evRenew:
		if v := c.View(e.slot); v.Open && !v.Changing && v.Known.Epoch == e.epoch {
			c.Promote(e.slot, now)
		}
	case evSee:
		c.SeeEpoch(e.slot, e.epoch)
	case evBegin:
		n.begins = append(n.begins, e.begin)
	case evOffer:
		n.decideOffer(e, now)
	}
}

// carryOut does what the core decided, in the order it must be done: save,
// change the data path, send, spread.
func (n *Node) carryOut() {
	for {
		n.coreMu.Lock()
		out := n.core.Take()
		views := make([]shard.View, len(out.Touched))
		for i, no := range out.Touched {
			views[i] = n.core.View(no)
		}
		saved := n.durable(&out, views)
		n.coreMu.Unlock()
		if len(out.Touched) == 0 && len(out.Messages) == 0 && len(out.InForce) == 0 && len(saved) == 0 {
			return
		}
		if len(saved) > 0 {
			n.shutRisen(out.Touched, views)
			begun := n.now()
			err := n.save(saved)
			n.savingTook += (n.now() - begun - n.savingTook) / 8
			if err != nil {
				n.log.Error("cannot save claims", "err", err)
				// What was not saved is neither answered nor spread.
				out.Messages, out.InForce = nil, nil
			}
		}
		if len(out.InForce) > 0 {
			n.pacer.stir(n.now())
			n.named(out.InForce)
			n.merge(out.InForce)
		}
		for i, no := range out.Touched {
			n.applyView(no, views[i])
			n.agenda.note(no)
		}
		n.sendMessages(out.Messages)
		for _, cl := range out.InForce {
			n.unspread = append(n.unspread, cl.Slot)
		}
	}
}

// messageBatch messages, or claims, fill about one of the transport's batches. More in
// one would hold up heartbeats, which overtake whole batches only.
const messageBatch = 256

// sendMessages sends what the core has to say. What repeats an earlier message is left
// out where that may still wait here for its turn: it would only take longer.
func (n *Node) sendMessages(all []shard.Envelope) {
	byPeer, behind := map[shard.NodeID][]shard.Message{}, map[shard.NodeID]bool{}
	for _, e := range all {
		if _, looked := behind[e.To]; !looked {
			behind[e.To] = n.peer(e.To).behind()
		}
		if !e.Again || !behind[e.To] {
			byPeer[e.To] = append(byPeer[e.To], e.Message)
		}
	}
	for id, ms := range byPeer {
		if n.peer(id).live() == nil {
			continue // as many as its slots, where it has just died
		}
		for part := range slices.Chunk(ms, messageBatch) {
			n.sendControl(id, shard.AppendMessages([]byte{ctlMessages}, part))
		}
	}
}

// shutRisen closes the slots that this node serves on under a higher epoch, as one
// whose group is itself alone may, until that is saved. What was written before the
// opening counts as acknowledged, and is on disk when what is saved after it is.
func (n *Node) shutRisen(touched []uint16, views []shard.View) {
	for i, no := range touched {
		if !views[i].Open {
			continue
		}
		s := &n.slots[no]
		s.mu.Lock()
		if s.view.Open && s.view.Known.Epoch != views[i].Known.Epoch {
			s.shut()
		}
		s.mu.Unlock()
	}
}

// named notes for which slots this node is a new primary, to be opened now.
func (n *Node) named(claims []*shard.Claim) {
	table, now := n.table.Load(), n.now()
	for _, cl := range claims {
		if was := table.Claim(cl.Slot); cl.Primary == n.id && (was == nil || was.Primary != n.id) {
			n.slots[cl.Slot].darkSince.Store(now)
		}
	}
}

// merge takes claims in force into the table that look-ups use.
func (n *Node) merge(claims []*shard.Claim) {
	n.tableMu.Lock()
	before := n.table.Load()
	t, news := before.Merge(claims...)
	n.table.Store(t)
	n.tableMu.Unlock()
	n.reroute(before, news)
	for _, cl := range news {
		s := &n.slots[cl.Slot]
		s.mu.Lock()
		s.wakeLocked()
		s.mu.Unlock()
	}
}

// learn gives claims in force that are news to look-ups at once, and to the control
// loop: a node that joins a hundred hears of each slot from all of them. Those that
// the control loop has no room for look-ups do without too: else the tables would be
// alike, and nobody tell them again.
func (n *Node) learn(claims []*shard.Claim) {
	table, news := n.table.Load(), claims[:0:0]
	for _, cl := range claims {
		if cl.Primary != n.id && shard.Compare(cl, table.Claim(cl.Slot)) > 0 { // only this node's own word counts for its own
			news = append(news, cl)
		}
	}
	if len(news) > 0 && n.post(event{kind: evClaims, claims: news}) {
		n.merge(news)
	}
}

const claimBatch = 2048

// Claims in force are sent to everybody when the oldest has waited for spreadDelay
// or there are spreadMany: those whom they concern have them from messages, and a
// caller that has not gets them with a redirect.
const (
	spreadDelay = 10 * time.Millisecond
	spreadMany  = 256
)

// spread sends the claims that are due to all peers, each slot's newest. It reports
// whether some wait.
func (n *Node) spread(now int64) (waiting bool) {
	switch {
	case len(n.unspread) == 0:
		return false
	case n.spreadAt == 0:
		n.spreadAt = now + int64(spreadDelay)
	}
	if now < n.spreadAt && len(n.unspread) < spreadMany {
		return true
	}
	slices.Sort(n.unspread)
	slots, t := slices.Compact(n.unspread), n.table.Load()
	for part := range slices.Chunk(slots, messageBatch) {
		claims := make([]*shard.Claim, len(part))
		for i, slot := range part {
			claims[i] = t.Claim(slot)
		}
		b := claimsBody(claims)
		for _, p := range n.allPeers() {
			if t := p.live(); t != nil {
				_ = n.sendClaims(t, b)
			}
		}
	}
	n.unspread, n.spreadAt = n.unspread[:0], 0
	return false
}

// renew asks the control loop for a newer epoch of a slot of this node's.
func (n *Node) renew(slot uint16, epoch uint64) {
	n.post(event{kind: evRenew, slot: slot, epoch: epoch})
}
