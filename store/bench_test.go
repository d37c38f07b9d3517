package store_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/store"
)

const benchKeys = 1_000_000

// benchData is a million keys of 24 bytes with their slots, and Zipf accesses.
func benchData() (keys []string, slots []uint16, zipf []uint32) {
	rng := rand.New(rand.NewPCG(1, 1))
	z := rand.NewZipf(rng, 1.01, 1, benchKeys-1)
	for i := range benchKeys {
		keys = append(keys, fmt.Sprintf("key-%020d", i))
		slots = append(slots, uint16(rng.IntN(store.Slots)))
	}
	for range 1 << 20 {
		zipf = append(zipf, uint32(z.Uint64()))
	}
	return keys, slots, zipf
}

func benchFill(b *testing.B, m *store.Memory, keys []string, slots []uint16, size int) {
	value := make([]byte, size)
	recs := make([]store.Record, 1)
	for i, k := range keys {
		recs[0] = store.Record{Key: k, Value: value, Version: 1}
		if err := m.Apply(slots[i], recs); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	keys, slots, zipf := benchData()
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m := store.NewMemory(store.MemoryOptions{})
			defer m.Close()
			benchFill(b, m, keys, slots, size)
			b.SetParallelism(4)
			var seq atomic.Uint32
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				i := seq.Add(1) * 77777
				buf := make([]byte, 0, 2048)
				for pb.Next() {
					k := zipf[i&(1<<20-1)]
					i++
					if it, _ := m.Get(buf, slots[k], 0, keys[k], "", 0); it.State != store.Found {
						b.Fatal("missing")
					}
				}
			})
		})
	}
}

func BenchmarkSet(b *testing.B) {
	keys, slots, zipf := benchData()
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m := store.NewMemory(store.MemoryOptions{})
			defer m.Close()
			benchFill(b, m, keys, slots, size)
			b.SetParallelism(4)
			var seq atomic.Uint32
			var version atomic.Uint64
			version.Store(10)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				i := seq.Add(1) * 77777
				value := make([]byte, size)
				recs := make([]store.Record, 1)
				v := uint64(10)
				for pb.Next() {
					k := zipf[i&(1<<20-1)]
					i++
					v++
					recs[0] = store.Record{Key: keys[k], Value: value, Version: v}
					if err := m.Apply(slots[k], recs); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkInsert(b *testing.B) {
	keys, slots, _ := benchData()
	b.ReportAllocs()
	for b.Loop() {
		m := store.NewMemory(store.MemoryOptions{})
		benchFill(b, m, keys, slots, 100)
		m.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/insert")
}

// BenchmarkGC is a collection with two million entries and with none.
func BenchmarkGC(b *testing.B) {
	for _, n := range []int{0, 2_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := store.NewMemory(store.MemoryOptions{})
			defer m.Close()
			value := make([]byte, 100)
			for i := range n {
				if err := m.Apply(uint16(i*7)%store.Slots, []store.Record{{Key: fmt.Sprintf("key-%020d", i), Value: value, Version: 1}}); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			start := time.Now()
			runs := 0
			for b.Loop() {
				runtime.GC()
				runs++
			}
			b.ReportMetric(float64(time.Since(start).Microseconds())/float64(runs), "us/gc")
			if n > 0 {
				st := m.Stats()
				b.ReportMetric(float64(st.Bytes)/float64(n)-124, "overhead/entry")
			}
		})
	}
}
