package gossip

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
)

// NodeID names one start of one node. In hex it is the node's memberlist name,
// so a node that comes back at another address, or another node at its
// address, is a new member and never a conflict.
type NodeID = [16]byte

// Member is what a node tells the others about itself. Encoded it fits
// memberlist's 512 bytes of metadata: see the bounds.
type Member struct {
	ID   NodeID
	Name string // 1 to MaxName bytes
	Addr string // advertised host:port, up to MaxAddr bytes
	Zone string // up to MaxZone bytes
	Seat string // up to MaxSeat bytes

	Weight   int // in [0, MaxWeight]
	MinProto uint8
	MaxProto uint8
	Leaving  bool // is handing over what it has, and will say goodbye
	Visitor  bool // comes and goes, and counts for nothing

	// Attributes is the user's own, up to MaxAttributes bytes and to what the
	// other fields leave of the metadata. What is in it is not gossip's affair.
	Attributes string
}

// Bounds of a member's fields. All but the attributes fit into 512 bytes with
// the framing, whatever they hold; attributes have the rest.
const (
	MaxName   = 96
	MaxAddr   = 192
	MaxZone   = 64
	MaxSeat   = 96
	MaxWeight = 1 << 20

	MaxAttributes = 320
)

// maxMeta is memberlist's bound on a member's metadata.
const maxMeta = 512

// metaFields counts the fields of the first release. Later releases append
// fields, which this one skips, and never change these. The ninth, attributes,
// is written only where there are any.
const metaFields = 8

const (
	flagLeaving = 1 << 0
	flagGoodbye = 1 << 1 // the last metadata of a node that leaves
	flagVisitor = 1 << 2
)

// compatible reports whether two members have a protocol version in common.
func (m *Member) compatible(o *Member) bool {
	return max(m.MinProto, o.MinProto) <= min(m.MaxProto, o.MaxProto)
}

// validate lists every fault of m.
func (m *Member) validate() error {
	var errs []error
	if m.ID == (NodeID{}) {
		errs = append(errs, errors.New("member ID is zero"))
	}
	if m.Name == "" {
		errs = append(errs, errors.New("member name is empty"))
	}
	for _, f := range []struct {
		what, s string
		max     int
	}{{"name", m.Name, MaxName}, {"address", m.Addr, MaxAddr}, {"zone", m.Zone, MaxZone}, {"seat", m.Seat, MaxSeat}, {"attributes", m.Attributes, MaxAttributes}} {
		if len(f.s) > f.max {
			errs = append(errs, fmt.Errorf("member %s has %d bytes, more than %d", f.what, len(f.s), f.max))
		} else if f.what != "attributes" && !utf8.ValidString(f.s) {
			errs = append(errs, fmt.Errorf("member %s is not UTF-8", f.what))
		}
	}
	if host, port, err := net.SplitHostPort(m.Addr); err != nil {
		errs = append(errs, fmt.Errorf("member address: %w", err))
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		errs = append(errs, fmt.Errorf("member address %q needs a host and a port", m.Addr))
	}
	if m.Weight < 0 || m.Weight > MaxWeight {
		errs = append(errs, fmt.Errorf("member weight %d is not in [0, %d]", m.Weight, MaxWeight))
	}
	if m.MinProto > m.MaxProto {
		errs = append(errs, fmt.Errorf("member protocol range [%d, %d] is empty", m.MinProto, m.MaxProto))
	}
	if size := len(encodeMeta(m, false)); len(errs) == 0 && size > maxMeta {
		errs = append(errs, fmt.Errorf("member has %d bytes of metadata, %d more than there is room for: attributes are too long", size, size-maxMeta))
	}
	return errors.Join(errs...)
}

// encodeMeta writes m as a msgpack array. The ID is not in it: it is the
// memberlist name.
func encodeMeta(m *Member, goodbye bool) []byte {
	var flags uint64
	if m.Leaving {
		flags |= flagLeaving
	}
	if goodbye {
		flags |= flagGoodbye
	}
	if m.Visitor {
		flags |= flagVisitor
	}
	var b bytes.Buffer
	e := msgpack.NewEncoder(&b)
	count := metaFields
	if m.Attributes != "" {
		count++
	}
	err := e.EncodeArrayLen(count)
	for _, s := range []string{m.Name, m.Addr, m.Zone, m.Seat} {
		err = errors.Join(err, e.EncodeString(s))
	}
	for _, n := range []uint64{uint64(m.Weight), uint64(m.MinProto), uint64(m.MaxProto), flags} {
		err = errors.Join(err, e.EncodeUint(n))
	}
	if m.Attributes != "" {
		err = errors.Join(err, e.EncodeString(m.Attributes))
	}
	if err != nil {
		panic(err) // a Buffer returns no error
	}
	return b.Bytes()
}

// decodeMeta reads what encodeMeta wrote. The bytes are a stranger's: every
// length is checked before anything is allocated for it.
func decodeMeta(name string, meta []byte) (m Member, goodbye bool, err error) {
	if m.ID, err = parseID(name); err != nil {
		return m, false, err
	}
	if len(meta) > maxMeta {
		return m, false, fmt.Errorf("metadata has %d bytes, more than %d", len(meta), maxMeta)
	}
	r := bytes.NewReader(meta)
	d := metaDecoder{d: msgpack.NewDecoder(r), r: r}
	count := d.fields()
	m.Name = d.str(MaxName)
	m.Addr = d.str(MaxAddr)
	m.Zone = d.str(MaxZone)
	m.Seat = d.str(MaxSeat)
	m.Weight = int(d.uint(MaxWeight))
	m.MinProto = uint8(d.uint(255))
	m.MaxProto = uint8(d.uint(255))
	flags := d.uint(1<<32 - 1)
	if count > metaFields {
		m.Attributes = d.str(MaxAttributes)
	}
	if d.err != nil {
		return Member{ID: m.ID}, false, fmt.Errorf("metadata: %w", d.err)
	}
	m.Leaving = flags&flagLeaving != 0
	m.Visitor = flags&flagVisitor != 0
	return m, flags&flagGoodbye != 0, m.validate()
}

// metaDecoder reads bounded fields and keeps the first error.
type metaDecoder struct {
	d   *msgpack.Decoder
	r   *bytes.Reader
	err error
}

func (d *metaDecoder) fields() int {
	n, err := d.d.DecodeArrayLen()
	if err == nil && n < metaFields {
		err = fmt.Errorf("%d fields, want %d", n, metaFields)
	}
	d.err = err
	return n
}

func (d *metaDecoder) str(limit int) string {
	if d.err != nil {
		return ""
	}
	n, err := d.d.DecodeBytesLen()
	if err == nil && (n < 0 || n > limit || n > d.r.Len()) {
		err = fmt.Errorf("a string of %d bytes", n)
	}
	if err != nil {
		d.err = err
		return ""
	}
	b := make([]byte, n)
	_, d.err = io.ReadFull(d.d.Buffered(), b)
	return string(b)
}

func (d *metaDecoder) uint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	n, err := d.d.DecodeUint64()
	if err == nil && n > limit {
		err = fmt.Errorf("number %d is above %d", n, limit)
	}
	d.err = err
	return n
}

func formatID(id NodeID) string { return hex.EncodeToString(id[:]) }

// parseID accepts only what formatID makes, so that an ID has one name.
func parseID(name string) (id NodeID, err error) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("member name %.40q is no node ID", name)
	}
	id = NodeID(b)
	if formatID(id) != name || id == (NodeID{}) {
		return NodeID{}, fmt.Errorf("member name %.40q is no node ID", name)
	}
	return id, nil
}
