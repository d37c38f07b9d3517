package node

import "errors"

// The errors that callers of the public API see; package slotmesh re-exports
// them. Only ErrUnknownOutcome and the context's error leave open whether a
// write took effect.
var (
	ErrNotFound         = errors.New("slotmesh: key not found")
	ErrCrossSlot        = errors.New("slotmesh: keys are in different slots")
	ErrVersionMismatch  = errors.New("slotmesh: version does not match")
	ErrConditionFailed  = errors.New("slotmesh: condition not met")
	ErrNoPrimary        = errors.New("slotmesh: slot has no live primary")
	ErrNotEnoughBackups = errors.New("slotmesh: fewer in-sync backups than required")
	ErrTooLarge         = errors.New("slotmesh: key or value too large")
	ErrNoMemory         = errors.New("slotmesh: memory limit reached")
	ErrClosed           = errors.New("slotmesh: cache is closed")
	ErrSuperseded       = errors.New("slotmesh: a newer start of this node's name is alive")
	ErrConflict         = errors.New("slotmesh: transaction conflict")
	ErrUnknownOutcome   = errors.New("slotmesh: outcome of the write is unknown")
	ErrOverloaded       = errors.New("slotmesh: queue to a peer is full")
	ErrSchema           = errors.New("slotmesh: value has an unknown schema")
	ErrIncompatible     = errors.New("slotmesh: peer is of another cluster or speaks no common protocol version")
	ErrUntrusted        = errors.New("slotmesh: peer is not trusted, or does not trust this node")
	ErrNotInteger       = errors.New("slotmesh: value is not an integer or would overflow")
	ErrInvalid          = errors.New("slotmesh: invalid argument")
	ErrCodec            = errors.New("slotmesh: value cannot be encoded or decoded")
	ErrLocked           = errors.New("slotmesh: lock is held by another")
	ErrUnknownNode      = errors.New("slotmesh: no living node of that name can hold slots")
	ErrDisk             = errors.New("slotmesh: disk failed")
)
