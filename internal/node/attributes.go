package node

import (
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/slotmesh/slotmesh/gossip"
)

// Bounds of a member's attributes.
const (
	MaxAttributes     = 16
	MaxAttributeKey   = 32
	MaxAttributeValue = 256
)

// packAttributes makes gossip's opaque string of attributes: keys and values
// in the order of the keys, so that equal attributes are equal strings.
func packAttributes(attributes map[string]string) string {
	var b []byte
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		b = packString(packString(b, key), attributes[key])
	}
	return string(b)
}

// unpackAttributes reads what another node says: what does not fit the bounds
// is left out, with all behind it.
func unpackAttributes(packed string) map[string]string {
	attributes := map[string]string{}
	f := fields{b: []byte(packed)}
	for f.more() && len(attributes) < MaxAttributes {
		key, value := f.text(MaxAttributeKey), f.text(MaxAttributeValue)
		if f.bad || !validAttribute(key, value) {
			break
		}
		attributes[key] = value
	}
	return attributes
}

func validAttribute(key, value string) bool {
	return key != "" && len(key) <= MaxAttributeKey && len(value) <= MaxAttributeValue && utf8.ValidString(key) && utf8.ValidString(value)
}

// CheckAttribute gives ErrInvalid for an attribute out of bounds.
func CheckAttribute(key, value string) error {
	if !validAttribute(key, value) {
		return fmt.Errorf("%w: attribute %.40q of %d bytes: want UTF-8, a key of 1 to %d bytes and a value of at most %d",
			ErrInvalid, key, len(value), MaxAttributeKey, MaxAttributeValue)
	}
	return nil
}

// SetAttribute changes what this node tells of itself, or with an empty value
// leaves it out, and has the others told.
func (n *Node) SetAttribute(key, value string) error {
	if err := CheckAttribute(key, value); err != nil {
		return err
	}
	if n.closing.Load() {
		return n.closedErr()
	}
	n.attributesMu.Lock()
	defer n.attributesMu.Unlock()
	before := n.attributes.Load()
	now := map[string]string{}
	maps.Copy(now, *before)
	if now[key] = value; value == "" {
		delete(now, key)
	}
	if maps.Equal(now, *before) {
		return nil
	}
	if len(now) > MaxAttributes {
		return fmt.Errorf("%w: more than %d attributes", ErrInvalid, MaxAttributes)
	}
	n.attributes.Store(&now)
	if err := n.gossip.UpdateSelf(n.selfMember()); err != nil {
		n.attributes.Store(before)
		return fmt.Errorf("%w: attribute %s: %w", ErrInvalid, key, err)
	}
	return nil
}

// attributesOf are those of a member.
func attributesOf(m *gossip.Member) map[string]string {
	if m.Attributes == "" {
		return nil
	}
	return unpackAttributes(m.Attributes)
}
