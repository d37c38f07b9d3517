package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/slotmesh/slotmesh"
)

// idle is how long a session lives without a request.
const idle = 30 * time.Minute

var errNoSession = errors.New("no such session: log in first")

// sessions keeps users and carts. Both keys of a session carry its ID as hash
// tag, so that they are in one slot and reach the same nodes.
type sessions struct{ cache *slotmesh.Cache }

func userKey(id string) string { return "{" + id + "}user" }
func cartKey(id string) string { return "{" + id + "}cart" }

// login starts a session and returns its ID.
func (s *sessions) login(ctx context.Context, user string) (id string, err error) {
	id = rand.Text()
	return id, s.cache.Set(ctx, userKey(id), []byte(user), slotmesh.IfAbsent(), slotmesh.TTL(idle))
}

// user returns who is logged in, and lets the session live on.
func (s *sessions) user(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", errNoSession
	}
	user, err := s.cache.Get(ctx, userKey(id))
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
	return string(user), err
}

// cart returns what is in the session's cart: item to quantity.
func (s *sessions) cart(ctx context.Context, id string) (map[string]int, error) {
	cart, _, err := s.loadCart(ctx, id)
	return cart, err
}

// add puts items into the cart. Two requests at once, on whatever replicas,
// both count: the second to write sees another version and starts again.
func (s *sessions) add(ctx context.Context, id, item string, n int) (map[string]int, error) {
	for {
		cart, version, err := s.loadCart(ctx, id)
		if err != nil {
			return nil, err
		}
		if cart[item] += n; cart[item] <= 0 {
			delete(cart, item)
		}
		value, err := json.Marshal(cart)
		if err != nil {
			return nil, err
		}
		err = s.cache.Set(ctx, cartKey(id), value, slotmesh.IfVersion(version), slotmesh.TTL(idle))
		if !errors.Is(err, slotmesh.ErrVersionMismatch) {
			return cart, err
		}
	}
}

func (s *sessions) loadCart(ctx context.Context, id string) (map[string]int, uint64, error) {
	cart := map[string]int{}
	item, err := s.cache.GetItem(ctx, cartKey(id))
	if errors.Is(err, slotmesh.ErrNotFound) {
		return cart, 0, nil // IfVersion(0) means "still absent"
	}
	if err != nil {
		return nil, 0, err
	}
	return cart, item.Version, json.Unmarshal(item.Value, &cart)
}

func (s *sessions) logout(ctx context.Context, id string) error {
	for _, r := range s.cache.DeleteMany(ctx, []string{userKey(id), cartKey(id)}) {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}
