package main

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/cmd/internal/flags"
)

const secretsEvery = 5 * time.Second

// followSecrets gives the cache the keys of a file whenever they change, until
// ctx ends; it looks so often. A file that cannot be read changes nothing.
func followSecrets(ctx context.Context, file string, every time.Duration, cache *slotmesh.Cache, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	now, _ := flags.Secrets(file)
	last, failing := digest(now), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		keys, err := flags.Secrets(file)
		if err == nil && digest(keys) == last {
			failing = false
			continue
		}
		if err == nil {
			err = cache.RotateSecret(keys...)
		}
		if err != nil {
			if !failing { // once for each time it begins
				log.Error("cannot take new secrets", "err", err)
			}
			failing = true
			continue
		}
		last, failing = digest(keys), false
		log.Info("took new secrets", "keys", len(keys))
	}
}

func digest(keys [][]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, k := range keys {
		h.Write([]byte{byte(len(k))})
		h.Write(k)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
