package transport

// NodeID is the 16 bytes that name one start of one node; they compare as
// bytes. What is inside them is not transport's affair.
type NodeID = [16]byte

// Op says what a Call asks for. Values are part of the wire format.
type Op uint8

const (
	OpGet     Op = 1
	OpSet     Op = 2
	OpDelete  Op = 3
	OpExpire  Op = 4 // set, or with Expiry 0 remove, the expiry
	OpIncr    Op = 5
	OpCompare Op = 6  // set Value if the present value equals Old
	OpPeek    Op = 7  // Get without the value: Exists, TTL
	OpScan    Op = 8  // a page of the slot's live items after Cursor
	OpAppend  Op = 9  // add Value to the end of the present value
	OpTxn     Op = 10 // a transaction; Value is opaque here, as for the ops below
	OpLoad    Op = 11 // the value, or the lease to load it
	OpRelease Op = 12 // of such a lease
	OpLock    Op = 13
	OpUnlock  Op = 14
	OpWatch   Op = 15 // news of a slot, once there are any
	OpExplain Op = 16
	OpFeed    Op = 17 // news of all slots that a node serves; of a node, whatever Slot says
	OpAsk     Op = 20 // of the node itself, whatever slots it serves: Key is what, Value the argument
	OpPublish Op = 24 // Value to the subscribers of the channel Key at the node asked, whatever the slot; Result.Int counts them
)

// Call flags. Values are part of the wire format.
const (
	FlagIfAbsent   uint16 = 1 << 0
	FlagIfPresent  uint16 = 1 << 1
	FlagIfVersion  uint16 = 1 << 2 // only if the version equals Call.Version (0: absent)
	FlagKeepTTL    uint16 = 1 << 3
	FlagAckPrimary uint16 = 1 << 4  // do not wait for backups
	FlagRelative   uint16 = 1 << 5  // Expiry is milliseconds from the primary's slot time
	FlagReturnOld  uint16 = 1 << 6  // Result.Value is the value before the write
	FlagBounds     uint16 = 1 << 7  // OpIncr: Old is the least and the greatest sum, 8 bytes each, big endian
	FlagLease      uint16 = 1 << 8  // only if Version is that of the grant of the lease to load the key
	FlagNear       uint16 = 1 << 9  // OpGet: with a read lease, if there can be one
	FlagRelay      uint16 = 1 << 10 // hand it on to the slot's primary: the sender can't reach it
	FlagCopy       uint16 = 1 << 11 // the sender is a backup: an append of it may be the answer, see Append.Answers
)

// Call is one operation on one key. Strings and slices of a received Call
// are valid only until the handler returns.
type Call struct {
	Op      Op
	Flags   uint16
	Slot    uint16
	Kind    uint8
	Key     string
	Field   string
	Value   []byte
	Old     []byte // OpCompare: the value expected; OpIncr: see FlagBounds
	Version uint64 // FlagIfVersion
	Expiry  int64  // Unix milliseconds, 0 none
	Delta   int64  // OpIncr; OpScan: page size
	Schema  uint32
	Trace   []byte // of whoever follows calls; opaque, at most MaxTrace
	MaxAge  int64  // nanoseconds that the answer may be behind; never sent
}

// CallID names a call for ever: repeats carry the ID of the first attempt.
type CallID struct {
	Node   NodeID // the node whose caller made it
	Number uint64 // 0: none
}

// Request carries a Call to another node.
type Request struct {
	ID      uint64 // set by Peer.Call
	Timeout int64  // microseconds the caller still waits; set by Peer.Call from its deadline
	CallID  CallID // of the first attempt
	Epoch   uint64 // of the claim the sender knew when the call was first sent
	Mark    uint64 // highest acknowledged version of the slot the sender knew then
	Known   uint64 // of a repeat: epoch of the claim that this attempt goes by
	After   uint64 // of a repeat: highest such epoch of attempts before, which may still be on their way
	Hops    uint8  // how often it was redirected
	Repeat  bool   // an earlier attempt may have been given a version
	Asked   bool   // sent after an ASK
	Sent    int64  // microseconds on a clock of the sender's; set by Peer.Call
	Call
}

// elsewhere reports whether the call goes to another than who is known to serve its
// slot: after an ASK, or to be handed on.
func (r *Request) elsewhere() bool { return r.Asked || r.Flags&FlagRelay != 0 }

// Code is the outcome of a call. Values are part of the wire format.
type Code uint8

const (
	CodeOK              Code = 0
	CodeNotFound        Code = 1
	CodeMoved           Code = 2 // Response.Claim is newer than the caller's
	CodeAsk             Code = 3 // try Response.Node for this one call
	CodeNotYet          Code = 4 // an asked node that is not open: try again
	CodeVersionMismatch Code = 5
	CodeConditionFailed Code = 6
	CodeNoPrimary       Code = 7
	CodeNotEnough       Code = 8 // fewer in-sync backups than required
	CodeTooLarge        Code = 9
	CodeNoMemory        Code = 10
	CodeClosed          Code = 11
	CodeUnknownOutcome  Code = 12
	CodeOverloaded      Code = 13
	CodeExpired         Code = 14 // deadline passed before it ran: dropped unexecuted
	CodeNotInteger      Code = 15
	CodeInvalid         Code = 16
	CodeDisk            Code = 17
	CodeConflict        Code = 18
	CodeLoadFailed      Code = 19 // Text is the error of somebody else's load
	CodeLocked          Code = 20
	CodeLost            Code = 21 // it has run, and there was no room for the answer
)

// Result is what a call gives. Value of a received Result is the receiver's
// own.
type Result struct {
	Value   []byte
	Version uint64
	Expiry  int64
	Int     int64
	Schema  uint32
	Found   bool
	Local   bool  // the node that was asked answered itself; never sent
	Age     int64 // nanoseconds that the answer may be behind; never sent
	Near    bool  // from the near cache; never sent
}

// Response answers a Request.
type Response struct {
	ID    uint64 // set by Peer.Respond
	Code  Code
	Claim []byte // CodeMoved; opaque here
	Node  NodeID // CodeAsk
	Mark  uint64 // acknowledged version of the slot at the answering primary
	Text  string // detail for errors, at most 1 KiB
	Lease int64  // microseconds for which reads of the key may be answered with this; see FlagNear
	Result
}

// Record mirrors store.Record; the two convert into each other.
type Record struct {
	Kind      uint8
	Key       string
	Field     string
	Value     []byte
	Tombstone bool
	Label     uint8
	Version   uint64
	Origin    uint64
	Expiry    int64
	Schema    uint32
}

// Append is one ordered write of one to many records to a backup's or
// learner's copy of a slot.
type Append struct {
	Slot    uint16
	Epoch   uint64
	Session uint64 // of the learner's snapshot; 0 for a backup
	Prev    uint64 // version of the append before this one under this epoch; 0 for the first
	Version uint64 // its own, equal to the highest version of Records
	Mark    uint64 // acknowledged version so far
	Cause   uint8
	Call    CallID
	Result  Result // kept with the call ID; a large Value is left out
	Records []Record
	Answers uint64 // the receiver's request that this is the answer to, once it has it; 0: none
}

// AppendAck acknowledges all appends of a slot up to Version.
type AppendAck struct {
	Slot    uint16
	Epoch   uint64
	Session uint64
	Version uint64 // received, applied and, where the node syncs writes, synced
	Durable uint64 // on the wire alone: no release sets or reads it
	Gap     bool   // an append did not follow on Version: send again from there
	Refused bool   // the epoch is promised to another node, or the higher one that Version says
	Short   bool   // the copy is short of memory
}

// Chunk is a part of a bulk copy. The receiver's Bulk handler may block: the
// sender is held back by flow control on that peer's bulk connection alone.
type Chunk struct {
	Slot    uint16
	Session uint64
	Kind    uint8 // the caller's affair
	Seq     uint64
	Last    bool
	Epoch   uint64
	Lo, Hi  uint64 // hash range covered
	Sum     uint64 // digest of the range
	Count   uint64
	Body    []byte // opaque
	Records []Record
}
