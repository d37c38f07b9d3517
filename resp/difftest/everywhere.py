"""Has redis-py run what is about all primaries, and prints what it finds.

    everywhere.py host:port
"""

import sys

from redis.cluster import ClusterNode, RedisCluster


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    cluster = RedisCluster(startup_nodes=[ClusterNode(host, int(port))])
    keys = {b"key:%d" % i for i in range(300)}
    for key in keys:
        cluster.set(key, "v")
    print(len(cluster.get_primaries()), "primaries")
    print(set(cluster.scan_iter("key:*", count=7)) == keys, "keys are scanned")
    print(set(cluster.keys("key:*", target_nodes=RedisCluster.PRIMARIES)) == keys, "keys are listed")
    cluster.flushall()
    print(cluster.dbsize(target_nodes=RedisCluster.ALL_NODES), "are left")


main()
