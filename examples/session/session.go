package main

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/slotmesh/slotmesh"
)

// idle is how long a session lives without a request.
const idle = 30 * time.Minute

var errNoSession = errors.New("no such session: log in first")

// cartSchema numbers the shape of a cart. Raise it when that changes so that
// the old values would not decode, and say by slotmesh.Upgrade how to read
// them: in a rolling deploy both releases share the cache.
const cartSchema = 1

// cart is what a session has bought so far: item to quantity.
type cart struct{ Items map[string]int }

// sessions keeps users and carts. Both keys of a session carry its ID as hash
// tag, so that they are in one slot and can change in one transaction.
type sessions struct {
	cache *slotmesh.Cache
	users *slotmesh.Typed[string]
	carts *slotmesh.Typed[cart]
}

func newSessions(cache *slotmesh.Cache) *sessions {
	return &sessions{cache, slotmesh.For[string](cache, ""), slotmesh.For[cart](cache, "", slotmesh.WithSchema(cartSchema))}
}

func userKey(id string) string { return "{" + id + "}user" }
func cartKey(id string) string { return "{" + id + "}cart" }

// login starts a session and returns its ID.
func (s *sessions) login(ctx context.Context, user string) (id string, err error) {
	id = rand.Text()
	return id, s.users.Set(ctx, userKey(id), user, slotmesh.IfAbsent(), slotmesh.TTL(idle))
}

// user returns who is logged in, and lets the session live on.
func (s *sessions) user(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", errNoSession
	}
	user, err := s.users.Get(ctx, userKey(id))
	if err == nil {
		err = s.cache.Expire(ctx, userKey(id), idle)
	}
	if errors.Is(err, slotmesh.ErrNotFound) {
		return "", errNoSession
	}
	if err == nil {
		err = s.cache.Expire(ctx, cartKey(id), idle)
	}
	if errors.Is(err, slotmesh.ErrNotFound) {
		err = nil // nothing in the cart yet
	}
	return user, err
}

// cart returns what is in the session's cart.
func (s *sessions) cart(ctx context.Context, id string) (map[string]int, error) {
	c, err := s.carts.Get(ctx, cartKey(id))
	if errors.Is(err, slotmesh.ErrNotFound) {
		return map[string]int{}, nil
	}
	return c.Items, err
}

// add puts n of an item into the cart. Two requests at once, on whatever
// replicas, both count: the second to commit runs again. And none fills the
// cart of a session that has ended meanwhile.
func (s *sessions) add(ctx context.Context, id, item string, n int) (map[string]int, error) {
	var c cart
	err := s.cache.Txn(ctx, userKey(id), func(tx *slotmesh.Tx) error {
		if _, err := s.users.In(tx).Get(userKey(id)); errors.Is(err, slotmesh.ErrNotFound) {
			return errNoSession
		} else if err != nil {
			return err
		}
		carts := s.carts.In(tx)
		var err error
		if c, err = carts.Get(cartKey(id)); err != nil && !errors.Is(err, slotmesh.ErrNotFound) {
			return err
		}
		if c.Items == nil {
			c.Items = map[string]int{}
		}
		if c.Items[item] += n; c.Items[item] <= 0 {
			delete(c.Items, item)
		}
		return carts.Set(cartKey(id), c, slotmesh.TTL(idle))
	})
	return c.Items, err
}

// logout ends the session, user and cart in one step.
func (s *sessions) logout(ctx context.Context, id string) error {
	return s.cache.Txn(ctx, userKey(id), func(tx *slotmesh.Tx) error {
		return errors.Join(s.users.In(tx).Delete(userKey(id)), s.carts.In(tx).Delete(cartKey(id)))
	})
}
