package slotmesh

import "github.com/slotmesh/slotmesh/internal/node"

// Errors for errors.Is. Those that a write returns mean that it changed
// nothing, but for ErrUnknownOutcome and the context's error, after which it
// may or may not have taken effect.
var (
	// ErrNotFound means that there is no such key, or that it has expired.
	ErrNotFound = node.ErrNotFound

	// ErrInvalid means that an argument or an option is out of its range, or
	// that two of them exclude each other. The text says which.
	ErrInvalid = node.ErrInvalid

	// ErrTooLarge means that the key or the value exceeds the limits set by
	// WithLimits.
	ErrTooLarge = node.ErrTooLarge

	// ErrConditionFailed means that IfAbsent met a key, IfPresent met none,
	// CompareAndSwap met another value, or Incr would leave its bounds.
	ErrConditionFailed = node.ErrConditionFailed

	// ErrVersionMismatch means that IfVersion met another version.
	ErrVersionMismatch = node.ErrVersionMismatch

	// ErrNotInteger means that Incr met a value that is no decimal 64-bit
	// integer, or that the sum would overflow one.
	ErrNotInteger = node.ErrNotInteger

	// ErrNoPrimary means that no live node served the key's slot within the
	// call's time, or that no member may hold slots, which calls do not wait for.
	ErrNoPrimary = node.ErrNoPrimary

	// ErrNotEnoughBackups means that the slot has fewer in-sync backups than
	// WithMinBackups demands.
	ErrNotEnoughBackups = node.ErrNotEnoughBackups

	// ErrNoMemory means that the value does not fit into the memory limit and
	// nothing could be evicted for it.
	ErrNoMemory = node.ErrNoMemory

	// ErrOverloaded means that the queue to the slot's primary is full, or the
	// primary's to a backup or to the disk, or that too many calls wait there for
	// a load, a lock or news. The call was not run.
	ErrOverloaded = node.ErrOverloaded

	// ErrUnknownOutcome means that the write was under way when its primary
	// was lost, and that the survivors cannot tell whether it took effect.
	ErrUnknownOutcome = node.ErrUnknownOutcome

	// ErrClosed means that the cache is closed.
	ErrClosed = node.ErrClosed

	// ErrSuperseded means that the cache closed itself because a later start
	// of the same node name is alive.
	ErrSuperseded = node.ErrSuperseded

	// ErrIncompatible means that a seed or peer is of another cluster, see
	// WithCluster, or speaks no protocol version that this release speaks too.
	ErrIncompatible = node.ErrIncompatible

	// ErrUntrusted means that a seed, or this node to it, could not prove to
	// belong to the cluster, by certificate or secret. The text says which.
	ErrUntrusted = node.ErrUntrusted

	// ErrCrossSlot means that keys of one transaction are in different slots.
	ErrCrossSlot = node.ErrCrossSlot

	// ErrConflict means that a transaction or an Update kept meeting others'
	// writes.
	ErrConflict = node.ErrConflict

	// ErrLocked means that somebody else holds the lock.
	ErrLocked = node.ErrLocked

	// ErrSchema means that a typed view met a value of a schema or a codec
	// that it does not know.
	ErrSchema = node.ErrSchema

	// ErrCodec means that a typed value could not be encoded or decoded. The
	// text names the key.
	ErrCodec = node.ErrCodec
)

// ErrUnknownNode is what calls that say where slots are to be give for a name
// that no living member has, or whose member is leaving or of weight 0 and can
// hold no slots.
var ErrUnknownNode = node.ErrUnknownNode

// ErrDisk means that the data directory failed: it is damaged, in use by
// another process, full, or an operation on it failed. The error that wraps it
// says which. Writes get it where no other node may hold the slot,
// see WithDataDir; reads for a value that is on the failed disk alone.
var ErrDisk = node.ErrDisk
