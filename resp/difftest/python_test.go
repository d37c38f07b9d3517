package difftest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// python is the one that the Debian package python3-redis is for.
const python = "/usr/bin/python3"

func TestPythonSeesNoDifference(t *testing.T) {
	need(t, python)
	ours, theirs := startFleet(t, 3), startRedis(t)
	g := newGenerator(41)
	var in bytes.Buffer
	count := 0
	for count < commandsPerClient {
		args := g.command(g.pick("a", "b", "user:1000"))
		if len(args) < 2 || !strings.HasPrefix(args[1], "{") {
			continue
		}
		var list []string
		for _, arg := range args {
			list = append(list, hex.EncodeToString([]byte(arg)))
		}
		line, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
		count++
	}
	cmd := exec.Command(python, "compare.py", ours[0].addr, theirs[0].addr)
	cmd.Stdin = &in
	out, err := cmd.Output() // what the client logs goes elsewhere
	if want := fmt.Sprintf("compared %d\n", count); err != nil || string(out) != want {
		t.Errorf("compare.py: %v\n%.5000s\nwant %s", err, out, want)
	}
}

// Python's client has what is about all keys done on every node.
func TestPythonFindsAllPrimaries(t *testing.T) {
	need(t, python)
	out, err := exec.Command(python, "everywhere.py", startFleet(t, 3)[1].addr).CombinedOutput()
	if want := "3 primaries\nTrue keys are scanned\nTrue keys are listed\n0 are left\n"; err != nil || string(out) != want {
		t.Errorf("everywhere.py: %v\n%.5000s\nwant %s", err, out, want)
	}
}
