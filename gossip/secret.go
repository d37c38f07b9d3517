package gossip

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"slices"
)

// sealKeys derives the keys that gossip is sealed with, AES-256-GCM's.
func sealKeys(secrets [][]byte) (keys [][]byte, err error) {
	for _, s := range secrets {
		k, err := hkdf.Key(sha256.New, s, nil, "slotmesh gossip", 32)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// SetSecrets changes the secrets of Config: some for some. Nodes that share
// none with this one are cut off from then on.
func (g *Gossip) SetSecrets(secrets [][]byte) error {
	if g.ring == nil || len(secrets) == 0 {
		return errors.New("gossip: secrets can be exchanged, not begun or given up")
	}
	keys, err := sealKeys(secrets)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := g.ring.AddKey(k); err != nil {
			return err
		}
	}
	if err := g.ring.UseKey(keys[0]); err != nil {
		return err
	}
	for _, old := range g.ring.GetKeys() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, old) }) {
			if err := g.ring.RemoveKey(old); err != nil {
				return err
			}
		}
	}
	return nil
}
