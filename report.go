package slotmesh

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
)

// Report is what a node tells of itself, for people and their tools.
type Report struct {
	Node    Node
	Cluster string
	Version string // of slotmesh in its build, "(devel)" where unknown
	Go      string // the Go release it was built with
	// Protocols is the range of protocol versions that it speaks.
	Protocols [2]int
	Started   time.Time // when it was opened, by its clock
	Clock     time.Time // when it answered, by its clock

	Backups, MinBackups int
	DataDir             bool // it keeps records on disk

	Stats  Stats
	Health Health // as that node sees it
	// Peers are the other members as that node sees them.
	Peers []Peer
	// Placed is a digest of the Placement that it knows: nodes of one mind have
	// the same. Paused says that balance is paused, as far as it knows.
	Placed uint64
	Paused bool
	// Table is a digest of the slots' claims that it knows: nodes of one mind
	// have the same.
	Table uint64
}

// Peer is another node as a Report has it.
type Peer struct {
	Name, ID, Addr string
	State          string // as of Node
	Connected      bool   // calls can be sent to it
	Visitor        bool
}

// maxReport has room for a thousand peers.
const maxReport = 1 << 20

// What nodes ask each other. Values are part of the wire format.
const (
	askReport     = "report"
	askCheckpoint = "checkpoint"
)

// Report asks the node of that name for a report; the name of this very node
// asks nobody. It costs a round trip and about a millisecond over there. Within
// ctx or WithOpTimeout it waits for the node to be reachable.
//
// Errors: ErrInvalid where there is no such node; ErrIncompatible where its
// answer cannot be read; ErrClosed; ctx's error.
func (c Cluster) Report(ctx context.Context, name string) (Report, error) {
	b, err := c.n.Ask(ctx, name, askReport, nil)
	if err != nil {
		return Report{}, fmt.Errorf("report: %w", err)
	}
	r, err := decodeReport(b)
	r.Node.Self = r.Node.ID == newNode(c.n.Self()).ID
	return r, err
}

// Checkpoint has the node of that name write a consistent copy of its records
// beside its data directory, and returns where: in the directory with
// "-checkpoints" behind its name, under label, which may hold up to 64 letters,
// digits, dots, dashes and underscores and must be new. See Cache.Checkpoint.
//
// It may take long: only ctx bounds it, where it has a deadline.
//
// Errors: ErrInvalid, also where the node keeps nothing on disk or there is such a label; ErrDisk;
// ErrClosed; ctx's error, after which it may be written all the same.
func (c Cluster) Checkpoint(ctx context.Context, name, label string) (dir string, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 24*time.Hour)
		defer cancel()
	}
	b, err := c.n.Ask(ctx, name, askCheckpoint, []byte(label))
	if err != nil {
		return "", fmt.Errorf("checkpoint of %s: %w", name, err)
	}
	return string(b), nil
}

// asked answers what other nodes ask.
func (o *options) asked(n *node.Node, what string, arg []byte) ([]byte, error) {
	switch what {
	case askReport:
		return json.Marshal(o.report(n))
	case askCheckpoint:
		return o.checkpoint(&Cache{n: n}, string(arg))
	}
	return nil, fmt.Errorf("%w: this release does not know %.40q", ErrInvalid, what)
}

func (o *options) report(n *node.Node) *Report {
	c := Cache{n: n}
	view := c.Cluster()
	r := &Report{
		Node: view.Self(), Cluster: o.cfg.Cluster, Version: buildVersion(), Go: runtime.Version(), Protocols: node.Protocols(),
		Started: n.Started(), Clock: time.Now(), Backups: o.cfg.Backups, MinBackups: o.cfg.MinBackups, DataDir: o.dataDir != "",
		Stats: c.Stats(), Health: view.Health(),
	}
	for _, m := range n.Members() {
		if !m.Self {
			p := newNode(m)
			r.Peers = append(r.Peers, Peer{p.Name, p.ID, p.Addr, p.State, n.Connected(m.ID), p.Visitor})
		}
	}
	placed := view.Placement()
	r.Paused = placed.Paused
	if b, err := json.Marshal(placed); err == nil { // its maps in order
		p := fnv.New64a()
		_, _ = p.Write(b)
		r.Placed = p.Sum64()
	}
	h := fnv.New64a()
	for _, d := range n.Table().Digests() {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, d)) // never fails
	}
	r.Table = h.Sum64()
	return r
}

// decodeReport reads what may come from any peer. Fields that it does not know
// are left out.
func decodeReport(b []byte) (r Report, err error) {
	if len(b) > maxReport {
		return Report{}, fmt.Errorf("%w: report of %d bytes", ErrIncompatible, len(b))
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("%w: report: %w", ErrIncompatible, err)
	}
	return r, nil
}

// checkpointLabel is what a peer may have a directory called.
var checkpointLabel = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)

func (o *options) checkpoint(c *Cache, label string) ([]byte, error) {
	if !checkpointLabel.MatchString(label) {
		return nil, fmt.Errorf("%w: checkpoint label %.80q: want letters, digits, dots, dashes and underscores", ErrInvalid, label)
	}
	if o.dataDir == "" {
		return nil, fmt.Errorf("%w: this node keeps nothing on disk", ErrInvalid)
	}
	dir, err := filepath.Abs(o.dataDir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	dir = filepath.Join(dir+"-checkpoints", label)
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s exists already", ErrInvalid, dir)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return []byte(dir), c.Checkpoint(dir)
}

// buildVersion is the release of this module that is built in.
func buildVersion() string {
	const path = "github.com/slotmesh/slotmesh"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == path && m.Replace == nil && m.Version != "" {
			return m.Version
		}
	}
	return "(devel)"
}
