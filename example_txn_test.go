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

// What is to be deleted need not be read.
func ExampleTx_ExistsMany() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	_ = c.Set(ctx, "{user:42}cart", make([]byte, 1<<20))
	_ = c.Set(ctx, "{user:42}seen", make([]byte, 1<<20))
	gone := 0
	err := c.Txn(ctx, "user:42", func(tx *slotmesh.Tx) error {
		gone = 0
		for _, r := range tx.ExistsMany("{user:42}cart", "{user:42}seen", "{user:42}name") {
			if errors.Is(r.Err, slotmesh.ErrNotFound) {
				continue
			}
			if err := tx.Delete(r.Key); err != nil {
				return err
			}
			gone++
		}
		return nil
	})
	fmt.Println(gone, err)
	// Output: 2 <nil>
}
