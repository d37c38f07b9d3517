package pebblestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/slotmesh/slotmesh/store"
	"github.com/slotmesh/slotmesh/store/pebblestore"
)

// image is a slot's content for comparison.
type image struct {
	records []store.Record
	digest  store.Digest
	stats   [2]int
	highest uint64
}

func imageOf(t testing.TB, s store.Engine, slot uint16) image {
	t.Helper()
	var im image
	_, done, err := s.Range(slot, store.Cursor{}, func(r store.Record) bool {
		r.Value = append([]byte{}, r.Value...)
		im.records = append(im.records, r)
		return true
	})
	if err != nil || !done {
		t.Fatalf("Range = done %v, %v", done, err)
	}
	if im.digest, err = s.Digest(slot, 0, ^uint64(0)); err != nil {
		t.Fatal(err)
	}
	var sum store.Digest
	for _, r := range im.records {
		sum.Sum += store.RecordHash(store.Hash(r.Kind, r.Key, r.Field), r.Version, r.Expiry, r.Sum())
		sum.Records++
	}
	if sum != im.digest {
		t.Errorf("slot %d: digest %+v of records that add up to %+v", slot, im.digest, sum)
	}
	st := s.SlotStats(slot)
	im.stats = [2]int{st.Records, st.Tombstones}
	im.highest = s.MaxVersion(slot)
	return im
}

func wantImage(t testing.TB, what string, got, want image) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %d records, %+v, %v, highest %d; want %d records, %+v, %v, highest %d", what,
			len(got.records), got.digest, got.stats, got.highest, len(want.records), want.digest, want.stats, want.highest)
	}
}

func randomRecord(rng *rand.Rand, keys int, version uint64) store.Record {
	r := store.Record{Kind: uint8(rng.IntN(2)), Key: fmt.Sprintf("key\x00%d", rng.IntN(keys)), Version: version, Tombstone: rng.IntN(5) == 0}
	if rng.IntN(3) == 0 {
		r.Field = fmt.Sprintf("\x00f%d", rng.IntN(3))
	}
	if !r.Tombstone {
		r.Value = bytes.Repeat([]byte{byte(version)}, rng.IntN(300))
		r.Schema = uint32(rng.IntN(2))
		if rng.IntN(2) == 0 {
			r.Expiry = 1 + rng.Int64N(1<<41)
		}
		if rng.IntN(2) == 0 {
			r.Origin = version / 2
		}
	}
	return r
}

// scramble does all there is to do to a slot; it returns the next version.
func scramble(t testing.TB, s store.Engine, rng *rand.Rand, slot uint16, version uint64) uint64 {
	t.Helper()
	some := func() (recs []store.Record) {
		for range 1 + rng.IntN(4) {
			version++
			recs = append(recs, randomRecord(rng, 60, version))
		}
		return recs
	}
	for range 200 {
		switch rng.IntN(20) {
		case 0:
			fail(t, s.Purge(slot, version-uint64(rng.IntN(50))))
		case 1:
			gen, err := s.Begin(slot)
			fail(t, err)
			fail(t, s.ApplyTo(slot, gen, some()))
			d, err := s.Digest(slot, 0, 1<<63)
			fail(t, err)
			if ok, err := s.Confirm(slot, gen, 0, 1<<63, d); err != nil || !ok {
				t.Fatalf("Confirm = %v, %v", ok, err)
			}
			fail(t, s.ApplyTo(slot, gen, some()))
			switch rng.IntN(4) {
			case 0:
				fail(t, s.Abort(slot, gen))
			case 1: // stays open
			default:
				fail(t, s.Commit(slot, gen))
			}
		case 2:
			if rng.IntN(5) == 0 {
				fail(t, s.Drop(slot))
			}
		case 3, 4, 5:
			version++
			r := randomRecord(rng, 60, version)
			fail(t, s.Update(slot, r.Kind, r.Key, r.Field, 0, func(store.Item) (store.Record, bool) { return r, true }))
		default:
			fail(t, s.Apply(slot, some()))
		}
	}
	return version
}

func TestReopenFindsEverything(t *testing.T) {
	for _, fsync := range []pebblestore.Fsync{pebblestore.Always, pebblestore.EverySec, pebblestore.Never} {
		for _, forget := range []bool{false, true} {
			opts := pebblestore.Options{FS: vfs.NewMem(), Fsync: fsync}
			rng := rand.New(rand.NewPCG(1, uint64(fsync)))
			version := uint64(1)
			want := map[uint16]image{}
			for round := range 5 {
				s := open(t, opts)
				var e store.Engine = s
				if forget {
					e = newForgetful(s)
				}
				for slot := range uint16(4) {
					if round > 0 {
						wantImage(t, fmt.Sprintf("fsync %d round %d slot %d", fsync, round, slot), imageOf(t, s, slot), want[slot])
					}
					version = scramble(t, e, rng, slot, version)
					im := imageOf(t, s, slot)
					want[slot] = im
				}
				for slot := range uint16(4) { // an open generation's versions go with the process
					gen, err := s.Begin(slot)
					fail(t, err)
					fail(t, s.Abort(slot, gen))
					im := want[slot]
					im.highest = s.MaxVersion(slot)
					want[slot] = im
				}
				fail(t, s.SetMeta(map[string][]byte{"round": {byte(round)}}))
				fail(t, s.Close())
			}
			s := open(t, opts)
			fail(t, s.Meta("", func(name string, v []byte) bool {
				if name != "round" || v[0] != 4 {
					t.Errorf("meta %q = %v", name, v)
				}
				return true
			}))
			fail(t, s.Close())
		}
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	mem := vfs.NewMem()
	for _, opts := range []pebblestore.Options{{Dir: "d", FS: mem}, {Dir: t.TempDir()}} {
		s := open(t, opts)
		if _, err := pebblestore.Open(opts); !errors.Is(err, pebblestore.ErrLocked) {
			t.Errorf("second Open = %v, want ErrLocked", err)
		}
		fail(t, s.Apply(1, []store.Record{{Key: "a", Version: 1}}))
		fail(t, s.Close())
		s = open(t, opts)
		if s.MaxVersion(1) != 1 {
			t.Error("the record is gone")
		}
		fail(t, s.Close())
	}
}

func TestCheckpointOpens(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, pebblestore.Options{FS: fs})
	scramble(t, s, rand.New(rand.NewPCG(1, 2)), 3, 1)
	want := imageOf(t, s, 3)
	fail(t, s.Checkpoint("copy"))
	fail(t, s.Drop(3))
	c := open(t, pebblestore.Options{Dir: "copy", FS: fs})
	got := imageOf(t, c, 3)
	got.highest = want.highest // an open generation's are not in the copy
	wantImage(t, "checkpoint", got, want)
	if err := s.Checkpoint("copy"); err == nil {
		t.Error("Checkpoint over another one succeeds")
	}
}

func TestOpenNamesWhatIsDamaged(t *testing.T) {
	for _, suffix := range []string{".sst", "MANIFEST", ".log"} {
		t.Run(suffix, func(t *testing.T) {
			dir := t.TempDir() + "/d"
			fs := vfs.NewMem()
			opts := pebblestore.Options{Dir: dir, FS: fs}
			fail(t, fs.MkdirAll(dir, 0o755))
			s := open(t, opts)
			for i := range uint64(2000) {
				fail(t, s.Apply(1, []store.Record{{Key: fmt.Sprint(i), Value: bytes.Repeat([]byte{byte(i)}, 100), Version: i + 1}}))
				if i%500 == 0 {
					fail(t, s.Sync(1))
				}
			}
			if suffix == ".sst" {
				fail(t, s.Close())
				db, err := pebble.Open(dir, &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatWALSyncChunks, Logger: quiet{}})
				fail(t, err)
				fail(t, db.Flush())
				fail(t, db.Close())
			} else {
				fail(t, s.Sync(1))
				fail(t, s.Close())
			}
			names, err := fs.List(dir)
			fail(t, err)
			hit := ""
			for _, name := range names {
				if bytes.Contains([]byte(name), []byte(suffix)) {
					data, err := fs.UnsafeGetFileDataBuffer(fs.PathJoin(dir, name))
					fail(t, err)
					if len(data) < 2000 && suffix != "MANIFEST" {
						continue
					}
					hit = name
					for i := range min(len(data), 64) {
						data[len(data)/4+i%max(1, len(data)/2)] ^= 0x5A
					}
				}
			}
			if hit == "" {
				t.Fatalf("no file to damage among %q", names)
			}
			s, err = pebblestore.Open(opts)
			if err == nil { // tables are read behind Open, or when they are asked for
				_, err = s.Digest(1, 0, 1)
				if cause := s.Close(); !errors.Is(cause, store.ErrParked) || !errors.Is(cause, pebblestore.ErrCorrupt) {
					t.Errorf("Close = %v, want ErrParked by ErrCorrupt", cause)
				}
			}
			if !errors.Is(err, pebblestore.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(dir)) || suffix == ".sst" && !bytes.Contains([]byte(err.Error()), []byte(hit[:6])) {
				t.Fatalf("Open, or the first use, gives %v, want ErrCorrupt that names %s", err, hit)
			}
			t.Log(hit, err)
			opts.Recover = true
			s = open(t, opts)
			if got := s.Stats().Records; got != 0 {
				t.Errorf("%d records after Recover", got)
			}
			if _, err := fs.Stat(dir + ".damaged-1"); err != nil {
				t.Errorf("the damaged directory is gone: %v", err)
			}
			fail(t, s.Close())
		})
	}
}

// What a later release has written is not taken for damage and put aside.
func TestLaterFormatIsNoDamage(t *testing.T) {
	quietly := &pebble.Options{FormatMajorVersion: pebble.FormatWALSyncChunks, Logger: quiet{}}
	for name, change := range map[string]func(opts pebblestore.Options){
		"slotmesh": func(opts pebblestore.Options) {
			quietly.FS = opts.FS
			db, err := pebble.Open(opts.Dir, quietly)
			fail(t, err)
			fail(t, db.Set([]byte("v"), []byte{99}, pebble.Sync))
			fail(t, db.Close())
		},
		"pebble": func(opts pebblestore.Options) {
			m, _, err := atomicfs.LocateMarker(opts.FS, opts.Dir, "format-version")
			fail(t, err)
			fail(t, m.Move("999"))
			fail(t, m.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := pebblestore.Options{Dir: "data", FS: vfs.NewMem(), Recover: true}
			fail(t, open(t, opts).Close())
			change(opts)
			if _, err := pebblestore.Open(opts); !errors.Is(err, pebblestore.ErrFormat) || errors.Is(err, pebblestore.ErrCorrupt) {
				t.Errorf("Open = %v, want ErrFormat", err)
			}
			if _, err := opts.FS.Stat("data.damaged-1"); err == nil {
				t.Error("the directory was moved aside")
			}
		})
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) { panic("fatal") }
