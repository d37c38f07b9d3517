package pebblestore

// UnloadAll writes out what is dirty and unloads every value that can be.
func (s *Store) UnloadAll() (n int) {
	if s.queue.drain() != nil {
		return 0
	}
	victims := s.mem.Victims(nil, 1<<20, nil)
	for i := range victims {
		if s.unload(nil, &victims[i]) == wasUnloaded {
			n++
		}
	}
	return n
}
