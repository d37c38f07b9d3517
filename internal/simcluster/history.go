package simcluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// History records what callers did and were told, by key. Its order is that
// of the calls' beginnings and ends, not of a clock. The zero value is empty.
type History struct {
	order atomic.Int64
	mu    sync.Mutex // guards ops
	ops   map[string][]porcupine.Operation
}

// op is an operation as the checker sees it, and outcome what its caller saw.
type op struct {
	kind       transport.Op
	value, old string
	delta      int64
}

type outcome struct {
	open  bool // the caller doesn't know
	found bool // Get: a value; Delete: there was one; Compare: done
	value string
	num   int64
}

// value is the state of a key.
type value struct {
	present bool
	v       string
}

var model = porcupine.Model{
	Init: func() any { return value{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(value), input.(op), output.(outcome)
		switch in.kind {
		case transport.OpGet:
			return s.present == out.found && s.v == out.value, s
		case transport.OpSet:
			return true, value{true, in.value}
		case transport.OpDelete:
			return out.open || out.found == s.present, value{}
		case transport.OpIncr:
			old, _ := strconv.ParseInt(s.v, 10, 64)
			return out.open || old+in.delta == out.num, value{true, strconv.FormatInt(old+in.delta, 10)}
		case transport.OpCompare:
			match := s.present && s.v == in.old
			if match {
				return out.open || out.found, value{true, in.value}
			}
			return out.open || !out.found, s
		}
		return false, s
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
}

// Do makes a call from the node of a name and records it. What the callers of
// a node are told after it was killed is not known to anybody.
func (hist *History) Do(ctx context.Context, sc *Cluster, client int, from string, c node.Call) (node.Result, error) {
	h := sc.Host(from)
	h.mu.Lock()
	life := h.life
	h.mu.Unlock()
	in := op{kind: c.Op, value: string(c.Value), old: string(c.Old), delta: c.Delta}
	begin := hist.order.Add(1)
	r, err := sc.Do(ctx, from, c)
	end := hist.order.Add(1)
	out := outcome{found: r.Found, value: string(r.Value), num: r.Int}
	dead := false
	select {
	case <-life:
		dead = true
	default:
	}
	switch {
	case c.Op == transport.OpGet && (err != nil || dead):
		return r, err
	case c.Op == transport.OpGet:
	case dead, errors.Is(err, node.ErrUnknownOutcome), errors.Is(err, context.Canceled) && !errors.Is(err, node.ErrNoPrimary):
		out, end = outcome{open: true}, math.MaxInt64
	case c.Op == transport.OpCompare && errors.Is(err, node.ErrConditionFailed):
		out.found = false
	case errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, node.ErrNoPrimary) && !errors.Is(err, node.ErrOverloaded):
		out, end = outcome{open: true}, math.MaxInt64
	case err != nil: // nothing happened: if it did, a read tells
		return r, err
	case c.Op == transport.OpCompare:
		out.found = true
	}
	hist.mu.Lock()
	defer hist.mu.Unlock()
	if hist.ops == nil {
		hist.ops = map[string][]porcupine.Operation{}
	}
	hist.ops[c.Key] = append(hist.ops[c.Key], porcupine.Operation{ClientId: client, Input: in, Call: begin, Output: out, Return: end})
	return r, err
}

// Check reports every key whose history is not linearizable. It is for
// outside of the bubble.
func (hist *History) Check(t *testing.T) {
	t.Helper()
	total := 0
	for key, ops := range hist.ops {
		total += len(ops)
		if isCounter(ops) {
			if fault := counterFault(ops); fault != "" {
				t.Errorf("the history of %s is not linearizable: %s", key, fault)
			}
			continue
		}
		res, info := porcupine.CheckOperationsVerbose(model, ops, 20*time.Second)
		switch res {
		case porcupine.Illegal:
			t.Errorf("the history of %s is not linearizable:\n%s", key, explain(ops, info))
		case porcupine.Unknown:
			t.Logf("the history of %s (%d operations) takes too long to check", key, len(ops))
		}
	}
	t.Logf("%d operations on %d keys", total, len(hist.ops))
}

// Linearizable reports whether the history of every key is. It is for outside of
// the bubble.
func (hist *History) Linearizable() bool {
	for _, ops := range hist.ops {
		if porcupine.CheckOperationsTimeout(model, ops, 20*time.Second) == porcupine.Illegal {
			return false
		}
	}
	return true
}

// explain shows the operations around the end of the longest history that is
// linearizable.
func explain(ops []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var b strings.Builder
	longest := 0
	for _, partition := range info.PartialLinearizations() {
		for _, p := range partition {
			longest = max(longest, len(p))
		}
	}
	byCall := append([]porcupine.Operation(nil), ops...)
	for i := range byCall {
		for j := i; j > 0 && byCall[j].Call < byCall[j-1].Call; j-- {
			byCall[j], byCall[j-1] = byCall[j-1], byCall[j]
		}
	}
	fmt.Fprintf(&b, "%d of %d fit\n", longest, len(ops))
	for i, o := range byCall {
		if i >= longest-8 && i < longest+8 {
			fmt.Fprintf(&b, "  %d-%d client %d: %s\n", o.Call, o.Return, o.ClientId, model.DescribeOperation(o.Input, o.Output))
		}
	}
	return b.String()
}
