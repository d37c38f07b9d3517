package transport

import (
	"encoding/hex"
	"testing"
)

// Values on the wire never change.
func TestWireConstants(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want int
	}{
		{"kindVoid", int(kindVoid), 0}, {"kindRequest", int(kindRequest), 1}, {"kindResponse", int(kindResponse), 2},
		{"kindAppend", int(kindAppend), 3}, {"kindAck", int(kindAck), 4}, {"kindClaims", int(kindClaims), 5},
		{"kindControl", int(kindControl), 6}, {"kindChunk", int(kindChunk), 7}, {"kindWantBulk", int(kindWantBulk), 8},
		{"kindPiece", int(kindPiece), 9}, {"kindWhole", int(kindWhole), 10},
		{"kindHandshake", int(kindHandshake), 32}, {"kindWelcome", int(kindWelcome), 33},
		{"kindHello", int(kindHello), 34}, {"kindHelloed", int(kindHelloed), 35},

		{"verdictOK", int(verdictOK), 0}, {"verdictCluster", int(verdictCluster), 1}, {"verdictProtocol", int(verdictProtocol), 2},
		{"verdictWrongNode", int(verdictWrongNode), 3}, {"verdictDirection", int(verdictDirection), 4},
		{"verdictBusy", int(verdictBusy), 5}, {"verdictClosing", int(verdictClosing), 6},
		{"verdictNoSession", int(verdictNoSession), 7}, {"verdictFailed", int(verdictFailed), 8}, {"verdictUnlisted", int(verdictUnlisted), 9},

		{"OpGet", int(OpGet), 1}, {"OpSet", int(OpSet), 2}, {"OpDelete", int(OpDelete), 3}, {"OpExpire", int(OpExpire), 4},
		{"OpIncr", int(OpIncr), 5}, {"OpCompare", int(OpCompare), 6}, {"OpPeek", int(OpPeek), 7}, {"OpScan", int(OpScan), 8},
		{"OpAppend", int(OpAppend), 9}, {"OpTxn", int(OpTxn), 10}, {"OpLoad", int(OpLoad), 11}, {"OpRelease", int(OpRelease), 12},
		{"OpLock", int(OpLock), 13}, {"OpUnlock", int(OpUnlock), 14}, {"OpWatch", int(OpWatch), 15}, {"OpExplain", int(OpExplain), 16}, {"OpAsk", int(OpAsk), 20},

		{"FlagIfAbsent", int(FlagIfAbsent), 1}, {"FlagIfPresent", int(FlagIfPresent), 2}, {"FlagIfVersion", int(FlagIfVersion), 4},
		{"FlagKeepTTL", int(FlagKeepTTL), 8}, {"FlagAckPrimary", int(FlagAckPrimary), 16}, {"FlagRelative", int(FlagRelative), 32},
		{"FlagReturnOld", int(FlagReturnOld), 64}, {"FlagBounds", int(FlagBounds), 128}, {"FlagLease", int(FlagLease), 256},
		{"bitRepeat", bitRepeat, 1 << 16}, {"bitAsked", bitAsked, 1 << 17},

		{"CodeOK", int(CodeOK), 0}, {"CodeNotFound", int(CodeNotFound), 1}, {"CodeMoved", int(CodeMoved), 2}, {"CodeAsk", int(CodeAsk), 3},
		{"CodeNotYet", int(CodeNotYet), 4}, {"CodeVersionMismatch", int(CodeVersionMismatch), 5},
		{"CodeConditionFailed", int(CodeConditionFailed), 6}, {"CodeNoPrimary", int(CodeNoPrimary), 7},
		{"CodeNotEnough", int(CodeNotEnough), 8}, {"CodeTooLarge", int(CodeTooLarge), 9}, {"CodeConflict", int(CodeConflict), 18}, {"CodeLoadFailed", int(CodeLoadFailed), 19}, {"CodeLocked", int(CodeLocked), 20}, {"CodeLost", int(CodeLost), 21}, {"CodeNoMemory", int(CodeNoMemory), 10},
		{"CodeClosed", int(CodeClosed), 11}, {"CodeUnknownOutcome", int(CodeUnknownOutcome), 12}, {"CodeOverloaded", int(CodeOverloaded), 13},
		{"CodeExpired", int(CodeExpired), 14}, {"CodeNotInteger", int(CodeNotInteger), 15}, {"CodeInvalid", int(CodeInvalid), 16},
		{"CodeDisk", int(CodeDisk), 17},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %d, want %d", tt.name, tt.got, tt.want)
		}
	}
	if GossipMagic != "SMg1" || methodData != "/slotmesh.v1.Mesh/Data" || methodControl != "/slotmesh.v1.Mesh/Control" ||
		methodBulk != "/slotmesh.v1.Mesh/Bulk" || methodHello != "/slotmesh.v1.Mesh/Hello" || new(codec).Name() != "slotmesh" {
		t.Error("a name on the wire has changed")
	}
}

// The order of fields never changes either: each field of these messages has
// a value of its own.
func TestWireForm(t *testing.T) {
	node, value := nodeID(9), []byte{0xaa}
	record := Record{Kind: 1, Key: "k", Field: "f", Value: value, Tombstone: true, Version: 2, Origin: 3, Expiry: 4, Schema: 5}
	result := Result{Value: value, Version: 31, Expiry: 32, Int: 33, Schema: 34, Found: true}
	for _, tt := range []struct {
		name   string
		encode func(*encoder)
		want   string
	}{
		{"request", func(e *encoder) {
			e.request(&Request{
				ID: 1, Timeout: 2, CallID: CallID{node, 3}, Epoch: 4, Mark: 5, Hops: 6, Repeat: true, Asked: true,
				Call: Call{Op: 7, Flags: 8, Slot: 9, Kind: 10, Key: "k", Field: "f", Value: value, Old: []byte{0xbb}, Version: 11, Expiry: 12, Delta: 13, Schema: 14},
			})
		}, "0000003201dc001301070902a16b03c410000000000000000900000000000000000405c401aace000300080c0bc401bb0d0aa1660e06"},
		{"response", func(e *encoder) {
			e.response(1, &Response{Code: 2, Claim: []byte{0xcc}, Node: node, Mark: 3, Text: "t", Result: result})
		}, "0000002602dc000c0102c3c401aa1f03202122c401ccc41000000000000000090000000000000000a174"},
		{"append", func(e *encoder) {
			e.append(&Append{Slot: 1, Epoch: 2, Session: 3, Prev: 4, Version: 5, Mark: 6, Cause: 7, Call: CallID{testSender, 8}, Result: result, Records: []Record{record}})
		}, "0000002603dc0010010204050691dc0009a16b02c401aa01c3a16604030508c00703c3c401aa1f202122"},
		{"ack", func(e *encoder) {
			e.ack(&AppendAck{Slot: 1, Epoch: 2, Session: 3, Version: 4, Durable: 5, Gap: true, Refused: true, Short: true})
		}, "0000000c04dc00080102040503c3c3c3"},
		{"chunk", func(e *encoder) {
			e.chunk(&Chunk{Slot: 1, Session: 2, Kind: 3, Seq: 4, Last: true, Epoch: 5, Lo: 6, Hi: 7, Sum: 8, Count: 9, Body: value, Records: []Record{record}})
		}, "0000002207dc000c01020304c30506070809c401aa91dc0009a16b02c401aa01c3a166040305"},
		{"handshake", func(e *encoder) {
			e.handshake(kindHandshake, &handshake{from: Identity{Cluster: "c", ID: node, Name: "n", Addr: "a", MinProto: 1, MaxProto: 2}, to: node, session: 3, body: value})
		}, "0000003420dc00090102a163c41000000000000000090000000000000000a16ea161c4100000000000000009000000000000000003c401aa"},
		{"welcome", func(e *encoder) {
			e.welcome(kindWelcome, &welcome{verdict: 4, from: Identity{Cluster: "c", ID: node, Name: "n", Addr: "a", MinProto: 1, MaxProto: 2}, text: "t", body: value})
		}, "0000002421dc0009040102a163c41000000000000000090000000000000000a16ea161a174c401aa"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEncoder(testSender)
			tt.encode(e)
			if got := hex.EncodeToString(e.buf); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Encoding and decoding of what a call and a write need is on the hot path.
func TestCodecAllocs(t *testing.T) {
	e, d := newEncoder(testSender), newDecoder(testSender, testMax, testMax)
	req := &Request{ID: 1 << 40, CallID: CallID{nodeID(3), 1 << 50}, Epoch: 1, Mark: 1 << 41, Call: Call{Op: OpSet, Slot: 1, Key: "key", Value: make([]byte, 100)}}
	rsp := &Response{Mark: 1 << 41, Result: Result{Value: make([]byte, 100), Version: 1 << 41}}
	app := &Append{Slot: 1, Version: 1 << 41, Records: []Record{{Key: "key", Value: make([]byte, 100)}}}
	run := func() {
		e.buf = e.buf[:0]
		e.request(req)
		e.response(1<<41, rsp)
		e.append(app)
		e.ack(&AppendAck{Slot: 1, Version: 1 << 41})
		for b := e.buf; len(b) > 0; {
			k, msg, rest, err := next(b)
			if err != nil {
				t.Fatal(err)
			}
			d.open(msg)
			switch k {
			case kindRequest:
				d.request()
			case kindResponse:
				d.response(d.responseID())
			case kindAppend:
				d.append()
			case kindAck:
				d.appendAck()
			}
			if d.err != nil {
				t.Fatal(d.err)
			}
			b = rest
		}
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("encoding and decoding allocate %v times, want 0", n)
	}
}
