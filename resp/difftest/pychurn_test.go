package difftest

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// Python's client goes on while a node joins and another one is killed, and
// reads what it wrote.
func TestPythonGoesOnThroughChanges(t *testing.T) {
	need(t, python)
	nodes := startFleet(t, 3)
	cmd := exec.Command(python, append([]string{"churn.py"}, addrs(nodes)...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var fault bytes.Buffer
	cmd.Stderr = &fault
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	var last string
	over := make(chan struct{})
	go func() { // ends with the process
		defer close(over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			last = lines.Text()
			var n int64
			if _, err := fmt.Sscanf(last, "calls %d", &n); err == nil {
				calls.Store(n)
			}
		}
	}()
	t.Cleanup(func() { in.Close() })
	progress := func(what string) {
		t.Helper()
		from := calls.Load()
		await(t, "python goes on after "+what, func() error {
			select {
			case <-over:
				t.Fatalf("churn.py ended: %q\n%.3000s", last, fault.String())
			default:
			}
			if n := calls.Load() - from; n < 500 {
				return fmt.Errorf("%d calls", n)
			}
			return nil
		})
	}
	progress("the start")
	fourth := startOurs(t, "n4", nodes[0])
	awaitShares(t, append(nodes[:3:3], fourth))
	progress("a node joined")
	nodes[2].kill()
	progress("a node was killed")
	in.Close()
	<-over
	if err := cmd.Wait(); err != nil || !strings.HasPrefix(last, "again ") {
		t.Errorf("churn.py: %v, last %q\n%.3000s", err, last, fault.String())
	}
	t.Logf("%d calls, %s", calls.Load(), last)
}
