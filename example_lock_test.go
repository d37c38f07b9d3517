package slotmesh_test

import (
	"context"
	"fmt"
	"time"
)

// One replica at a time does the work; the token tells a stale one apart.
func ExampleCache_Lock() {
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	lock, err := c.Lock(ctx, "nightly-report", 10*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer lock.Unlock(ctx)

	for step := range 2 {
		select {
		case <-lock.Lost():
			return // somebody else may be at it
		default:
			fmt.Println("step", step, lock.Token() > 0)
		}
	}
	// Output:
	// step 0 true
	// step 1 true
}
