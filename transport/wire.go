package transport

// A gRPC message on a stream is a batch: messages one after another, each
//
//	length uint32, big endian, of what follows
//	kind   byte
//	fields msgpack array
//
// A field's place in the array is its name, for ever; a new field goes to the
// end. Fields after the last that differs from its zero value are not sent.
// So a reader takes what is missing for zero, skips what it does not know by
// the length, and two adjacent releases understand each other. An unknown kind
// is skipped whole.
type kind byte

const (
	kindVoid      kind = 0 // withdrawn before it left: skipped
	kindRequest   kind = 1
	kindResponse  kind = 2
	kindAppend    kind = 3
	kindAck       kind = 4
	kindClaims    kind = 5
	kindControl   kind = 6
	kindChunk     kind = 7
	kindWantBulk  kind = 8  // asks the dialing side for the bulk connection
	kindPiece     kind = 9  // on the bulk stream: a part of a message that is too large for the data stream
	kindWhole     kind = 10 // a message that came in pieces is whole
	kindHandshake kind = 32 // first message of a stream, from the dialer
	kindWelcome   kind = 33 // first message of a stream, from the acceptor
	kindHello     kind = 34
	kindHelloed   kind = 35
)

// Method names of the gRPC service.
const (
	serviceName   = "slotmesh.v1.Mesh"
	methodData    = "/" + serviceName + "/Data"
	methodControl = "/" + serviceName + "/Control"
	methodBulk    = "/" + serviceName + "/Bulk"
	methodHello   = "/" + serviceName + "/Hello"
)

// Limits on what is sent and accepted.
const (
	MaxKey     = 64 << 10 // also of Field
	MaxRecords = 64 << 10 // in one Append or Chunk
	MaxText    = 1 << 10
	MaxTrace   = 128

	maxHello    = 32 << 10 // of what is asked
	maxStrange  = 64 << 10 // of all that is said on a connection before a stream is taken
	maxName     = 255      // each string of an Identity
	maxClaim    = 64 << 10
	maxOverhead = 512 << 10 // of a message beside its value: keys, fields, claim, numbers
	prefixSize  = 5         // length and kind
)

// Bits of a request that are no Call flags share a field with them.
const (
	bitRepeat = 1 << 16
	bitAsked  = 1 << 17
)
