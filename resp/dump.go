package resp

import (
	"encoding/binary"
	"hash/crc64"
)

// A dump is a mark, the form's number, the value and a checksum of all that:
// not Redis's form, which only a Redis of the same version reads.
const (
	dumpMark = "slotmesh"
	dumpForm = 1
)

var dumpTable = crc64.MakeTable(crc64.ECMA)

func dump(v *view, args [][]byte) {
	e := v.get(args[1])
	if !e.found {
		v.out.null()
		return
	}
	b := append([]byte(dumpMark), dumpForm)
	b = append(b, e.value...)
	v.out.bulk(binary.LittleEndian.AppendUint64(b, crc64.Checksum(b, dumpTable)))
}

func undump(b []byte) (value []byte, ok bool) {
	n := len(b) - 8
	if n < len(dumpMark)+1 || string(b[:len(dumpMark)]) != dumpMark || b[len(dumpMark)] != dumpForm {
		return nil, false
	}
	return b[len(dumpMark)+1 : n], binary.LittleEndian.Uint64(b[n:]) == crc64.Checksum(b[:n], dumpTable)
}

func restore(v *view, args [][]byte) {
	replace, how := false, inMillis
	idle, freq := false, false
	for i := 4; i < len(args); i++ {
		var n int64
		switch {
		case word(args[i], "REPLACE"):
			replace = true
		case word(args[i], "ABSTTL"):
			how = atMilli
		case word(args[i], "IDLETIME") && i+1 < len(args) && !freq:
			idle = true
			if i++; !v.out.integer(args[i], &n) {
				return
			}
			if n < 0 {
				v.out.fail("ERR Invalid IDLETIME value, must be >= 0")
				return
			}
		case word(args[i], "FREQ") && i+1 < len(args) && !idle:
			freq = true
			if i++; !v.out.integer(args[i], &n) {
				return
			}
			if n < 0 || n > 255 {
				v.out.fail("ERR Invalid FREQ value, must be >= 0 and <= 255")
				return
			}
		default:
			v.out.fail(errSyntax)
			return
		}
	}
	if !replace && v.look(args[1]).found {
		v.out.fail("BUSYKEY Target key name already exists.")
		return
	}
	var n int64
	if !v.out.integer(args[2], &n) {
		return
	}
	if n < 0 {
		v.out.fail("ERR Invalid TTL value, must be >= 0")
		return
	}
	value, ok := undump(args[3])
	if !ok {
		v.out.fail("ERR DUMP payload version or checksum are wrong")
		return
	}
	var t term
	if n > 0 {
		if t, ok = deadline(n, how, v.now); !ok {
			v.out.fail("ERR Invalid TTL value, must be >= 0")
			return
		}
	}
	v.setUntil(args[1], value, t)
	v.out.ok()
}
