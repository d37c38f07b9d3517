package slotmesh_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/slotmesh/slotmesh"
)

// Two keys of one tag change together or not at all.
func ExampleCache_Txn() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "{order:7}stock", []byte("x"))
	take := func() error {
		return c.Txn(ctx, "order:7", func(tx *slotmesh.Tx) error {
			stock, err := tx.Get("{order:7}stock")
			if err != nil {
				return err // ErrNotFound: nothing left
			}
			if err := tx.Delete("{order:7}stock"); err != nil {
				return err
			}
			return tx.Set("{order:7}sold", stock)
		})
	}
	fmt.Println(take())
	fmt.Println(errors.Is(take(), slotmesh.ErrNotFound))
	sold, err := c.Get(ctx, "{order:7}sold")
	fmt.Println(string(sold), err)
	// Output:
	// <nil>
	// true
	// x <nil>
}
