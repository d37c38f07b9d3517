//go:build slotmesh_fewslots

// Package keyspace says how many slots there are, to the packages that number them.
package keyspace

// Slots is a number that lets simulated clusters run twenty times as many schedules
// in the same time. Nodes of this build and of the usual one do not understand each
// other, and clients of Redis Cluster do not understand it.
const Slots = 512
