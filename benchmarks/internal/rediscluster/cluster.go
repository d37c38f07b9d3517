// Package rediscluster runs a Redis Cluster of three primaries and three
// replicas on this machine.
package rediscluster

import "os/exec"

// Available reports whether there are the programs that it takes.
func Available() bool {
	for _, program := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	return true
}
