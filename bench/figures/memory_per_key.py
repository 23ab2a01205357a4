"""Resident memory for each value of 256 bytes under a key of 16, with a lifetime, beside Redis and memcached."""

import time

import harness
from figures import Row
from load import bench
from peers import Peer

KEYS = 1_000_000


def measure(long):
    rounds = 3 if long else 1
    sides = {side: lambda _, side=side: once(side) for side in ("larder", "redis", "memcached")}
    results = harness.interleaved(rounds, sides)
    each = {side: harness.median(runs) for side, runs in results.items()}
    beside = f"redis {each['redis']:.0f} B, memcached {each['memcached']:.0f} B"
    ratio = each["larder"] / each["redis"]
    return [Row("resident bytes per key (16 B + 256 B, TTL), × redis", f"{each['larder']:.0f} B", beside, ratio, "×", 0.85, 0.70, "lower", results)]


def once(side):
    """Bytes a key on a new server that was asked a little before, so that what every server needs is not counted."""
    peer = Peer(side)
    try:
        flags = ["--value", 256, "--ttl", "1h", "--no-verify", "--mix", "0:100", "--requests", 1000, "--keep"]
        bench(peer.url, "--keys", 1000, *flags, "--prefix", "other:")
        before = peer.rss()
        bench(peer.url, "--keys", KEYS, *flags, "--seed", 1)
        time.sleep(2)
        return (peer.rss() - before) / KEYS
    finally:
        peer.close()
