package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/slotmesh/slotmesh"
)

// maxSafeWait bounds how long /safez may be asked to wait.
const maxSafeWait = 5 * time.Minute

// newHandler answers the probes of whoever runs the container:
//
//	/healthz   200 as long as the node runs
//	/readyz    200 once it is ready and while every slot has a primary
//	/safez     200 if this node may be stopped without loss: every slot has its
//	           backups; with ?wait=20s it waits for that
//
// Otherwise they say 503. The body is JSON and says why.
func newHandler(cache *slotmesh.Cache) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-cache.Done():
			answer(w, false, []string{"the node is closed"})
		default:
			answer(w, true, nil)
		}
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		// Ready looks before it waits.
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		err := cache.Ready(ctx)
		answer(w, err == nil, cache.Cluster().Health().Reasons)
	})
	mux.HandleFunc("GET /safez", func(w http.ResponseWriter, r *http.Request) {
		var wait time.Duration
		if text := r.URL.Query().Get("wait"); text != "" {
			var err error
			if wait, err = time.ParseDuration(text); err != nil || wait < 0 || wait > maxSafeWait {
				http.Error(w, fmt.Sprintf("wait: want a time up to %v, as in 20s", maxSafeWait), http.StatusBadRequest)
				return
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		reasons := awaitSafe(ctx, cache)
		answer(w, len(reasons) == 0, reasons)
	})
	return mux
}

// awaitSafe returns why the node may not be stopped yet when ctx ends, or
// nothing as soon as it may.
func awaitSafe(ctx context.Context, cache *slotmesh.Cache) (reasons []string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		h := cache.Cluster().Health()
		if h.NoPrimary+h.Unclaimed+h.ShortBackups+h.Forked == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-cache.Done():
			return nil // there is nothing left to lose
		case <-ctx.Done():
			return h.Reasons
		}
	}
}

func answer(w http.ResponseWriter, ok bool, reasons []string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(struct {
		OK      bool     `json:"ok"`
		Reasons []string `json:"reasons,omitempty"`
	}{ok, reasons})
}
