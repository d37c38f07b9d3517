package slotmesh_test

import (
	"context"
	"errors"
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
	after := slotmesh.For[User](c, "user:", slotmesh.WithSchema(2, slotmesh.Upgrade(1, func(old UserV1) (User, error) {
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

// A counter in a struct that many processes change: the function runs again
// where another one was faster.
func ExampleTyped_Update() {
	type Stock struct{ Left int }
	ctx := context.Background()
	c := exampleCache()
	defer c.Close()

	stock := slotmesh.For[Stock](c, "stock:", slotmesh.WithCodec(slotmesh.JSON()))
	_ = stock.Set(ctx, "lamp", Stock{Left: 1})
	sold := errors.New("sold out")
	for range 2 {
		s, err := stock.Update(ctx, "lamp", func(s Stock) (Stock, error) {
			if s.Left == 0 {
				return s, sold
			}
			s.Left--
			return s, nil
		})
		fmt.Println(s.Left, err)
	}
	// Output:
	// 0 <nil>
	// 0 sold out
}
