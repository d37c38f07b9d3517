package resp

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// stats are the counters of INFO.
type stats struct {
	connections, rejected, commands, misses, hits, received, sent atomic.Int64

	commandRate, receivedRate, sentRate rate
}

// counters are those that CONFIG RESETSTAT sets to zero.
func (st *stats) counters() []*atomic.Int64 {
	return []*atomic.Int64{&st.connections, &st.rejected, &st.commands, &st.misses, &st.hits, &st.received, &st.sent}
}

// rateSpan lies at least between two values of a counter that a rate is made of.
const rateSpan = time.Second

// rate is how fast a counter rose lately: from one look to another, so that nobody has
// to sample it while nobody looks.
type rate struct {
	mu        sync.Mutex // guards all below
	at        time.Time
	count     int64
	perSecond float64
}

// look returns how much a second was counted between the last two looks that lie
// rateSpan apart, and counts as one. The first one is begun.
func (r *rate) look(count int64, now, begun time.Time) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() {
		r.at = begun
	}
	if past := now.Sub(r.at); past >= rateSpan {
		r.perSecond = float64(max(count-r.count, 0)) / past.Seconds() // less after CONFIG RESETSTAT
		r.at, r.count = now, count
	}
	return r.perSecond
}

// counted is a client's connection whose bytes are counted.
type counted struct {
	net.Conn
	stats *stats
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.stats.received.Add(int64(n))
	return n, err
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.stats.sent.Add(int64(n))
	return n, err
}
