package shard_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/slotmesh/slotmesh/shard"
	"pgregory.net/rapid"
)

// claims draws claims of few slots and low numbers, so that they meet. Two of
// the same slot, epoch, primary and rev are equal, as the protocol has it.
func claims() *rapid.Generator[[]*shard.Claim] {
	claim := rapid.Custom(func(t *rapid.T) *shard.Claim {
		return &shard.Claim{
			Slot:    rapid.SampledFrom([]uint16{0, 1, 127, 128, 16383}).Draw(t, "slot"),
			Epoch:   rapid.Uint64Range(0, 2).Draw(t, "epoch"),
			Rev:     rapid.Uint32Range(0, 2).Draw(t, "rev"),
			Primary: shard.NewNodeID(rapid.Uint64Range(1, 3).Draw(t, "primary"), 0),
		}
	})
	return rapid.SliceOfN(claim, 0, 12)
}

func contents(t *shard.Table) string {
	var b strings.Builder
	for c := range t.All() {
		fmt.Fprintf(&b, "%d %v\n", c.Slot, c)
	}
	return b.String()
}

func sameTable(t interface {
	Helper()
	Fatalf(string, ...any)
}, law string, a, b *shard.Table) {
	t.Helper()
	if contents(a) != contents(b) {
		t.Fatalf("merge is not %s:\n%s\nand\n%s", law, contents(a), contents(b))
	}
	if !slices.Equal(a.Digests(), b.Digests()) {
		t.Fatalf("merge is not %s: equal tables, different digests", law)
	}
}

func merge(t *shard.Table, claims ...*shard.Claim) *shard.Table {
	t, _ = t.Merge(claims...)
	return t
}

func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := func(t *shard.Table) []*shard.Claim { return slices.Collect(t.All()) }
		a := merge(shard.Empty, claims().Draw(t, "a")...)
		b := merge(shard.Empty, claims().Draw(t, "b")...)
		c := merge(shard.Empty, claims().Draw(t, "c")...)
		ab, bc := merge(a, all(b)...), merge(b, all(c)...)
		sameTable(t, "commutative", ab, merge(b, all(a)...))
		sameTable(t, "associative", merge(ab, all(c)...), merge(a, all(bc)...))
		sameTable(t, "idempotent", ab, merge(ab, all(b)...))
	})
}

func TestMergeTakesTheNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, news := claims().Draw(t, "old"), claims().Draw(t, "news")
		want := make(map[uint16]*shard.Claim)
		for _, c := range slices.Concat(old, news) {
			if shard.Compare(c, want[c.Slot]) > 0 {
				want[c.Slot] = c
			}
		}
		before := merge(shard.Empty, old...)
		beforeContents, beforeDigests := contents(before), before.Digests()
		after, taken := before.Merge(news...)

		for c := range after.All() {
			if c != want[c.Slot] {
				t.Fatalf("slot %d has %v, want %v", c.Slot, c, want[c.Slot])
			}
			if after.Claim(c.Slot) != c {
				t.Fatalf("Claim(%d) = %v, All yields %v", c.Slot, after.Claim(c.Slot), c)
			}
		}
		if got := len(slices.Collect(after.All())); got != len(want) {
			t.Fatalf("table has %d claims, want %d", got, len(want))
		}
		changed := make(map[uint16]*shard.Claim)
		for slot, c := range want {
			if before.Claim(slot) != c {
				changed[slot] = c
			}
		}
		got := make(map[uint16]*shard.Claim)
		for _, c := range taken {
			got[c.Slot] = c
		}
		if len(taken) != len(got) || !maps.Equal(got, changed) {
			t.Fatalf("Merge took %v, want %v", taken, changed)
		}
		if len(taken) == 0 && after != before {
			t.Fatal("Merge of nothing new made a table")
		}
		if contents(before) != beforeContents || !slices.Equal(before.Digests(), beforeDigests) {
			t.Fatal("Merge changed the table it was called on")
		}
	})
}

func TestDigestsShowTheBlockThatDiffers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := merge(shard.Empty, claims().Draw(t, "a")...)
		b := merge(shard.Empty, claims().Draw(t, "b")...)
		for i, digest := range a.Digests() {
			same := slices.Equal(describe(a.Block(i)), describe(b.Block(i)))
			if (digest == b.Digests()[i]) != same {
				t.Fatalf("block %d: equal digests %t, equal claims %t", i, !same, same)
			}
		}
	})
}

func describe(claims []*shard.Claim) (list []string) {
	for _, c := range claims {
		list = append(list, fmt.Sprint(c.Slot, c))
	}
	return list
}

// Digests are compared between releases: these numbers never change.
func TestDigestValue(t *testing.T) {
	table := merge(shard.Empty,
		&shard.Claim{Slot: 128, Epoch: 3, Rev: 2, Primary: shard.NewNodeID(5, 6)},
		&shard.Claim{Slot: 129, Epoch: 1, Primary: shard.NewNodeID(7, 8)})
	digests := table.Digests()
	if len(digests) != shard.Blocks || digests[0] != 0 {
		t.Errorf("%d digests, the first %#x", len(digests), digests[0])
	}
	if got, want := digests[1], uint64(0xf0008743f06d141c); got != want {
		t.Errorf("digest of block 1 = %#x, want %#x", got, want)
	}
}

func TestClaimDoesNotAllocate(t *testing.T) {
	table := merge(shard.Empty, &shard.Claim{Slot: 7, Primary: shard.NewNodeID(1, 0)})
	if n := testing.AllocsPerRun(100, func() { table.Claim(7); table.Claim(16383) }); n != 0 {
		t.Errorf("Claim allocates %v times, want 0", n)
	}
}

// The scripts name tables; a table not yet named is empty.
//
//	merge into=a           one claim a line: slot (epoch,rev,primary,{backups},{witnesses})
//	merge into=a from=b    all of table b
//	differ a=x b=y         which blocks have different digests
func TestMergeScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/merge", func(t *testing.T, path string) {
		tables := make(map[string]*shard.Table)
		named := func(name string) *shard.Table {
			if tables[name] == nil {
				return shard.Empty
			}
			return tables[name]
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "merge":
				var into, from string
				d.ScanArgs(t, "into", &into)
				d.MaybeScanArgs(t, "from", &from)
				news := slices.Collect(named(from).All())
				for line := range strings.Lines(d.Input) {
					news = append(news, parseClaim(t, line))
				}
				next, taken := named(into).Merge(news...)
				tables[into] = next
				fmt.Fprintf(&out, "taken:%s\n%s", strings.Join(append([]string{""}, describe(taken)...), " "), contents(next))
			case "differ":
				var a, b string
				d.ScanArgs(t, "a", &a)
				d.ScanArgs(t, "b", &b)
				ours, theirs := named(a).Digests(), named(b).Digests()
				for i := range ours {
					if ours[i] != theirs[i] {
						fmt.Fprintf(&out, "block %d\n", i)
					}
				}
			default:
				d.Fatalf(t, "unknown command")
			}
			return out.String()
		})
	})
}

func parseClaim(t *testing.T, line string) *shard.Claim {
	c := new(shard.Claim)
	slot, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	parts := strings.SplitN(strings.Trim(rest, "()"), ",", 4)
	if len(parts) != 4 {
		t.Fatalf("%q is no claim", line)
	}
	_, err := fmt.Sscan(strings.Join(append(parts[:2:2], slot), " "), &c.Epoch, &c.Rev, &c.Slot)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	id := func(s string) shard.NodeID {
		id, err := shard.ParseNodeID(s)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return id
	}
	c.Primary = id(parts[2])
	backups, witnesses, _ := strings.Cut(parts[3], "},{")
	for _, s := range strings.FieldsFunc(strings.Trim(backups, "{}"), func(r rune) bool { return r == ',' }) {
		c.Backups = append(c.Backups, id(s))
	}
	for _, s := range strings.FieldsFunc(strings.Trim(witnesses, "{}"), func(r rune) bool { return r == ',' }) {
		c.Witnesses = append(c.Witnesses, id(s))
	}
	return c
}

func BenchmarkMerge(b *testing.B) {
	var full []*shard.Claim
	for slot := range shard.Slots {
		full = append(full, &shard.Claim{Slot: uint16(slot), Epoch: 1, Primary: shard.NewNodeID(1, 2)})
	}
	table := merge(shard.Empty, full...)
	newer := &shard.Claim{Slot: 77, Epoch: 2, Primary: shard.NewNodeID(1, 2)}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.Merge(newer)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			shard.Empty.Merge(full...)
		}
	})
	b.Run("nothing new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.Merge(full...)
		}
	})
}
