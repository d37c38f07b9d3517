package resp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/hashtag"
)

var clusterCommands = []command{
	{name: "slots", arity: 2, about: "Lists which nodes hold which slots.", run: clusterSlots},
	{name: "shards", arity: 2, about: "Lists sets of nodes with the slots that they hold.", run: clusterShards},
	{name: "nodes", arity: 2, about: "Describes the nodes in lines.", run: func(c *conn, _ [][]byte) { c.out.verbatim(c.s.look().lines()) }},
	{name: "info", arity: 2, about: "Describes the cluster in lines.", run: clusterInfo},
	{name: "myid", arity: 2, about: "Returns this node's ID.", run: func(c *conn, _ [][]byte) { c.out.text(nodeID(c.s.self)) }},
	{name: "myshardid", arity: 2, about: "Returns the ID of this node's shard.", run: func(c *conn, _ [][]byte) { c.out.text(nodeID("shard of " + c.s.self)) }},
	{name: "keyslot", arity: 3, about: "Returns the slot of a key.", run: func(c *conn, args [][]byte) { c.out.int(int64(hashtag.SlotBytes(args[2]))) }},
	{name: "countkeysinslot", arity: 3, about: "Counts this node's keys of a slot.", run: countKeysInSlot},
	{name: "getkeysinslot", arity: 4, about: "Returns this node's keys of a slot.", run: getKeysInSlot},
	{name: "links", arity: 2, about: "Lists the connections to other nodes.", run: clusterLinks},
	{name: "replicas", arity: 3, flags: admin, about: "Lists the nodes with backups of a node's slots.", run: clusterReplicas},
	{name: "slaves", arity: 3, flags: admin, about: "Lists the nodes with backups of a node's slots.", run: clusterReplicas},
	{name: "count-failure-reports", arity: 3, flags: admin, about: "Returns 1 for a node that does not answer, else 0.", run: failureReports},
	{name: "failover", arity: -2, flags: admin, about: "Takes over the slots that this node has backups of.", run: clusterFailover},
	{name: "saveconfig", arity: 2, flags: admin, about: "Does nothing: what has to be saved is.", run: ok},
	{name: "bumpepoch", arity: 2, flags: admin, about: "Does nothing.", run: func(c *conn, _ [][]byte) { c.out.simple("STILL " + utoa(c.s.look().epoch)) }},
	{name: "meet", arity: -4, flags: admin, run: needless("nodes join by their seeds")},
	{name: "forget", arity: 3, flags: admin, run: needless("a node that is gone is forgotten")},
	{name: "replicate", arity: 3, flags: admin, run: needless("backups are placed by the plan")},
	{name: "reset", arity: -2, flags: admin, run: needless("a node that is shut down leaves")},
	{name: "addslots", arity: -3, flags: admin, run: needless("slots are placed by the plan")},
	{name: "addslotsrange", arity: -4, flags: admin, run: needless("slots are placed by the plan")},
	{name: "delslots", arity: -3, flags: admin, run: needless("slots are placed by the plan")},
	{name: "delslotsrange", arity: -4, flags: admin, run: needless("slots are placed by the plan")},
	{name: "flushslots", arity: 2, flags: admin, run: needless("slots are placed by the plan")},
	{name: "setslot", arity: -4, flags: admin, run: needless("slots are placed by the plan")},
	{name: "set-config-epoch", arity: 3, flags: admin, run: needless("epochs are agreed upon by the nodes")},
}

func ok(c *conn, _ [][]byte) { c.out.ok() }

// needless refuses what there is no need for.
func needless(why string) func(*conn, [][]byte) {
	return func(c *conn, args [][]byte) {
		c.out.fail("ERR CLUSTER " + strings.ToUpper(clip(args[1], 32)) + " is not for this cluster: " + why)
	}
}

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

// clusterSlots answers with as many entries as there are runs of slots with
// the same nodes, which are thousands: it is made once for each topology.
func clusterSlots(c *conn, _ [][]byte) {
	t, proto := c.s.look(), 0
	if c.out.three {
		proto = 1
	}
	t.slotsOnce[proto].Do(func() {
		r := reply{three: c.out.three}
		count := 0
		entry := func(run span, nodes []*member) {
			r.array(2 + len(nodes))
			r.int(int64(run.from))
			r.int(int64(run.to))
			for _, n := range nodes {
				r.array(4)
				r.text(n.host)
				r.int(n.portNumber())
				r.text(n.id)
				r.array(0)
			}
			count++
		}
		// Python's client takes a node for a replica that it first meets as one, and has
		// SCAN, DBSIZE and FLUSHALL pass it by: the first run of each is without backups,
		// and all these come first.
		var rest spans
		met := map[*member]bool{}
		for _, run := range t.runs() {
			if m := t.entry(run.from); met[m] {
				rest = append(rest, run)
			} else {
				met[m] = true
				entry(run, []*member{m})
			}
		}
		for _, run := range rest {
			m := t.entry(run.from)
			nodes := []*member{m}
			for _, b := range t.backups[run.from] {
				if b != m && b.host != "" && b.State == "alive" {
					nodes = append(nodes, b)
				}
			}
			entry(run, nodes)
		}
		head := reply{}
		head.array(count)
		t.slots[proto] = append(head.b, r.b...)
	})
	c.out.b = append(c.out.b, t.slots[proto]...)
}

// runs are those of slots with the same nodes.
func (t *topology) runs() (list spans) {
	for from := 0; from < hashtag.Slots; {
		m, to := t.entry(from), from
		for to+1 < hashtag.Slots && t.entry(to+1) == m && t.sameBackups(from, to+1) {
			to++
		}
		if m != nil {
			list = append(list, span{from, to})
		}
		from = to + 1
	}
	return list
}

// clusterShards lists the slots by the sets of nodes that hold them.
func clusterShards(c *conn, _ [][]byte) {
	t := c.s.look()
	type shard struct {
		primary *member
		backups []*member
		ranges  spans
	}
	type key struct {
		primary *member
		backups **member // the first of a shared slice
	}
	shards := map[key]*shard{}
	var order []*shard
	for no := range t.primary {
		m := t.entry(no)
		if m == nil {
			continue
		}
		k := key{primary: m}
		if len(t.backups[no]) > 0 {
			k.backups = &t.backups[no][0]
		}
		s := shards[k]
		if s == nil {
			s = &shard{primary: m, backups: t.backups[no]}
			shards[k] = s
			order = append(order, s)
		}
		s.ranges.add(no)
	}
	r := &c.out
	r.array(len(order))
	for _, s := range order {
		r.pairs(2)
		r.text("slots")
		r.array(2 * len(s.ranges))
		for _, x := range s.ranges {
			r.int(int64(x.from))
			r.int(int64(x.to))
		}
		r.text("nodes")
		nodes := []*member{s.primary}
		for _, b := range s.backups {
			if b != s.primary && b.host != "" {
				nodes = append(nodes, b)
			}
		}
		r.array(len(nodes))
		for i, n := range nodes {
			c.shardNode(n, i == 0)
		}
	}
}

// shardNode is a node as CLUSTER SHARDS tells of it.
func (c *conn) shardNode(n *member, primary bool) {
	role, health, port := "replica", "online", "port"
	if primary {
		role = "master"
	}
	if n.State == "suspect" {
		health = "fail"
	}
	if c.s.tls != nil {
		port = "tls-port"
	}
	r := &c.out
	r.pairs(7)
	r.text("id")
	r.text(n.id)
	r.text(port)
	r.int(n.portNumber())
	r.text("ip")
	r.text(n.host)
	r.text("endpoint")
	r.text(n.host)
	r.text("role")
	r.text(role)
	r.text("replication-offset")
	r.int(0)
	r.text("health")
	r.text(health)
}

// lines is CLUSTER NODES.
func (t *topology) lines() string {
	var b strings.Builder
	sorted := slices.Clone(t.members)
	slices.SortFunc(sorted, byID)
	ranges := map[*member]*spans{}
	for _, m := range sorted {
		ranges[m] = &spans{}
	}
	for no := range t.primary {
		if r := ranges[t.entry(no)]; r != nil {
			r.add(no)
		}
	}
	for _, m := range sorted {
		b.WriteString(t.line(m, m.flags(), "-"))
		for _, r := range *ranges[m] {
			if r.from == r.to {
				fmt.Fprintf(&b, " %d", r.from)
			} else {
				fmt.Fprintf(&b, " %d-%d", r.from, r.to)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (t *topology) line(m *member, flags, master string) string {
	_, bus, _ := strings.Cut(m.Addr[max(strings.LastIndexByte(m.Addr, ':'), 0):], ":")
	link := "connected"
	if m.State == "suspect" {
		link = "disconnected"
	}
	port := m.port
	if port == "" {
		port = "0"
	}
	return fmt.Sprintf("%s %s:%s@%s %s %s 0 0 %d %s", m.id, m.host, port, bus, flags, master, m.epoch, link)
}

func clusterInfo(c *conn, _ [][]byte) {
	t := c.s.look()
	state, size, pfail := "ok", 0, 0
	if t.served < hashtag.Slots {
		state = "fail"
	}
	for _, m := range t.members {
		if m.slots > 0 {
			size++
		}
		if m.State == "suspect" {
			pfail += m.slots
		}
	}
	var mine uint64
	if t.self != nil {
		mine = t.self.epoch
	}
	var b strings.Builder
	for _, line := range []struct {
		name  string
		value any
	}{
		{"cluster_state", state}, {"cluster_slots_assigned", t.served}, {"cluster_slots_ok", t.served - pfail},
		{"cluster_slots_pfail", pfail}, {"cluster_slots_fail", 0}, {"cluster_known_nodes", len(t.members)}, {"cluster_size", size},
		{"cluster_current_epoch", t.epoch}, {"cluster_my_epoch", mine},
		{"cluster_stats_messages_sent", 0}, {"cluster_stats_messages_received", 0}, {"total_cluster_links_buffer_limit_exceeded", 0},
	} {
		fmt.Fprintf(&b, "%s:%v\r\n", line.name, line.value)
	}
	c.out.verbatim(b.String())
}

func countKeysInSlot(c *conn, args [][]byte) {
	var slot int64
	if !c.out.integer(args[2], &slot) {
		return
	}
	if slot < 0 || slot >= hashtag.Slots {
		c.out.fail("ERR Invalid slot")
		return
	}
	c.out.int(int64(c.s.cache.Cluster().KeysIn(uint16(slot))))
}

func getKeysInSlot(c *conn, args [][]byte) {
	var slot, count int64
	if !c.out.integer(args[2], &slot) || !c.out.integer(args[3], &count) {
		return
	}
	if slot < 0 || slot >= hashtag.Slots || count < 0 {
		c.out.fail("ERR Invalid slot or number of keys")
		return
	}
	found := []string{}
	if count > 0 {
		for item, err := range c.s.cache.Scan(c.stay, slotmesh.ScanSlot(int(slot)), slotmesh.ScanKeysOnly()) {
			if redirected(err) {
				break
			}
			if err != nil {
				c.fault(err)
				return
			}
			if found = append(found, item.Key); int64(len(found)) == count {
				break
			}
		}
	}
	c.out.texts(found...)
}

func clusterLinks(c *conn, _ [][]byte) {
	t := c.s.look()
	var others []*member
	for _, m := range t.members {
		if !m.Self && m.State != "suspect" {
			others = append(others, m)
		}
	}
	c.out.array(2 * len(others))
	for _, m := range others {
		for _, direction := range []string{"to", "from"} {
			c.out.pairs(6)
			c.out.text("direction")
			c.out.text(direction)
			c.out.text("node")
			c.out.text(m.id)
			c.out.text("create-time")
			c.out.int(c.s.started.UnixMilli())
			c.out.text("events")
			c.out.text("rw")
			c.out.text("send-buffer-allocated")
			c.out.int(0)
			c.out.text("send-buffer-used")
			c.out.int(0)
		}
	}
}

// node finds the one that an argument names; nil: it has answered.
func (c *conn) node(t *topology, id []byte) *member {
	m := t.find(string(id))
	if m == nil {
		c.out.fail("ERR Unknown node " + clip(id, 128))
	}
	return m
}

func clusterReplicas(c *conn, args [][]byte) {
	t := c.s.look()
	m := c.node(t, args[2])
	if m == nil {
		return
	}
	holds := map[*member]bool{}
	for no, primary := range t.primary {
		if primary == m {
			for _, b := range t.backups[no] {
				holds[b] = true
			}
		}
	}
	var lines []string
	for _, b := range t.members {
		if holds[b] {
			lines = append(lines, t.line(b, strings.Replace(b.flags(), "master", "slave", 1), m.id))
		}
	}
	c.out.texts(lines...)
}

func failureReports(c *conn, args [][]byte) {
	if m := c.node(c.s.look(), args[2]); m != nil {
		c.out.truth(m.State == "suspect")
	}
}
