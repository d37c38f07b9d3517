package slotmesh

import (
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
)

// GetOption changes what one Get, GetItem, GetInto, GetMany or Exists does, or
// as an option of For what each Get and GetMany of a typed view does.
//
// It is a plain value, so that a call with options allocates nothing for them.
type GetOption struct {
	stale  bool
	maxAge time.Duration
}

// AllowStale lets a backup that this node holds answer without the network, if
// its copy lacks no write that was acknowledged longer than maxAge ago.
// Otherwise the primary answers as always. What is answered was acknowledged
// before; of one key a later read may give an earlier value where it comes from
// another node. GetItem tells Source and Age.
//
// A copy is confirmed by its primary about every 85 ms while such reads are made
// on a node, so a maxAge below 100ms seldom finds one. While a primary is out of
// reach its backups go on answering for maxAge. A maxAge of zero or less gives
// ErrInvalid.
//
// With WithAck(AckPrimary) a write that is acknowledged may be missing for
// longer.
func AllowStale(maxAge time.Duration) GetOption { return GetOption{stale: true, maxAge: maxAge} }

func (g GetOption) applyTyped(o *typedOptions) { o.get = append(o.get, g) }

// applyGet writes opts into call. The last AllowStale counts.
func applyGet(call *node.Call, opts []GetOption) error {
	for i := range opts {
		if !opts[i].stale {
			continue
		}
		if opts[i].maxAge <= 0 {
			return fmt.Errorf("%w: AllowStale(%v): want more than 0", ErrInvalid, opts[i].maxAge)
		}
		call.MaxAge = int64(opts[i].maxAge)
	}
	return nil
}
