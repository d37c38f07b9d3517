// Leaderboard-lite keeps the ten best players of a game. Each game is a hash
// tag, so that a player's score and the board change in one transaction: the
// board is never at odds with the scores, whichever replica is asked.
//
//	go run ./examples/leaderboard-lite
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/examples/internal/fleet"
)

const (
	game    = "chess"
	players = 40
	games   = 400 // played in all
	best    = 10
)

type place struct {
	Player string
	Score  int
}

// board is a replica's view of one game.
type board struct {
	cache  *slotmesh.Cache
	scores *slotmesh.Typed[int]
	top    *slotmesh.Typed[[]place]
}

func newBoard(c *slotmesh.Cache) board {
	return board{c, slotmesh.For[int](c, "{"+game+"}score:"), slotmesh.For[[]place](c, "{"+game+"}")}
}

// add gives a player points and brings the board up to date.
func (b board) add(ctx context.Context, player string, points int) error {
	return b.cache.Txn(ctx, game, func(tx *slotmesh.Tx) error {
		score, err := b.scores.In(tx).Get(player)
		if err != nil && !errors.Is(err, slotmesh.ErrNotFound) {
			return err
		}
		top, err := b.top.In(tx).Get("top")
		if err != nil && !errors.Is(err, slotmesh.ErrNotFound) {
			return err
		}
		score += points
		top = slices.DeleteFunc(top, func(p place) bool { return p.Player == player })
		top = ranked(append(top, place{player, score}))
		return errors.Join(b.scores.In(tx).Set(player, score), b.top.In(tx).Set("top", top))
	})
}

func ranked(places []place) []place {
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Player, b.Player))
	})
	return places[:min(len(places), best)]
}

func main() { fleet.Run("leaderboard-lite", 3, play) }

func play(ctx context.Context, replicas []*slotmesh.Cache) error {
	want := make([]int, players) // what the scores have to be
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	for i, c := range replicas {
		for range 2 {
			wg.Go(func() {
				b := newBoard(c)
				for range games / len(replicas) / 2 {
					p, points := rand.IntN(players), 1+rand.IntN(100)
					err := b.add(ctx, fmt.Sprintf("player-%02d", p), points)
					mu.Lock()
					if err != nil {
						failed = errors.Join(failed, fmt.Errorf("replica %d: %w", i+1, err))
					} else {
						want[p] += points
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	var places []place
	for p, score := range want {
		if score > 0 {
			places = append(places, place{fmt.Sprintf("player-%02d", p), score})
		}
	}
	places = ranked(places)
	for i, c := range replicas {
		top, err := newBoard(c).top.Get(ctx, "top")
		if err != nil {
			return err
		}
		if !slices.Equal(top, places) {
			return fmt.Errorf("replica %d shows %v, want %v", i+1, top, places)
		}
	}
	for i, p := range places[:3] {
		fmt.Printf("%d. %s with %d points\n", i+1, p.Player, p.Score)
	}
	return nil
}
