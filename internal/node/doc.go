// Package node is one member of a slotmesh cluster: it wires the claims
// (shard), the membership (gossip), the streams (transport) and the records
// (store) together.
//
// Two halves hardly touch each other. The data path runs calls: on the
// goroutines of callers and on those that read peers' connections, under the
// lock of one slot at a time. The control loop is one goroutine, the only one
// that decides on claims; it tells the data path of each slot what the claims
// say (applyView), and is told by events (post). What it alone touches is in the
// struct tending. docs/design.md follows a Set, a Get, a failover, a move and a
// start from disk from function to function.
//
// # A call
//
//   - route.go, trip.go: attempts until there is an answer; where each goes and
//     what its error means. detour.go: around a link that is down. redirect.go:
//     for callers who go themselves. many.go: groups of calls; lane.go: the order of
//     those on one key.
//   - answer.go, serve.go, write.go, txn.go, scan.go: the primary's side; reads,
//     writes, transactions, pages. slot.go: the state they work on.
//   - replicate.go: the streams to the copies, the acknowledged mark, the ring
//     of recent writes. ahead.go: what a batch needs is loaded side by side.
//   - near.go, grant.go: near caches and the read leases that keep them right.
//     stale.go, guess.go: what a copy on the caller's node may answer.
//   - guest.go: calls that wait at a primary; load.go, lock.go, watch.go,
//     feed.go: for what. follow.go: the watcher's side of feeds.
//   - publish.go, ask.go: messages and questions that no slot orders.
//     pack.go, glob.go: what their bodies are made of.
//
// # A claim
//
//   - members.go, control.go: what gossip and peers say becomes events. peer.go:
//     another node as this one knows it. lease.go: heartbeats and leases.
//     hearsay.go: a peer that only others hear.
//   - loop.go: a step of the control loop takes events to shard.Core, carries
//     out what it decides, and spreads the claims that came in force.
//   - succeed.go: a slot's role changes here; a new primary settles with its
//     backups.
//   - plan.go, reconcile.go, improve.go, agenda.go: who should hold each slot,
//     which slots to look at, the next step of one. settings.go: what people
//     decided. pace.go, window.go: how fast, and how many at a time.
//   - copy.go, learn.go, ranges.go: a copy is made; the primary's side, the
//     learner's, and what both do where the learner has most of it.
//   - heal.go, merge.go: forks become one. orphan.go, gather.go: slots without a
//     living holder begin again, after a crash and after a start from disk.
//   - depart.go, lostdisk.go, safe.go: a node gives what it holds to others, and
//     whether it may stop.
//
// # A node
//
//   - node.go: Open and Close, and the state of it all. config.go, errors.go:
//     what package slotmesh gives and gets. hello.go, environ.go, secret.go: how
//     it starts among the others. attributes.go: what it says of itself.
//   - disk.go, names.go: what is remembered beside the records. jam.go: a disk that
//     is behind. house.go: expiry, eviction, tombstones. forget.go: nodes of the
//     past.
//   - events.go, stats.go, info.go, explain.go, slow.go, trace.go: what people
//     are told.
//
// # Locks
//
// Outermost first: slot.mu, Node.coreMu, the small ones. No lock is held across
// network, disk or a callback, but that the engine is called under slot.mu. A
// function whose name ends in Locked needs that of the slot it is given, or of
// the state that it is a method of.
package node
