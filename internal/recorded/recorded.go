// Package recorded keeps what a release sent or saved, so that tests show that
// later ones read it still. Only tests import it.
package recorded

import (
	"encoding/hex"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var record = flag.Bool("record", false, "write the recorded bytes that are missing; those there are kept for good")

// Bytes returns the bytes of a file of testdata/protocol1: what a release of
// protocol 1 sent, or has on its disks. They are never written anew: a decoder
// that cannot read them any more cannot talk to that release. With -record a file
// that is missing is made of now.
func Bytes(t testing.TB, name string, now []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "protocol1", name+".hex")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && *record {
		b = []byte(hex.EncodeToString(now) + "\n")
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	was, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return was
}
