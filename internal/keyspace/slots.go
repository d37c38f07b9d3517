//go:build !slotmesh_fewslots

// Package keyspace says how many slots there are, to the packages that number them.
package keyspace

// Slots is the number of slots of a Redis Cluster.
const Slots = 16384
