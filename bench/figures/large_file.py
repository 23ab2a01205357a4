"""A file of random bytes through one node on the same machine, beside restic with a local repository."""

import harness
from figures import Row
from harness import GIB, MIB
from larder import Larder
from restic import Restic


def measure(long):
    rounds = 5 if long else 3
    rows = []
    files = [harness.random_file(harness.WORK / f"random{n}", GIB, seed=n + 1) for n in range(rounds)]
    larder = Larder("large-larder")
    restic = Restic("large-restic")
    try:
        node = larder.node_pid()
        harness.forget_peak_rss(node)
        puts = harness.interleaved(
            rounds,
            {
                "larder": lambda n: larder.put(files[n], f"/random{n}"),
                "restic": lambda n: restic.put(files[n]),
            },
        )
        gets = harness.interleaved(
            rounds,
            {
                "larder": lambda n: _get_larder(larder, n, files),
                "restic": lambda n: _get_restic(restic, n, files[rounds - 1]),
            },
        )
        for verb, runs, at_least in (("put", puts, 2.0), ("get", gets, 1.5)):
            ours, theirs = harness.median_run(runs["larder"]), harness.median_run(runs["restic"])
            rows.append(
                Row(
                    f"{verb} of 1 GiB, random",
                    f"{ours.seconds:.2f} s ({ours.cpu_seconds:.1f} s client CPU)",
                    f"restic {theirs.seconds:.2f} s ({theirs.cpu_seconds:.1f} s CPU)",
                    theirs.seconds / ours.seconds,
                    "×",
                    at_least,
                    3.0,
                    detail={name: [vars(r) | {"output": None} for r in each] for name, each in runs.items()},
                )
            )
        client = max(r.peak_rss_bytes for r in puts["larder"] + gets["larder"])
        peer = max(r.peak_rss_bytes for r in puts["restic"] + gets["restic"])
        rows += memory_rows("1 GiB", client, harness.peak_rss(node), peer)
    finally:
        larder.close()
        restic.close()
        for file in files:
            harness.remove(file)
    if long:
        rows += ten_gib()
    return rows


def _get_larder(larder, number, files):
    target = harness.WORK / "back"
    harness.remove(target)
    harness.memory_at_hand(GIB)
    result = larder.get(f"/random{number}", target)
    harness.same(files[number], target)
    harness.remove(target)
    return result


def _get_restic(restic, number, file):
    """Restores the file put last: every snapshot holds one, of the same size."""
    target = harness.fresh("restored")
    harness.memory_at_hand(GIB)
    result = restic.get(target)
    if number == 0:
        harness.same(file, target / str(file).lstrip("/"))
    harness.remove(target)
    return result


def memory_rows(size, client, node, peer):
    return [
        Row(f"peak memory, {size}: {who}", f"{bytes_ / MIB:.0f} MiB", f"restic {peer / MIB:.0f} MiB", bytes_ / MIB, "MiB", 128, 64, "lower")
        for who, bytes_ in (("client", client), ("node", node))
    ]


def ten_gib():
    """Memory must not grow with the file; once is enough, and restic has no part in it."""
    file = harness.random_file(harness.WORK / "random10", 10 * GIB, seed=10)
    larder = Larder("ten-larder")
    try:
        node = larder.node_pid()
        harness.forget_peak_rss(node)
        harness.settle()
        put = larder.put(file, "/random10")
        target = harness.WORK / "back10"
        get = larder.get("/random10", target)
        harness.same(file, target)
        harness.remove(target)
        node_peak = harness.peak_rss(node)
    finally:
        larder.close()
        harness.remove(file)
    print(f"  10 GiB: put {put.seconds:.1f} s, get {get.seconds:.1f} s")
    rows = memory_rows("10 GiB", max(put.peak_rss_bytes, get.peak_rss_bytes), node_peak, 0)
    for row in rows:
        row.peer = ""
    return rows
