package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/slotmesh/slotmesh"
)

// maxSafeWait bounds how long /safez may be asked to wait.
const maxSafeWait = 5 * time.Minute

// newHandler is the library's, but that /safez?wait=20s waits until this node
// may be stopped: a preStop hook that needs no shell.
func newHandler(cache *slotmesh.Cache) http.Handler {
	own := cache.Handler()
	mux := http.NewServeMux()
	mux.Handle("/", own)
	mux.HandleFunc("/safez", func(w http.ResponseWriter, r *http.Request) {
		if text := r.URL.Query().Get("wait"); text != "" {
			wait, err := time.ParseDuration(text)
			if err != nil || wait < 0 || wait > maxSafeWait {
				http.Error(w, fmt.Sprintf("wait: want a time up to %v, as in 20s", maxSafeWait), http.StatusBadRequest)
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), wait)
			defer cancel()
			awaitSafe(ctx, cache)
		}
		own.ServeHTTP(w, r)
	})
	return mux
}

// awaitSafe returns when the node may be stopped, or ctx ends.
func awaitSafe(ctx context.Context, cache *slotmesh.Cache) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if safe, _ := cache.Cluster().Safe(); safe {
			return
		}
		select {
		case <-tick.C:
		case <-cache.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}
