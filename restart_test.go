package slotmesh_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slotmesh/slotmesh"
)

// restartDir is set in the process that TestKilledNodeRestartsWarm kills.
const restartDir = "SLOTMESH_TEST_RESTART_DIR"

const restartKeys = 300

func restartOptions(dir string) []slotmesh.Option {
	return []slotmesh.Option{
		slotmesh.WithName("orders-0"), slotmesh.WithAddr("127.0.0.1:0"), slotmesh.WithCluster("restart"),
		slotmesh.WithDataDir(dir), slotmesh.WithFsync(slotmesh.FsyncAlways), slotmesh.WithMaxMemory(64 << 20),
	}
}

// storeAndWait is the process that is killed.
func storeAndWait(dir string) {
	ctx := context.Background()
	c, err := slotmesh.Open(ctx, restartOptions(dir)...)
	if err != nil {
		panic(err)
	}
	for i := range restartKeys {
		if err := c.Set(ctx, fmt.Sprint("key", i), fmt.Append(nil, "value", i)); err != nil {
			panic(err)
		}
	}
	fmt.Println("stored")
	select {}
}

// A node that is killed comes back with every acknowledged write: what
// docs/persistence.md shows.
func TestKilledNodeRestartsWarm(t *testing.T) {
	if dir := os.Getenv(restartDir); dir != "" {
		storeAndWait(dir)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledNodeRestartsWarm$")
	cmd.Env = append(os.Environ(), restartDir+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill() // SIGKILL
	_ = cmd.Wait()
	require.NoError(t, err)
	require.Equal(t, "stored\n", line)

	c, err := slotmesh.Open(t.Context(), restartOptions(dir)...)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Ready(t.Context()))
	for i := range restartKeys {
		v, err := c.Get(t.Context(), fmt.Sprint("key", i))
		require.NoError(t, err, "key%d", i)
		require.Equal(t, fmt.Sprint("value", i), string(v))
	}
}
