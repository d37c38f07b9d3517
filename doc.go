// Package slotmesh turns the replicas of a program into one sharded,
// replicated cache.
//
// Every replica opens a Cache and names a few of the others as seeds. There is
// no server to run and nobody coordinates: the replicas find each other, share
// out 16384 slots, keep each slot on a primary and its backups, and go on when
// one of them dies. More replicas hold more data.
//
//	c, err := slotmesh.Open(ctx, slotmesh.WithSeeds("orders-0:7946"))
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	err = c.Set(ctx, "{user:42}cart", cart, slotmesh.TTL(time.Hour))
//	cart, err = c.Get(ctx, "{user:42}cart")
//
// # Keys and slots
//
// A key is any string of up to 64 KiB, the empty one included. Its slot is
// that of Redis Cluster: a CRC16 of the key's hash tag, the part between the
// first '{' and the next '}', or of the whole key. Keys with one tag are in
// one slot and so on the same nodes. Any node takes any call: it answers where
// it is the slot's primary and asks the primary otherwise, in one hop.
//
// # What is promised
//
// With at least three nodes, one backup (the default) and a majority of a
// slot's nodes alive, an acknowledged write is not lost and every operation on
// one key is linearizable, through crashes, restarts and pauses. Of two nodes
// the survivor goes on alone: then no acknowledged write is lost while a copy
// of it survives or comes back, except to a newer write of the same key.
// WithAck(AckPrimary) and WithBackups(0) waive both for speed. It is a cache:
// at its memory limit it evicts, unless WithEviction(EvictNone) says otherwise,
// and what all holders of a slot lose at once is gone.
//
// # More than get and set
//
// Keys with one hash tag are read and written together by Txn. For makes views
// whose values are of a Go type, and which two releases of a program can share.
// GetOrLoad has a missing value made once for the whole fleet. Lock lets one
// process at a time do something, Scan goes through keys, Watch follows them.
//
// # Contexts and errors
//
// Every call takes a context and ends within its deadline. Where it has none
// WithOpTimeout bounds the call; of those that ask several times, such as Txn,
// Update and Scan, each question; and GetOrLoad waits as long as somebody loads.
// Calls wait out a failover rather than failing. Errors are matched with errors.Is;
// of those a write can return, only ErrUnknownOutcome and the context's own error
// leave open whether it took effect.
package slotmesh
