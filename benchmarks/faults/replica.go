package main

import (
	"context"
	"errors"

	"github.com/slotmesh/slotmesh"
)

// cacheSystem puts the load on a slotmesh cache in this process.
type cacheSystem struct{ c *slotmesh.Cache }

func (s cacheSystem) Set(ctx context.Context, key string, value []byte) error {
	return s.c.Set(ctx, key, value)
}

func (s cacheSystem) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := s.c.Get(ctx, key)
	if errors.Is(err, slotmesh.ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// Load is what a replica's process does for the driver.
type Load struct {
	cache func() *slotmesh.Cache
	load  *load
}

// Begin starts the load.
func (l *Load) Begin(s Spec, _ *struct{}) (err error) {
	l.load, err = begin(s, cacheSystem{l.cache()})
	return err
}

// Mark lets gaps count from now on.
func (l *Load) Mark(_ struct{}, _ *struct{}) error {
	l.load.mark()
	return nil
}

// End stops the load.
func (l *Load) End(_ struct{}, r *Report) error {
	*r = l.load.end()
	return nil
}

// Promotions is how many slots this replica has become the primary of.
func (l *Load) Promotions(_ struct{}, n *uint64) error {
	*n = l.cache().Stats().Promotions
	return nil
}

// Lost reads all keys and counts the acknowledged writes that are gone.
func (l *Load) Lost(_ struct{}, lost *uint64) (err error) {
	*lost, err = l.load.lost()
	return err
}
