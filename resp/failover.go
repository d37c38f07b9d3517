package resp

import (
	"context"
	"time"
)

// failoverTime bounds a CLUSTER FAILOVER.
const failoverTime = 30 * time.Second

// clusterFailover takes over the slots of which this node is a backup, as a
// replica of Redis does, and answers when it serves them. Nothing is copied:
// their primaries become the backups. FORCE and TAKEOVER differ in nothing but
// that primaries which do not answer are no reason to refuse; without them that
// is for the nodes to agree upon, and they do it by themselves.
func clusterFailover(c *conn, args [][]byte) {
	if len(args) > 3 {
		c.out.fail("ERR unknown subcommand or wrong number of arguments for '" + clip(args[1], 128) + "'. Try CLUSTER HELP.")
		return
	}
	forced := len(args) == 3 && (word(args[2], "FORCE") || word(args[2], "TAKEOVER"))
	if len(args) > 2 && !forced {
		c.out.fail(errSyntax)
		return
	}
	// Failover hands a slot to any of its backups, and MoveSlots to this one.
	var only, among []uint16
	t := c.s.look()
	for no, backups := range t.backups {
		for _, b := range backups {
			if b != t.self {
				continue
			}
			if primary := t.primary[no]; primary.State == "suspect" && !forced {
				c.out.fail("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE")
				return
			}
			if len(backups) == 1 {
				only = append(only, uint16(no))
			} else {
				among = append(among, uint16(no))
			}
		}
	}
	if len(only)+len(among) == 0 {
		c.out.fail("ERR You should send CLUSTER FAILOVER to a replica")
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, failoverTime)
	defer cancel()
	view := c.s.cache.Cluster()
	var err error
	if len(only) > 0 {
		err = view.Failover(ctx, only)
	}
	if err == nil && len(among) > 0 {
		err = view.MoveSlots(ctx, among, c.s.self)
	}
	if err != nil {
		c.fault(err)
		return
	}
	c.out.ok()
}
