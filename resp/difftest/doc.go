// Package difftest has tests alone. They compare a fleet that speaks RESP with
// a real Redis Cluster, answer by answer, through clients that others wrote:
// go-redis, rueidis and Python's RedisCluster. They need redis-server,
// redis-cli and python3-redis (see .ci/run), and say so where those are
// missing.
package difftest
