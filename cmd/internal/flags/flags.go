// Package flags is what slotmesh and slotmeshd share of their flags: values
// from the environment, sizes in bytes, and files of secrets.
package flags

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/slotmesh/slotmesh"
)

// EnvName is the environment variable of a flag: SLOTMESH_DATA_DIR of
// "data-dir".
func EnvName(flag string) string {
	return "SLOTMESH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Announce adds to the usage of the flags named, or of all, which variable of
// the environment sets them.
func Announce(fs *pflag.FlagSet, names ...string) {
	each(fs, names, func(f *pflag.Flag) { f.Usage += " [$" + EnvName(f.Name) + "]" })
}

// FromEnv sets the flags named, or all, that were not given from the
// environment. A variable that is set and empty counts as absent. It reports
// every fault.
func FromEnv(fs *pflag.FlagSet, getenv func(string) string, names ...string) error {
	var errs []error
	each(fs, names, func(f *pflag.Flag) {
		value := getenv(EnvName(f.Name))
		if f.Changed || value == "" {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", EnvName(f.Name), err))
		}
	})
	return errors.Join(errs...)
}

func each(fs *pflag.FlagSet, names []string, do func(*pflag.Flag)) {
	if len(names) == 0 {
		fs.VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && f.Name != "version" {
				do(f)
			}
		})
	}
	for _, name := range names {
		if f := fs.Lookup(name); f != nil {
			do(f)
		}
	}
}

// Bytes is a number of bytes, written as "512MiB", "1GiB", "64KiB" or plainly.
type Bytes int64

var units = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String writes a whole number of the largest unit that allows one.
func (b Bytes) String() string {
	for _, u := range units {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return "0"
}

// Set reads a size. (pflag.Value)
func (b *Bytes) Set(text string) error {
	number, size := strings.TrimSpace(text), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/size {
		return fmt.Errorf("%q is no size: want a number with B, KiB, MiB, GiB, TiB or nothing behind it", text)
	}
	*b = Bytes(n * size)
	return nil
}

// Type names the value in the usage text. (pflag.Value)
func (b *Bytes) Type() string { return "bytes" }

// TLS is what --tls-cert, --tls-key and --tls-ca name.
type TLS struct{ Cert, Key, Authority string }

// Register adds the flags.
func (t *TLS) Register(fs *pflag.FlagSet) {
	fs.StringVar(&t.Cert, "tls-cert", "", "file with this node's certificate chain, PEM; read anew when it changes")
	fs.StringVar(&t.Key, "tls-key", "", "file with its key, PEM")
	fs.StringVar(&t.Authority, "tls-ca", "", "file with the certificates that sign the nodes', PEM")
}

// Options are those of the library; none where no flag was given.
func (t *TLS) Options() ([]slotmesh.Option, error) {
	switch given := *t; {
	case given == TLS{}:
		return nil, nil
	case t.Cert == "" || t.Key == "" || t.Authority == "":
		return nil, errors.New("--tls-cert, --tls-key and --tls-ca go together")
	}
	return []slotmesh.Option{slotmesh.WithTLS(slotmesh.TLSFiles(t.Cert, t.Key, t.Authority))}, nil
}

const (
	maxSecretFile = 64 << 10
	maxSecrets    = 16
)

// Secrets reads the keys in a file: one a line, in base64, as "openssl rand
// -base64 32" makes them. The first is used for sending. Empty lines and those
// that begin with '#' are left out. Errors name the line and never a key.
func Secrets(file string) ([][]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	if len(text) > maxSecretFile {
		return nil, fmt.Errorf("secret file %s: larger than %d bytes", file, maxSecretFile)
	}
	var keys [][]byte
	lines := bufio.NewScanner(bytes.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if n := len(key); err != nil || n != 16 && n != 24 && n != 32 {
			return nil, fmt.Errorf("secret file %s: line %d is no base64 of 16, 24 or 32 bytes", file, number)
		}
		keys = append(keys, key)
	}
	switch {
	case lines.Err() != nil:
		return nil, fmt.Errorf("secret file %s: %w", file, lines.Err())
	case len(keys) == 0:
		return nil, fmt.Errorf("secret file %s: holds no key", file)
	case len(keys) > maxSecrets:
		return nil, fmt.Errorf("secret file %s: holds %d keys, more than %d", file, len(keys), maxSecrets)
	}
	return keys, nil
}
