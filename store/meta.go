package store

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// metadata keeps the node's own small values.
type metadata struct {
	metaMu sync.Mutex // guards meta
	meta   map[string][]byte
}

// SetMeta implements Engine.
func (m *Memory) SetMeta(values map[string][]byte) error {
	m.metaMu.Lock()
	defer m.metaMu.Unlock()
	if m.closed.Load() {
		return ErrClosed
	}
	if m.meta == nil {
		m.meta = map[string][]byte{}
	}
	for name, v := range values {
		if v == nil {
			delete(m.meta, name)
		} else {
			m.meta[name] = append([]byte{}, v...)
		}
	}
	return nil
}

// Meta implements Engine. Names come in order.
func (m *Memory) Meta(prefix string, fn func(name string, value []byte) bool) error {
	if m.closed.Load() {
		return ErrClosed
	}
	var names []string
	var values [][]byte
	m.metaMu.Lock()
	for name := range m.meta {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		values = append(values, bytes.Clone(m.meta[name]))
	}
	m.metaMu.Unlock()
	for i, name := range names {
		if !fn(name, values[i]) {
			break
		}
	}
	return nil
}

// Durable implements Engine.
func (m *Memory) Durable() bool { return false }

// OnParked implements Engine; fn is never called.
func (m *Memory) OnParked(func(cause error)) {}

// OnDurable implements Engine; fn is never called.
func (m *Memory) OnDurable(func(slot uint16, version uint64)) {}

// Sync implements Engine.
func (m *Memory) Sync(uint16) error {
	if m.closed.Load() {
		return ErrClosed
	}
	return nil
}
