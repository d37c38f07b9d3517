"""Writes and reads through redis-py until its input ends, and counts.

    churn.py host:port [host:port...]

It prints "calls N" now and then. Every call that fails is made again for at most
20 seconds, as callers of redis-py do when a node was lost; "again N" at the end
says how many those were. A read that does not return what was written last ends
it with a line that begins with "wrong".
"""

import sys
import threading
import time

from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError


def main():
    nodes = [ClusterNode(*addr.rsplit(":", 1)) for addr in sys.argv[1:]]
    cluster = RedisCluster(startup_nodes=[ClusterNode(n.host, int(n.port)) for n in nodes], socket_timeout=10)
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    again = calls = 0

    def call(f):
        nonlocal again, calls
        deadline = time.monotonic() + 20
        while True:
            try:
                calls += 1
                return f()
            # redis-py 4 fails with an AttributeError where an ASK names a node that
            # it has not heard of, as one that has just joined.
            except (RedisError, OSError, AttributeError) as err:
                again += 1
                if time.monotonic() > deadline:
                    sys.exit("wrong: %r" % err)

    round = 0
    while not over.is_set():
        round += 1
        for i in range(50):
            key, value = "python:%d" % i, b"%d" % round
            call(lambda: cluster.set(key, value))
            got = call(lambda: cluster.get(key))
            if got != value:
                sys.exit("wrong: %s is %r, want %r" % (key, got, value))
        print("calls", calls, flush=True)
    print("again", again, flush=True)


main()
