package main

import (
	"crypto/sha256"
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Bounds on the input, so that any directory can be given: the largest value
// that the cache takes by default, and what four replicas easily hold.
const (
	maxFile  = 16 << 20
	maxBytes = 256 << 20
	maxFiles = 50_000
)

// file is one file of the input: its key, where it is, and the checksums of the
// values that the two passes make of it.
type file struct {
	key, path string
	size      int64
	sums      [3]Sum // by pass, from 1
}

func inputDir(args []string) (string, error) {
	switch len(args) {
	case 0:
		return filepath.Join(goroot(), "src"), nil
	case 1:
		info, err := os.Stat(args[0])
		if err != nil {
			return "", err
		}
		if !info.IsDir() {
			return "", fmt.Errorf("%s is no directory", args[0])
		}
		return filepath.Abs(args[0])
	}
	return "", fmt.Errorf("usage: quickstart [directory]")
}

func goroot() string {
	if out, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		return strings.TrimSpace(string(out))
	}
	return build.Default.GOROOT
}

// scan reads the directory. The key of a file is {its/directory}/its-name: the
// tag in braces decides the slot, so that one directory is one slot.
func scan(dir string, out *report) ([]file, error) {
	var files []file
	var total int64
	skipped := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Size() >= maxFile || total+info.Size() > maxBytes || len(files) == maxFiles {
			skipped++
			return nil
		}
		f, err := newFile(dir, name)
		if err != nil {
			return err
		}
		total += f.size
		files = append(files, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no files in %s", dir)
	}
	out.line("%s files, %d MB", count(len(files)), total>>20)
	if skipped > 0 {
		out.line("%s files are left out: the demonstration takes %d MB, %s files, %d MB a file",
			count(skipped), maxBytes>>20, count(maxFiles), maxFile>>20)
	}
	return files, nil
}

func newFile(dir, name string) (file, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return file{}, err
	}
	rel, err := filepath.Rel(dir, name)
	if err != nil {
		return file{}, err
	}
	pkg, base := path.Split(filepath.ToSlash(rel))
	if pkg = strings.TrimSuffix(pkg, "/"); pkg == "" {
		pkg = "."
	}
	f := file{key: "{" + pkg + "}/" + base, path: name, size: int64(len(content))}
	for pass := 1; pass <= 2; pass++ {
		f.sums[pass] = sha256.Sum256(inPass(content, pass))
	}
	return f, nil
}
