package shard

// The hashes below decide placement and are compared between nodes: other
// releases compute them too, so they never change. None of them resists an
// adversary who chooses its input; node names come from the operator.

// mix spreads every bit of x over the result: the last step of splitmix64
// (Steele, Lea, Flood, 2014). It is a bijection.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashString is FNV-1a, mixed because FNV leaves short strings alike.
func hashString(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return mix(h)
}
