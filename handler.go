package slotmesh

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slotmesh/slotmesh/internal/page"
)

const (
	maxStreams  = 64 // pages that may follow one Handler at a time
	streamEvery = time.Second
	typeHTML    = "text/html"
	typeText    = "text/plain"
	typeJSON    = "application/json"
	typeEvents  = "text/event-stream"
)

// Handler returns what to mount for probes and people:
//
//	/healthz         200 while this node lives; for liveness probes
//	/readyz          200 once Ready would return, until the node leaves
//	/safez           200 while this node may be stopped without loss
//	/debug/slotmesh  a page: slots by node, moves, rates, hot slots, events
//
// Elsewhere than at the root use http.StripPrefix. Each address answers in JSON
// too, for an Accept header of application/json, and the page follows itself by
// server-sent events. What is not as it should be gets 503 with the reasons.
//
// It changes nothing, and asks nobody who they are: the page shows names,
// addresses and hot keys, so mount it where only those get who may see them.
//
// It starts no goroutine; streams end with their requests and with the cache.
func (c *Cache) Handler() http.Handler {
	h := &handler{c: c, watch: newObserver(c)}
	h.document, h.policy = page.Render()
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", h.probe(c.live))
	mux.HandleFunc("/readyz", h.probe(c.ready))
	mux.HandleFunc("/safez", h.probe(c.safe))
	mux.HandleFunc("/debug/slotmesh", h.show)
	mux.HandleFunc("/debug/slotmesh/{$}", h.show)
	return mux
}

type handler struct {
	c        *Cache
	watch    *observer
	document []byte
	policy   string
	streams  atomic.Int64
}

// live, ready and safe return what speaks against it.
func (c *Cache) live() []string {
	if err := c.n.Err(); err != nil {
		return []string{err.Error()}
	}
	if c.n.Closing() {
		return []string{ErrClosed.Error()}
	}
	return nil
}

func (c *Cache) ready() []string {
	if dead := c.live(); dead != nil {
		return dead
	}
	if c.n.Leaving() { // one whose disk has failed looks so to others, and stays
		return []string{"this node is leaving"}
	}
	if c.n.IsReady() {
		return nil
	}
	if reasons := c.Cluster().Health().Reasons; len(reasons) > 0 {
		return reasons
	}
	return []string{"this node has not joined yet"}
}

func (c *Cache) safe() []string {
	if c.live() != nil {
		return nil // it has stopped
	}
	if safe, reasons := c.Cluster().Safe(); !safe {
		return reasons
	}
	return nil
}

// probe answers 200 where there is no reason against it, else 503.
func (h *handler) probe(against func() []string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		kind, ok := negotiate(w, r, typeText, typeJSON)
		if !ok {
			return
		}
		reasons := against()
		code, status := http.StatusOK, "ok"
		if len(reasons) > 0 {
			code, status = http.StatusServiceUnavailable, "failing"
		}
		if kind == typeJSON {
			writeJSON(w, code, struct {
				Status  string   `json:"status"`
				Reasons []string `json:"reasons,omitempty"`
			}{status, reasons})
			return
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, status+"\n")
		for _, reason := range reasons {
			_, _ = io.WriteString(w, reason+"\n")
		}
	}
}

func (h *handler) show(w http.ResponseWriter, r *http.Request) {
	kind, ok := negotiate(w, r, typeHTML, typeJSON, typeEvents)
	if !ok {
		return
	}
	switch kind {
	case typeEvents:
		h.stream(w, r)
	case typeJSON:
		writeJSON(w, http.StatusOK, h.watch.view(r.Context(), 0))
	default:
		w.Header().Set("Content-Security-Policy", h.policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(h.document)
	}
}

// stream sends the view each second, with the slots where they have changed.
func (h *handler) stream(w http.ResponseWriter, r *http.Request) {
	if h.streams.Add(1) > maxStreams {
		h.streams.Add(-1)
		http.Error(w, "too many pages follow this node", http.StatusServiceUnavailable)
		return
	}
	defer h.streams.Add(-1)
	out := http.NewResponseController(w)
	closed := h.c.n.Context().Done()
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	for seen := uint64(0); ; {
		v := h.watch.view(r.Context(), seen)
		seen = v.Slots.Version
		b, err := json.Marshal(v)
		if err != nil {
			return
		}
		_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second)) // where the server can
		if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-closed:
			return
		}
	}
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // whoever asked has gone
}

// negotiate picks one of the types offered by the request's Accept header, the
// first of those it likes best, and writes the headers that all answers have.
// Otherwise it refuses the request.
func negotiate(w http.ResponseWriter, r *http.Request, offers ...string) (kind string, ok bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return "", false
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	best := 0.0
	for _, offer := range offers {
		if q := quality(accept, offer); q > best {
			kind, best = offer, q
		}
	}
	if kind == "" {
		http.Error(w, "there is "+strings.Join(offers, ", "), http.StatusNotAcceptable)
		return "", false
	}
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return kind, true
}

// quality is how much an Accept header likes a type, in [0, 1]; the most
// specific of its ranges counts.
func quality(accept, kind string) float64 {
	if strings.TrimSpace(accept) == "" {
		return 1
	}
	major, _, _ := strings.Cut(kind, "/")
	q, specific := 0.0, 0
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		rank := 0
		switch strings.ToLower(strings.TrimSpace(name)) {
		case kind:
			rank = 3
		case major + "/*":
			rank = 2
		case "*/*":
			rank = 1
		}
		if rank == 0 || rank < specific {
			continue
		}
		specific, q = rank, 1
		for p := range strings.SplitSeq(params, ";") {
			if name, value, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(name, "q") {
				if v, err := strconv.ParseFloat(value, 64); err == nil {
					q = min(max(v, 0), 1)
				}
			}
		}
	}
	return q
}

// ranges writes slots, in order, as in "0-5,7".
func ranges(slots []uint16) string {
	var b strings.Builder
	for i := 0; i < len(slots); {
		j := i
		for j+1 < len(slots) && slots[j+1] == slots[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(slots[i])))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(int(slots[j])))
		}
		i = j + 1
	}
	return b.String()
}
