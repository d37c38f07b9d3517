package main

import (
	"math/rand/v2"
	"unsafe"
)

const keyBytes = 24

// keyring is keys in one block, which the garbage collector does not look into.
type keyring string

func newKeyring(n int) keyring {
	b := make([]byte, 0, n*keyBytes)
	for i := range n {
		b = appendKey(b, i)
	}
	return keyring(unsafe.String(unsafe.SliceData(b), len(b)))
}

func appendKey(b []byte, i int) []byte {
	b = append(b, "key-00000000000000000000"...)
	for at := len(b) - 1; i > 0; at-- {
		b[at] = byte('0' + i%10)
		i /= 10
	}
	return b
}

func (k keyring) at(i uint32) string { return string(k[int(i)*keyBytes : int(i)*keyBytes+keyBytes]) }

// freshKey returns key i, for where keeping all of them would count.
func freshKey(i int) string { return string(appendKey(make([]byte, 0, keyBytes), i)) }

// zipf returns n accesses to keys, a power of two of them.
func zipf(seed uint64, keys, n int) []uint32 {
	z := rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), 1.01, 1, uint64(keys-1))
	shuffle := rand.New(rand.NewPCG(seed, 2)).Perm(keys) // or neighbours were hot
	list := make([]uint32, n)
	for i := range list {
		list[i] = uint32(shuffle[z.Uint64()])
	}
	return list
}
