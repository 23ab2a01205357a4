"""A million values that end in the same second: how long until they are gone, and what other clients notice, beside Redis."""

import time

import harness
from figures import Row
from load import begin, finish
from peers import Peer, command

KEYS = 1_000_000
VALUE = b"v" * 256
# Commands sent at a time while filling.
BATCH = 5_000
# Clients meanwhile: far below what either side can do.
RATE = 5_000
# How long is watched before and after the moment.
BEFORE, AFTER = 4, 9


def measure(long):
    rounds = 5 if long else 3
    results = harness.interleaved(rounds, {side: lambda _, side=side: once(side) for side in ("larder", "redis")})
    freed = {side: harness.median([run["freed"] for run in runs]) for side, runs in results.items()}
    tails = {side: harness.median([run["meanwhile"] / run["idle"] for run in runs]) for side, runs in results.items()}
    worst = {side: max(run["worst"] for run in runs) for side, runs in results.items()}
    text = {
        side: f"{freed[side]:.2f} s, GET p99 {tails[side]:.2f} × idle, worst tenth of a second {worst[side] / 1000:.1f} ms" for side in freed
    }
    title = "a million values ending in one second"
    return [
        Row(f"{title}: time to free, × redis", text["larder"], f"redis {text['redis']}", freed["larder"] / freed["redis"], "×", 1 / 6, 0.1, "lower", results),
        Row(f"{title}: GET p99, × idle", text["larder"], f"redis {text['redis']}", tails["larder"], "×", 2.0, 1.3, "lower"),
    ]


def once(side):
    """One round on a new server."""
    peer = Peer(side)
    try:
        connection = peer.connect()
        begun = time.time()
        # Time enough to write them all, and to look at the quiet before.
        fill(connection, int((begun + 1000) * 1000), KEYS // 10)
        due = time.time() + (time.time() - begun) * 10 * 2 + BEFORE + 3
        fill(connection, int(due * 1000), KEYS)
        if due - time.time() < BEFORE + 1:
            raise harness.Failed(f"{side} was not filled in time")
        watching = begin(
            peer.url, "--rate", RATE, "--mix", "100:0", "--keys", 10_000, "--ttl", "1h", "--prefix", "quiet:", "--warmup", "0s", "--keep",
            "--duration", f"{due - time.time() + AFTER:.1f}s",
        )  # fmt: skip
        left = KEYS
        deadline = due + 60
        # Keys of the watchers stay.
        while left > 10_000:
            time.sleep(0.01)
            left = connection.ask("DBSIZE")
            if time.time() > deadline:
                raise harness.Failed(f"{side} still has {left} keys")
        freed = time.time() - due
        connection.close()
        phase = finish(watching)
    finally:
        peer.close()
    from_ms = phase["measured_from_ms"]
    at = lambda window: (from_ms + window["at_ms"]) / 1000 - due
    during = [w for w in phase["windows"] if -0.1 < at(w) - 0.1 < max(freed, 1.0) and w["requests"]]
    quiet = [w for w in phase["windows"] if 0.5 < at(w) + BEFORE < BEFORE - 0.2 and w["requests"]]
    return {
        "freed": freed,
        "meanwhile": mean(during),
        "idle": mean(quiet),
        "worst": max(w["p99_us"] for w in during),
    }


def mean(windows):
    """The 99th percentile over windows of a tenth of a second, weighted by their requests."""
    return sum(w["p99_us"] * w["requests"] for w in windows) / sum(w["requests"] for w in windows)


def fill(connection, end_ms, count):
    for start in range(0, count, BATCH):
        batch = range(start, min(start + BATCH, count))
        connection.socket.sendall(b"".join(command("SET", b"due:%012d" % key, VALUE, "PXAT", end_ms) for key in batch))
        for _ in batch:
            connection.answer()
