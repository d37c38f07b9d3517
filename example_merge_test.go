package slotmesh_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slotmesh/slotmesh"
)

// Sets of words survive a cut: what either side added is there afterwards.
func ExampleWithMerge() {
	union := func(_ string, newer, older slotmesh.Item) slotmesh.Item {
		words := append(strings.Fields(string(newer.Value)), strings.Fields(string(older.Value))...)
		slices.Sort(words)
		newer.Value = []byte(strings.Join(slices.Compact(words), " "))
		return newer
	}
	c, err := slotmesh.Open(context.Background(), slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithMerge(union))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	// When a cut heals, each key that both sides wrote goes through it:
	merged := union("tags", slotmesh.Item{Value: []byte("blue green")}, slotmesh.Item{Value: []byte("green red")})
	fmt.Printf("%s\n", merged.Value)
	// Output: blue green red
}
