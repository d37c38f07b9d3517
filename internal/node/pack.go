package node

import "encoding/binary"

// Bodies of calls that hold more than one key are numbers and byte strings one
// after another, as control bodies are. fields reads them.

func packBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func packString(b []byte, v string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// bytes reads what packBytes or packString wrote, at most limit bytes; it
// aliases the body.
func (f *fields) bytes(limit int) []byte {
	size := f.num()
	if f.bad || size > uint64(limit) || size > uint64(len(f.b)) {
		f.bad, f.b = true, nil
		return nil
	}
	v := f.b[:size:size]
	f.b = f.b[size:]
	return v
}

// text is bytes as a string of its own.
func (f *fields) text(limit int) string { return string(f.bytes(limit)) }

// count reads how many parts follow, of at least one byte each.
func (f *fields) count(limit int) int {
	v := f.num()
	if f.bad || v > uint64(limit) || v > uint64(len(f.b)) {
		f.bad, f.b = true, nil
		return 0
	}
	return int(v)
}
