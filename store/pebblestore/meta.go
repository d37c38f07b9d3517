package pebblestore

import "fmt"

// SetMeta implements store.Engine.
func (s *Store) SetMeta(values map[string][]byte) error {
	var saved error // set before the unit is done
	u, err := s.queue.add(func(u *unit) {
		for name, v := range values {
			if v == nil {
				u.delete(metaKey(name))
			} else {
				u.set(metaKey(name), v)
			}
		}
		u.metas = append(u.metas, func() { saved = s.mem.SetMeta(values) })
	})
	if err != nil {
		return err
	}
	if err := s.queue.await(u); err != nil {
		return fmt.Errorf("save meta values: %w", err)
	}
	return saved
}

// Meta implements store.Engine.
func (s *Store) Meta(prefix string, fn func(name string, value []byte) bool) error {
	return s.mem.Meta(prefix, fn)
}
