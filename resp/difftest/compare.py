"""Runs commands through redis-py against two clusters and compares the answers.

    compare.py ours theirs < commands

ours and theirs are host:port of a node; each line of commands is a JSON list of
hexadecimal arguments. Differences go to the standard output, a line each.
"""

import json
import sys

from redis.cluster import ClusterNode, RedisCluster


def connect(addr):
    host, port = addr.rsplit(":", 1)
    return RedisCluster(startup_nodes=[ClusterNode(host, int(port))])


def run(cluster, args):
    """The answer as text; the client's own conversions are part of it."""
    try:
        return repr(cluster.execute_command(args[0].decode(), *args[1:]))
    except Exception as err:  # also those of the client itself
        return "%s: %s" % (type(err).__name__, err)


def same(name, a, b):
    if a == b:
        return True
    if name not in ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"):
        return False
    try:
        return abs(int(a) - int(b)) <= 10000
    except ValueError:
        return False


def main():
    ours, theirs = connect(sys.argv[1]), connect(sys.argv[2])
    count = 0
    for line in sys.stdin:
        args = [bytes.fromhex(a) for a in json.loads(line)]
        args[0] = args[0].upper()
        a, b = run(ours, args), run(theirs, args)
        count += 1
        if not same(args[0].decode(), a, b):
            print("%r: ours %s, theirs %s" % (args, a[:300], b[:300]))
    print("compared", count)


main()
