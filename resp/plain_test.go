package resp

import (
	"bytes"
	"testing"
)

func TestPlainCommandsNeedTheirKeyAlone(t *testing.T) {
	for _, tt := range []struct {
		command string
		want    plainness
	}{
		{"GET k", plainGet}, {"SET k v", plainSet}, {"set k v ex 10 nx", plainSet}, {"set k v keepttl", plainSet},
		{"setex k 10 v", plainSetEx}, {"PSETEX k 10 v", plainSetEx}, {"setnx k v", plainSetNX}, {"incr k", plainIncr}, {"decrby k 5", plainIncr},
		{"del k", plainDel}, {"unlink k", plainDel}, {"expire k 10", plainExpire}, {"pexpire k 10", plainExpire},
		{"set k v get", notPlain}, {"set k v nx xx", notPlain}, {"set k", notPlain}, {"del k l", notPlain}, {"get", notPlain},
		{"expire k 0", notPlain}, {"expire k 10 gt", notPlain}, {"setex k 10", notPlain}, {"incr k 1", notPlain}, {"append k v", notPlain},
	} {
		if got := plain(bytes.Fields([]byte(tt.command))); got != tt.want {
			t.Errorf("plain(%s) = %d, want %d", tt.command, got, tt.want)
		}
	}
}
