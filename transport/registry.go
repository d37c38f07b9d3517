package transport

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Transport keeps the connections of one node.
type Transport struct {
	cfg    Config
	log    *slog.Logger
	srv    *grpc.Server
	start  time.Time // zero of the clock of deadlines
	pool   pool
	sweep  sweeper
	stop   chan struct{}
	wg     sync.WaitGroup
	corks  corks
	turned turned

	mu     sync.Mutex // guards all below and the marked fields of each Peer
	peers  map[NodeID]*Peer
	halves map[halfKey]*half
	counts uint64 // the most calls to any one peer that was forgotten
	closed bool

	unlisted int           // streams that wait for their peer to be listed
	news     chan struct{} // closed, and another in its place, when peers were listed
}

// halfKey is unique unless somebody knows another's number, which is random.
type halfKey struct {
	from   NodeID
	number uint64
}

var errUnlisted = errors.New("transport: peer is not listed")

// New starts serving on cfg.Listener, which Close closes.
func New(cfg Config) (*Transport, error) {
	cfg.ensureDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	t := &Transport{
		cfg: cfg, log: cfg.Logger, start: time.Now(), stop: make(chan struct{}),
		peers: map[NodeID]*Peer{}, halves: map[halfKey]*half{}, news: make(chan struct{}),
	}
	t.sweep.init()
	t.srv = t.newServer()
	ln := newListener(t)
	t.wg.Go(func() { _ = t.srv.Serve(ln) })                     // ends when srv stops
	t.wg.Go(func() { t.sweep.run(t.stop, t.now, t.expireAll) }) // ends when stop closes
	return t, nil
}

// now is the clock of deadlines.
func (t *Transport) now() int64 { return int64(time.Since(t.start)) }

func (t *Transport) expireAll(now int64) (earliest int64) {
	t.mu.Lock()
	ps := make([]*Peer, 0, len(t.peers))
	for _, p := range t.peers {
		ps = append(ps, p)
	}
	t.mu.Unlock()
	earliest = noDeadline
	for _, p := range ps {
		earliest = min(earliest, p.expire(now))
	}
	return earliest
}

// Close disconnects all peers and returns when no goroutine of t is left; a
// handler that blocks in Chunk delays it.
func (t *Transport) Close() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		t.wg.Wait()
		return
	}
	t.closed = true
	close(t.stop)
	var over []*session
	for _, p := range t.peers {
		over = append(over, t.dropLocked(p))
	}
	t.mu.Unlock()
	endAll(over)
	t.srv.Stop()
	t.wg.Wait()
}

// Hold keeps what is sent by others than Peer.Call, and by CallHeld, until
// Release, so that all that goes to one peer leaves as one batch. It should
// be soon: what other goroutines send may be held as well.
func (t *Transport) Hold() { t.corks.enter() }

// Release ends Hold.
func (t *Transport) Release() { t.corks.leave(false) }

// dropLocked stops dialing p and returns its session, if any, for endAll.
func (t *Transport) dropLocked(p *Peer) *session {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
	p.listed = false
	return p.cur
}

// endAll closes connections, which is not done under t.mu.
func endAll(list []*session) {
	for _, s := range list {
		if s != nil {
			s.end(CauseClosedByUs, ErrClosed)
		}
	}
}

// SetPeers says which peers to keep connected, and where they are. Those of
// an earlier list that are not in this one are disconnected. A peer with a
// lower ID than ours is waited for, the others are dialed, for ever. t's own
// ID is ignored. A peer that dials and is not in the list for listWait is refused:
// whoever knows the cluster's name, and no more, gets no stream.
func (t *Transport) SetPeers(list []PeerAddr) {
	endAll(t.setPeers(list))
}

func (t *Transport) setPeers(list []PeerAddr) (over []*session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	in := make(map[NodeID]bool, len(list))
	for _, a := range list {
		if a.ID != t.cfg.Self.ID {
			in[a.ID] = true
			over = append(over, t.listLocked(a))
		}
	}
	for id, p := range t.peers {
		if p.listed && !in[id] {
			over = append(over, t.dropLocked(p))
			t.forgetLocked(p)
		}
	}
	close(t.news)
	t.news = make(chan struct{})
	return over
}

// listLocked adds a peer or its new address; the session it returns is with
// the old one.
func (t *Transport) listLocked(a PeerAddr) (over *session) {
	p := t.peers[a.ID]
	if p == nil {
		p = t.newPeerLocked(Identity{Cluster: t.cfg.Self.Cluster, ID: a.ID, Addr: a.Addr})
	}
	same := p.listed && p.addr == a.Addr
	p.listed, p.addr = true, a.Addr
	if same || !dials(t.cfg.Self.ID, a.ID) {
		return nil
	}
	if p.stop != nil { // it has moved
		p.stop()
		over = p.cur
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	t.wg.Go(func() { t.dialLoop(ctx, p, a.Addr) }) // ends with ctx
	return over
}

func (t *Transport) newPeerLocked(id Identity) *Peer {
	p := &Peer{t: t, id: id.ID}
	// A peer that is back may still answer calls of before: their IDs do not come back.
	p.calls.free, p.calls.count = -1, t.counts
	p.ident.Store(&id)
	t.peers[id.ID] = p
	return p
}

// Peer returns the peer of that ID: one that SetPeers named or that is
// connected, else nil.
func (t *Transport) Peer(id NodeID) *Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers[id]
}

// awaitListed reports whether SetPeers names a peer, or does within listWait.
func (t *Transport) awaitListed(ctx context.Context, id NodeID) bool {
	ctx, cancel := context.WithTimeout(ctx, listWait)
	defer cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	for waits := false; ; waits = true {
		if p := t.peers[id]; p != nil && p.listed {
			return true
		}
		if t.closed || ctx.Err() != nil || !waits && t.unlisted >= maxUnlisted {
			return false
		}
		t.unlisted++
		news := t.news
		t.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
		case <-t.stop:
		}
		t.mu.Lock()
		t.unlisted--
	}
}

// hold finds the listed peer that opened a session, and keeps it until release.
func (t *Transport) hold(id NodeID) (*Peer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	p := t.peers[id]
	if p == nil || !p.listed {
		return nil, errUnlisted
	}
	p.held++
	return p, nil
}

// release ends what hold began.
func (t *Transport) release(p *Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.held--
	t.forgetLocked(p)
}

// forgetLocked removes a peer that nothing refers to any more.
func (t *Transport) forgetLocked(p *Peer) {
	if !p.listed && p.cur == nil && p.held == 0 && t.peers[p.id] == p {
		delete(t.peers, p.id)
		t.counts = max(t.counts, p.calls.counted())
	}
}

// install makes s its peer's session, after the end of the one before, and
// announces the peer. ctx ends if s is no longer wanted.
func (t *Transport) install(ctx context.Context, s *session) error {
	p := s.p
	for {
		t.mu.Lock()
		switch {
		case t.closed, t.peers[p.id] != p:
			t.mu.Unlock()
			return ErrClosed
		case ctx.Err() != nil:
			t.mu.Unlock()
			return ctx.Err()
		}
		old := p.cur
		if old == nil {
			p.cur = s
			t.mu.Unlock()
			break
		}
		t.mu.Unlock()
		old.end(CauseClosedByUs, ErrClosed) // a peer that dials anew has lost it
		<-old.gone
	}
	p.ident.Store(&s.ident)
	p.session.Store(s)
	t.log.Info("peer up", "peer", s.ident.Name, "addr", s.ident.Addr)
	t.cfg.Handler.PeerUp(p)
	return nil
}

// uninstall forgets s, and its peer if nothing else knows it.
func (t *Transport) uninstall(s *session) {
	p := s.p
	p.session.CompareAndSwap(s, nil)
	t.mu.Lock()
	p.cur = nil
	t.forgetLocked(p)
	t.mu.Unlock()
	close(s.gone)
}

func (t *Transport) putHalf(number uint64, h *half) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := halfKey{h.from.ID, number}
	if t.closed || len(t.halves) >= maxHalves || t.halves[k] != nil {
		return false
	}
	t.halves[k] = h
	return true
}

func (t *Transport) takeHalf(number uint64, from NodeID) *half {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := halfKey{from, number}
	h := t.halves[k]
	delete(t.halves, k)
	return h
}
