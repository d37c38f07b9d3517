// Package shard decides which node serves which slot.
//
// It answers two questions and keeps them apart. Who holds a slot is a matter of
// record: a [Claim] names the primary, the backups in sync and the witnesses, a
// quorum of whom accepted it, and a [Table] keeps the newest claim known of each
// of the 16384 slots. Who should hold a slot is a matter of arithmetic: [Plan]
// computes an [Assignment] from the list of members alone. Primaries move what
// is towards what should be; the plan never changes a claim, and the table is no
// argument of the plan.
//
// Nothing here does IO, reads a clock or starts a goroutine.
//
// # Claims and tables
//
// A claim is made by the node that it names primary, and by no other; that node
// uses no pair of epoch and rev twice. So claims of one slot are ordered by
// (epoch, primary, rev), see [Compare], and of two that compare equal the rest
// is equal. [Table.Merge] keeps the higher one slot by slot. It is commutative,
// associative and idempotent: nodes that heard the same claims have the same
// table, whatever the order and however often. Digests of blocks of slots show
// where two tables differ.
//
// A table is a snapshot. Whoever owns the current one keeps it behind an atomic
// pointer, and a look-up is one load and two indexes.
//
// Claims have a wire form, see [Claim.Append], that later releases may extend
// at its end. It is the same on disk.
//
// # Plan
//
// Every node computes the plan for itself, and all get the same: it depends on
// no time, no history, no order and no floating point. It works in three steps.
//
// Shares come first: how many copies each node is to hold, in proportion to its
// weight, but at most one of each slot.
//
// Then slots choose, one after another in a fixed order, the node of least cost
// that has room. The cost is that of weighted rendezvous hashing, a function of
// slot, seat and weight. Without bounds, rendezvous hashing moves the fewest
// slots possible when a node comes or goes, and is uneven; the bounds make it
// even and cost a few moves more, since a node with one slot less to hold sends
// one elsewhere. Two things keep those few: hashes of a seat are a shuffle, not
// drawn one by one, and seats that too many slots want are made somewhat dearer
// before the choice.
//
// Backups choose like primaries, a copy after another, each as far from the
// others as it can be: in a zone without a copy, else in another zone than the
// primary's, else on another node. The next choice of a slot holds its backup,
// so that when a primary is gone the plan mostly wants what promotion does
// anyhow. Room is counted for all copies together.
//
// A node is scored by its seat, which is its name or one that it took over: the
// plan with d in the seat of c is the plan with c, but for the name.
//
// [Assignment.Witnesses] then fills the group of a slot up to [GroupSize].
package shard
