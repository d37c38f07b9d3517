package slotmesh

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
)

// Explanation says where a key is and what is known of it. It is for people and
// their tools: a program that decides by it would decide by what was.
type Explanation struct {
	Key  string
	Tag  string // the part of the key that decides its slot
	Slot uint16
	// Epoch, Primary and Backups are the slot's claim as this node knows it.
	Epoch   uint64
	Primary string
	Backups []string // in sync
	// Copies are those of other nodes as the primary knows them: in sync, or
	// being filled.
	Copies []KeyCopy
	// State is "present", "absent" (nothing is known of the key), "deleted",
	// "expired", "evicted" or "no value" (remembered by a loader that found
	// none). A key that was removed some time ago is absent.
	State   string
	Version uint64
	Size    int           // bytes of the value
	TTL     time.Duration // NoTTL if it lasts for ever
	Codec   uint8         // of a typed value; 0 for raw bytes
	Schema  uint32        // of a typed value
	// Loading says that somebody is loading the key, and Waiting how many calls
	// of other nodes and loads wait for that.
	Loading bool
	Waiting int
	// Of the slot: its records with those of removed keys, the memory they
	// take, and how many of the last writes are kept for repeats and watches.
	SlotRecords, SlotBytes, SlotRecent int
	Took                               time.Duration // how long the primary took to answer
}

// KeyCopy is another node's copy of a key's slot.
type KeyCopy struct {
	Node   string
	InSync bool   // else it is being filled, and its node never promoted
	Behind uint64 // writes under way of an in-sync copy: none of them is acknowledged
}

// String returns the explanation in a few lines of text.
func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "key %s: %s", quoted(e.Key), e.State)
	if e.State == "present" {
		fmt.Fprintf(&b, ", %d bytes, version %d", e.Size, e.Version)
		if e.TTL == NoTTL {
			b.WriteString(", no TTL")
		} else {
			fmt.Fprintf(&b, ", %v to live", e.TTL)
		}
		if e.Codec != 0 {
			fmt.Fprintf(&b, ", codec %d schema %d", e.Codec, e.Schema)
		}
	}
	if e.Loading {
		fmt.Fprintf(&b, ", being loaded while %d wait", e.Waiting)
	}
	fmt.Fprintf(&b, "\ntag %s: slot %d, epoch %d\nprimary %s, backups %v, answered in %v", quoted(e.Tag), e.Slot, e.Epoch, e.Primary, e.Backups, e.Took)
	fmt.Fprintf(&b, "\nslot: %d records, %d bytes, %d recent writes", e.SlotRecords, e.SlotBytes, e.SlotRecent)
	for _, c := range e.Copies {
		state := "in sync"
		if !c.InSync {
			state = "being made"
		}
		fmt.Fprintf(&b, "\ncopy on %s: %s, %d writes under way", c.Node, state, c.Behind)
	}
	return b.String()
}

var explainStates = map[uint8]string{
	node.ExplainPresent: "present", node.ExplainNever: "absent", node.ExplainDeleted: "deleted",
	node.ExplainExpired: "expired", node.ExplainEvicted: "evicted", node.ExplainAbsent: "no value",
}

// Explain tells where key is, and asks its primary what is known of it: why a
// Get misses, above all. It costs a round trip. Its errors are those of Get
// but for ErrNotFound; with one, what this node knows by itself is set.
func (c Cluster) Explain(ctx context.Context, key string) (Explanation, error) {
	slot := hashtag.Slot(key)
	e := Explanation{Key: key, Tag: hashtag.Tag(key), Slot: slot, State: "unknown", TTL: NoTTL}
	names := c.names()
	look := func() {
		if claim := c.n.Table().Claim(slot); claim != nil {
			e.Epoch, e.Primary, e.Backups = claim.Epoch, names.of(claim.Primary), nil
			for _, id := range claim.Backups {
				e.Backups = append(e.Backups, names.of(id))
			}
		}
	}
	look()
	began := time.Now()
	call := node.ExplainCall(slot, key)
	r, err := c.n.Do(ctx, &call)
	if err != nil {
		return e, err
	}
	e.Took = time.Since(began)
	look() // the call may have found a newer claim
	x, ok := node.UnpackExplanation(r.Value)
	if !ok {
		return e, fmt.Errorf("explain %s: %w: malformed answer", quoted(key), ErrIncompatible)
	}
	if e.State = explainStates[x.State]; e.State == "" {
		e.State = fmt.Sprintf("state %d", x.State)
	}
	e.Loading, e.Waiting = x.Loading, x.Waiting
	e.SlotRecords, e.SlotBytes, e.SlotRecent = x.Records, int(x.Bytes), x.Recent
	for _, c := range x.Copies {
		e.Copies = append(e.Copies, KeyCopy{Node: names.of(c.Node), InSync: c.InSync, Behind: c.Behind})
	}
	if x.State == node.ExplainPresent {
		e.Version, e.Size = x.Version, x.Size
		e.Codec, e.Schema = uint8(x.Schema>>24), x.Schema&maxSchema
		if x.Expiry != 0 {
			e.TTL = millis(x.Left)
		}
	}
	return e, nil
}
