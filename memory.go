package slotmesh

import (
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/slotmesh/slotmesh/store"
)

// defaultMaxMemory is a quarter of what the process may use, where something
// says how much that is.
func defaultMaxMemory() int64 {
	limit := min(debug.SetMemoryLimit(-1), cgroupLimit(os.ReadFile))
	if limit == math.MaxInt64 {
		return 256 * mib
	}
	return min(max(limit/4, minMaxMemory), store.MaxMemory)
}

// cgroupLimit is the lowest memory limit of the control groups this process is
// in, or MaxInt64. It knows version 2 and, at its usual place, version 1.
func cgroupLimit(readFile func(name string) ([]byte, error)) int64 {
	const root = "/sys/fs/cgroup"
	limit := int64(math.MaxInt64)
	apply := func(file string) {
		text, err := readFile(file)
		if err != nil {
			return // no such group, or not visible from here
		}
		// Without a limit version 2 says "max" and version 1 a number near 2^63.
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && n > 0 && n < 1<<60 {
			limit = min(limit, n)
		}
	}
	apply(root + "/memory/memory.limit_in_bytes")
	groups, _ := readFile("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for dir := path.Join("/", group); dir != "/"; dir = path.Dir(dir) {
			apply(root + dir + "/memory.max")
		}
	}
	apply(root + "/memory.max")
	return limit
}
