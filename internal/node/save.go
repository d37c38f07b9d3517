package node

import (
	"encoding/binary"
)

// Names of what a node saves with its data. Values are part of the disk format.
const (
	metaCounter = "node/counter" // counter of the last node ID of this disk
)

// savedCounter is the counter of the ID this disk was last used under.
func (n *Node) savedCounter() (c uint64) {
	_ = n.engine.Meta(metaCounter, func(_ string, v []byte) bool {
		if len(v) == 8 {
			c = binary.BigEndian.Uint64(v)
		}
		return false
	})
	return c
}

func (n *Node) saveIdentity() {
	if !n.engine.Durable() {
		return
	}
	if err := n.engine.SetMeta(map[string][]byte{metaCounter: binary.BigEndian.AppendUint64(nil, n.id.Counter())}); err != nil {
		n.log.Error("cannot save the node's identity", "err", err)
	}
}

// durable encodes what the core must have on disk before it speaks.
func (n *Node) durable(slots []uint16) map[string][]byte {
	if len(slots) == 0 || !n.engine.Durable() {
		return nil
	}
	saved := make(map[string][]byte, len(slots))
	for _, no := range slots {
		saved[slotMeta(no)] = n.core.Save(no)
	}
	return saved
}

func slotMeta(no uint16) string {
	return string(binary.BigEndian.AppendUint16([]byte("slot/"), no))
}
