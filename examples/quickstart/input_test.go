package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
)

func TestScanGivesADirectoryOneTag(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"top.go":          "a",
		"net/net.go":      "b",
		"net/http/srv.go": "",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := scan(dir, newReport(os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"{.}/top.go": "a", "{net}/net.go": "b", "{net/http}/srv.go": ""}
	for _, f := range files {
		content, ok := want[f.key]
		delete(want, f.key)
		if !ok || f.sums[1] != sha256.Sum256([]byte(content)) || f.sums[1] == f.sums[2] {
			t.Errorf("file %q: want a key of %v and two checksums, the first of its content", f.key, want)
		}
	}
	if len(want) != 0 {
		t.Errorf("scan did not find %v", want)
	}
}

func TestScanOfNothingSaysSo(t *testing.T) {
	if files, err := scan(t.TempDir(), newReport(os.Stderr)); err == nil {
		t.Errorf("scan of an empty directory = %d files, want an error", len(files))
	}
}

func TestInputDirRefusesWhatIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{file}, {file + "-missing"}, {"a", "b"}} {
		if dir, err := inputDir(args); err == nil {
			t.Errorf("inputDir(%q) = %q, want an error", args, dir)
		}
	}
}

func TestCountPutsCommas(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 16384: "16,384", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
}
