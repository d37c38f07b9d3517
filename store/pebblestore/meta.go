package pebblestore

import "fmt"

// SetMeta implements store.Engine.
func (s *Store) SetMeta(values map[string][]byte) error {
	s.metaMu.Lock() // or two calls could reach disk and memory in different order
	defer s.metaMu.Unlock()
	u, err := s.queue.add(func(u *unit) {
		for name, v := range values {
			if v == nil {
				u.delete(metaKey(name))
			} else {
				u.set(metaKey(name), v)
			}
		}
	})
	if err != nil {
		return err
	}
	s.queue.wake()
	if err := s.queue.await(u); err != nil {
		return fmt.Errorf("save meta values: %w", err)
	}
	return s.mem.SetMeta(values)
}

// Meta implements store.Engine.
func (s *Store) Meta(prefix string, fn func(name string, value []byte) bool) error {
	return s.mem.Meta(prefix, fn)
}
