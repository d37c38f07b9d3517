package flags

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestBytesReadAndWritten(t *testing.T) {
	for _, tt := range []struct {
		text, want string
		n          int64
	}{
		{"512MiB", "512MiB", 512 << 20},
		{"1 GiB", "1GiB", 1 << 30},
		{"1536", "1536B", 1536},
		{"2048", "2KiB", 2048},
		{"0", "0", 0},
		{"3B", "3B", 3},
	} {
		var b Bytes
		if err := b.Set(tt.text); err != nil || int64(b) != tt.n || b.String() != tt.want {
			t.Errorf("Set(%q) = %v, gives %d %q, want %d %q", tt.text, err, int64(b), b.String(), tt.n, tt.want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "12MB", "9000000TiB", "0x10"} {
		if err := new(Bytes).Set(text); err == nil {
			t.Errorf("Set(%q) = nil, want an error", text)
		}
	}
}

func TestEnvironmentFillsFlagsThatWereNotGiven(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	name, dir, weight := fs.String("name", "default", ""), fs.String("data-dir", "", ""), fs.Int("weight", 1, "")
	env := map[string]string{"SLOTMESH_NAME": "env", "SLOTMESH_DATA_DIR": "/env", "SLOTMESH_WEIGHT": ""}
	if err := fs.Parse([]string{"--name", "flag"}); err != nil {
		t.Fatal(err)
	}
	if err := FromEnv(fs, func(k string) string { return env[k] }); err != nil {
		t.Fatal(err)
	}
	if *name != "flag" || *dir != "/env" || *weight != 1 {
		t.Errorf("name %q, data-dir %q, weight %d, want flag, /env, 1", *name, *dir, *weight)
	}
	env["SLOTMESH_WEIGHT"] = "heavy"
	if err := FromEnv(fs, func(k string) string { return env[k] }); err == nil || !strings.Contains(err.Error(), "SLOTMESH_WEIGHT") {
		t.Errorf("FromEnv with a bad weight = %v, want an error that names the variable", err)
	}
}

func TestSecretsOfAFile(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const k32, k16 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "MDEyMzQ1Njc4OWFiY2RlZg=="
	keys, err := Secrets(write("# new\n" + k32 + "\n\n  " + k16 + "\n"))
	if err != nil || len(keys) != 2 || string(keys[0]) != "0123456789abcdef0123456789abcdef" || string(keys[1]) != "0123456789abcdef" {
		t.Errorf("Secrets = %q, %v, want both keys in order", keys, err)
	}
	for what, text := range map[string]string{
		"an empty file": "", "comments alone": "# none\n", "a key of 4 bytes": "MDEyMw==\n", "no base64": k32 + "\nhunter2!\n",
		"too many": strings.Repeat(k16+"\n", 17),
	} {
		if _, err := Secrets(write(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Secrets of %s = %v, want an error without the key", what, err)
		}
	}
	if _, err := Secrets(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("Secrets of a missing file = nil, want an error")
	}
}
