package main

// Hits names a trace to run against a system that holds a tenth of the keys.
type Hits struct {
	System string
	Trace  string
	Keys   int
	// Bytes: the system may take a tenth of the bytes of all keys and values,
	// whatever it needs beside them. Otherwise it may hold a tenth of them.
	Bytes bool
}

const hitValueBytes = 100

// Hits returns the share of accesses that hit, in per cent, of as many
// accesses as there are keys twice, after as many as there are keys.
func (c *Child) Hits(h Hits, ratio *float64) error {
	r := room{entries: h.Keys / 10, valueBytes: hitValueBytes, tight: true}
	cache, err := openHits(h, r)
	if err != nil {
		return err
	}
	defer cache.close()
	w := cache.worker()
	value := make([]byte, hitValueBytes)
	buf := make([]byte, 0, 2*hitValueBytes)
	next := trace(h.Trace, h.Keys)
	hits, n := 0, 3*h.Keys
	for i := range n {
		k := next()
		_, ok := w.get(k, buf)
		if !ok {
			w.set(k, value)
		}
		if ok && i >= h.Keys {
			hits++
		}
	}
	*ratio = 100 * float64(hits) / float64(n-h.Keys)
	return nil
}

func openHits(h Hits, r room) (cache, error) {
	if h.System == "slotmesh" && h.Bytes {
		return newEngine(int64(r.bytes())), nil
	}
	return open(h.System, r)
}

// trace returns an endless trace.
func trace(name string, keys int) func() string {
	i, scan := 0, keys
	all := zipf(7, keys, 1<<22)
	zipf := func() string { i++; return freshKey(int(all[i%len(all)])) }
	switch name {
	case "zipf_scan": // every tenth access is to a key that is read once
		n := 0
		return func() string {
			if n++; n%10 != 0 {
				return zipf()
			}
			scan++
			return freshKey(scan)
		}
	case "loop": // over twice as many keys as there is room for
		return func() string { i++; return freshKey(i % (keys / 5)) }
	}
	return zipf
}
