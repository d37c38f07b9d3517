package slotmesh

import (
	"github.com/slotmesh/slotmesh/internal/node"
)

// WithAttribute lets the node tell the others something about itself: they see
// it in Node.Attributes. The key has 1 to 32 bytes and the value at most 256,
// both UTF-8, and there are at most 16. Attributes travel with the membership:
// all keys and values, with two or three bytes for each, have to fit into 320
// bytes, and together with the node's name, address, zone and seat into about 480.
// Open gives ErrInvalid where they do not.
func WithAttribute(key, value string) Option {
	return func(o *options) {
		if o.cfg.Attributes == nil {
			o.cfg.Attributes = map[string]string{}
		}
		o.cfg.Attributes[key] = value
	}
}

// SetAttribute changes an attribute of this node, as WithAttribute sets them;
// an empty value removes it. The others know after one or two rounds of
// gossip, a few hundred milliseconds. Errors: ErrInvalid, ErrClosed, ErrSuperseded.
func (c Cluster) SetAttribute(key, value string) error { return c.n.SetAttribute(key, value) }

func (o *options) validateAttributes(f *faults) {
	for key, value := range o.cfg.Attributes {
		f.unless(node.CheckAttribute(key, value) == nil, "WithAttribute(%.40q, %.40q): want UTF-8, a key of 1 to %d bytes and a value of at most %d",
			key, value, node.MaxAttributeKey, node.MaxAttributeValue)
	}
	f.unless(len(o.cfg.Attributes) <= node.MaxAttributes, "WithAttribute: %d of them, want at most %d", len(o.cfg.Attributes), node.MaxAttributes)
}
