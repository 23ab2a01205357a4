"""Ten thousand idle connections on the Redis door: what the node holds in memory, beside Redis."""

import resource
import time

import harness
from figures import Row
from peers import Peer

CONNECTIONS = 10_000
MIB = harness.MIB


def measure(long):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise harness.Failed(f"{wanted} open files are needed, and {hard} allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        found = {
            "larder": once("larder", "--set", f"redis_connections_max={CONNECTIONS + 100}"),
            "redis": once("redis", "--maxclients", CONNECTIONS + 100),
        }
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    text = {side: f"{total / MIB:.0f} MiB, {each / 1024:.1f} KiB each" for side, (total, each) in found.items()}
    return [Row("10,000 idle connections: resident", text["larder"], f"redis {text['redis']}", found["larder"][0] / MIB, "MiB", 200, 100, "lower")]


def once(side, *flags):
    """Resident memory with all of them, and what each added."""
    peer = Peer(side, *flags)
    connections = []
    try:
        before = peer.rss()
        for _ in range(CONNECTIONS):
            connection = peer.connect()
            connections.append(connection)
            connection.ask("PING")
        time.sleep(1)
        for connection in (connections[0], connections[-1]):
            connection.ask("PING")
        total = peer.rss()
        return total, (total - before) / CONNECTIONS
    finally:
        for connection in connections:
            connection.close()
        peer.close()
