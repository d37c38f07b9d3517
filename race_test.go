//go:build race

package slotmesh_test

// largeFleet is how many nodes the largest fleet of these tests has. The race
// detector multiplies the work of starting one, which grows with its square.
const largeFleet = 4
