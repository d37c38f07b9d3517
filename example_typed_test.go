package slotmesh_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/slotmesh/slotmesh"
)

// A view of the users: keys begin with "user:", values are structs.
func ExampleFor() {
	type User struct {
		Name   string
		Visits int
	}
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	users := slotmesh.For[User](c, "user:")
	fmt.Println(users.Set(ctx, "42", User{Name: "Ann"}, slotmesh.TTL(time.Hour)))
	u, err := users.Update(ctx, "42", func(u User) (User, error) {
		u.Visits++
		return u, nil
	})
	fmt.Println(u, err)
	// Output:
	// <nil>
	// {Ann 1} <nil>
}

// A rolling deploy: the new release reads what the old one wrote, and the old
// one takes what the new one wrote for a miss.
func ExampleWithSchema() {
	type UserV1 struct{ Name string }
	type User struct{ First, Last string }
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	before := slotmesh.For[UserV1](c, "user:", slotmesh.WithSchema(1))
	after := slotmesh.For[User](c, "user:", slotmesh.WithSchema(2, slotmesh.UpgradeFrom(1, func(old UserV1) (User, error) {
		first, last, _ := strings.Cut(old.Name, " ")
		return User{first, last}, nil
	})))

	_ = before.Set(ctx, "42", UserV1{"Ann Lee"})
	u, err := after.Get(ctx, "42")
	fmt.Printf("%+v %v\n", u, err)

	_ = after.Set(ctx, "43", User{"Bob", "Ray"})
	_, err = before.Get(ctx, "43")
	fmt.Println(err)
	// Output:
	// {First:Ann Last:Lee} <nil>
	// slotmesh: key not found
}
