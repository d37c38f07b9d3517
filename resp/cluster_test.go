package resp_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// Clients take a node for what CLUSTER SLOTS lists it as first.
func TestSlotsListEachNodeAsAPrimaryFirst(t *testing.T) {
	f := serve(t, 3)
	entries := regexp.MustCompile(`\[(\d+) (\d+)((?: \["127.0.0.1" \d+ "[0-9a-f]{40}" \[\]\])+)\]`)
	nodes := regexp.MustCompile(`"127.0.0.1" (\d+)`)
	for _, addr := range f.addrs {
		c := dial(t, addr)
		slotmeshtest.Await(t, "all slots are listed, with backups", func() error {
			covered, backups := map[int]int{}, 0
			primaries := map[string]bool{}
			for _, entry := range entries.FindAllStringSubmatch(c.line("cluster slots"), -1) {
				from, _ := strconv.Atoi(entry[1])
				to, _ := strconv.Atoi(entry[2])
				for slot := from; slot <= to; slot++ {
					covered[slot]++
				}
				for i, node := range nodes.FindAllStringSubmatch(entry[3], -1) {
					if i == 0 {
						primaries[node[1]] = true
					} else if backups++; !primaries[node[1]] {
						t.Fatalf("%s is listed as a backup before it is as a primary", node[1])
					}
				}
			}
			if len(covered) != 16384 || len(primaries) != 3 || backups < 1000 {
				return fmt.Errorf("%d slots, %d primaries, %d backups", len(covered), len(primaries), backups)
			}
			for slot, n := range covered {
				if n != 1 {
					t.Fatalf("slot %d is listed %d times", slot, n)
				}
			}
			return nil
		})
	}
}
