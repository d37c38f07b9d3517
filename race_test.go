//go:build race

package slotmesh_test

// largeFleet is how many nodes the largest fleet of these tests has. The race
// detector multiplies the work of starting one, which grows with its square.
const largeFleet = 4

// alone says that clusters are tested one at a time: two that form at once take
// the detector longer than one after the other.
const alone = true
