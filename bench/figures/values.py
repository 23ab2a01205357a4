"""GET and SET with a lifetime of values of 256 bytes on 50 connections through the Redis protocol, one, 16 and 50 requests at a
time, beside Redis, memcached, and a server that only answers +OK (the floor: nothing on this machine can be faster)."""

import harness
from figures import Row
from load import bench
from peers import Peer

SIDES = ["larder", "redis", "memcached", "floor"]
FLAGS = ["--connections", 50, "--keys", 100_000, "--value", 256]
# How often a load is bounded: requests at a time, operation, at least, aim.
KINDS = [
    (1, "GET", 1.15, 1.3),
    (1, "SET EX", 1.3, 1.5),
    (16, "GET", 2.0, 2.4),
    (16, "SET EX", 2.4, 3.0),
    (50, "GET", 2.8, 3.5),
    (50, "SET EX", 2.8, 3.5),
]


def measure(long):
    rounds, seconds = (7, 5) if long else (3, 2)
    peers = {}
    rows = []
    try:
        for side in SIDES:
            peers[side] = Peer(side)
            if side != "floor":
                # Fills it for what follows, and fails if what comes back is not what was stored.
                bench(peers[side].url, *FLAGS, "--ttl", "1h", "--duration", "1s", "--keep")
        for depth, operation, at_least, aim in KINDS:
            flags = [*FLAGS, "--pipeline", depth, "--duration", f"{seconds}s", "--warmup", "0.5s", "--no-fill", "--keep", "--no-verify"]
            flags += ["--mix", "100:0"] if operation == "GET" else ["--mix", "0:100", "--ttl", "1h"]
            sides = {side: lambda _, url=peer.url: bench(url, *flags) for side, peer in peers.items()}
            rows += shown(depth, operation, at_least, aim, harness.interleaved(rounds, sides))
    finally:
        for peer in peers.values():
            peer.close()
    return rows


def shown(depth, operation, at_least, aim, results):
    rates = {side: harness.median([run["rate"] for run in runs]) for side, runs in results.items()}
    tails = {side: harness.median([run["all"]["p99_us"] for run in runs]) for side, runs in results.items()}
    text = {side: f"{rates[side]:,.0f}/s, p99 {tails[side] / 1000:.2f} ms" for side in rates}
    what = f"{operation} 256 B" + (f" ×{depth}" if depth > 1 else "")
    beside = f"redis {text['redis']}; memcached {rates['memcached'] / rates['redis']:.2f} ×, floor {rates['floor'] / rates['redis']:.2f} ×"
    detail = {
        side: {
            "rates": [run["rate"] for run in runs],
            "p99_us": [run["all"]["p99_us"] for run in runs],
            "generator_cpu_us": [run["generator_cpu_us"] for run in runs],
        }
        for side, runs in results.items()
    }
    rows = [Row(f"{what}, × redis", text["larder"], beside, rates["larder"] / rates["redis"], "×", at_least, aim, detail=detail)]
    rows.append(Row(f"{what}, of the floor", text["larder"], f"floor {text['floor']}", rates["larder"] / rates["floor"], "×"))
    if depth == 1:
        tail = tails["larder"] / tails["redis"]
        rows.append(Row(f"{what}, p99 × redis", text["larder"], f"redis {text['redis']}", tail, "×", 1.0, 1.0, better="lower"))
    return rows
