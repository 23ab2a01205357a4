"""Half an hour at 70 % of the peak with values that end all the time: does memory stay flat, and the tail where it was?
Only in `make bench-long`."""

import threading

import harness
from figures import Row
from load import bench, begin, finish
from peers import Peer
from stalls import Stalls

FLAGS = ["--connections", 50, "--keys", 500_000, "--mix", "50:50", "--value", "64..1KiB", "--ttl", "20s"]
MINUTES = 30
SHARE = 0.7
# A minute of which the host took less than this is the machine's own. What it took is in the figure all the same.
STOLEN_MAX = 0.01
# Resident memory is looked at this often, in seconds.
LOOK_EVERY = 5


def measure(long):
    return once(MINUTES) if long else []


def once(minutes):
    peer = Peer("larder")
    try:
        peak = bench(peer.url, *FLAGS, "--duration", "15s", "--keep")["rate"]
        rate = int(peak * SHARE)
        seen, stolen, over = [], [], threading.Event()
        watcher = threading.Thread(target=lambda: watch(peer, seen, stolen, over))
        watching = begin(peer.url, *FLAGS, "--rate", rate, "--duration", f"{minutes}m", "--keep", "--require", "errors<0.001%")
        watcher.start()
        stalls = Stalls(peer.port)
        try:
            phase = finish(watching)
        finally:
            over.set()
            watcher.join()
            stood = stalls.seen()
    finally:
        peer.close()
    windows = phase["windows"]
    per_minute = max(1, round(60_000 / windows[0]["at_ms"]))
    minutes_p999 = [tail(windows[at : at + per_minute]) for at in range(0, len(windows), per_minute)]
    # What is left over at the end is no minute.
    minutes_p999 = minutes_p999[:minutes] or minutes_p999
    later = minutes_p999[1:] or minutes_p999
    ratio = max(later) / minutes_p999[0]
    worst = minutes_p999.index(max(later))
    taken = [share(stolen, len(minutes_p999) - at) for at in range(len(minutes_p999))]
    own = [tail for tail, part in zip(minutes_p999, taken, strict=True) if part < STOLEN_MAX]
    # The first two minutes are for coming up: values of 20 seconds fill the table.
    settled = seen[2 * 60 // LOOK_EVERY :] or seen
    growth = max(settled[len(settled) // 2 :]) / max(settled[: len(settled) // 2])
    shown = f"{rate:,}/s, p99.9 {minutes_p999[0] / 1000:.2f} ms in its first minute, {max(later) / 1000:.2f} ms in its worst"
    # Both end together.
    from_second = max(0, len(stood["machine_ms"]) - 60 * (len(minutes_p999) - worst))
    there = slice(from_second, from_second + 60)
    beside = f"in the worst, minute {worst + 1}: machine away {max(stood['machine_ms'][there]):.0f} ms at most, "
    beside += f"its host took {taken[worst]:.1%} of its processors, PING answered in {max(stood['server_ms'][there]):.0f} ms at most"
    memory = f"{max(settled) / harness.MIB:.0f} MiB at most, {settled[-1] / harness.MIB:.0f} MiB at the end"
    detail = {"minutes_p99_9_us": minutes_p999, "resident_bytes": seen, "peak": peak, "phase": phase["all"], "windows": windows, "stalls": stood, "stolen": taken}
    title = f"{minutes} minutes at 70 % of peak, values ending"
    alone = f"{len(own)} of {minutes} minutes; {min(own) / 1000:.2f} to {max(own) / 1000:.2f} ms" if own else "none"
    return [
        Row(f"{title}: the same of minutes with the machine to itself", alone, "", max(own) / min(own) if own else 0, "×", better="lower"),
        Row(f"{title}: p99.9 of the worst minute × the first", shown, beside, ratio, "×", 2.0, 1.5, "lower", detail),
        Row(f"{title}: memory, second half × first", memory, "", growth, "×", 1.05, 1.01, "lower"),
    ]


def tail(windows):
    """The 99.9th percentile of a minute: of its windows, weighted by their requests."""
    return sum(w["p99_9_us"] * w["requests"] for w in windows) / max(1, sum(w["requests"] for w in windows))


def share(stolen, minutes_left):
    """The part of a minute's processor time that the machine's host took for itself, as the kernel counts it. Minutes are
    counted from the end, where all that is measured ends together."""
    looks = 60 // LOOK_EVERY
    end = len(stolen) - 1 - looks * (minutes_left - 1)
    begin = max(0, end - looks)
    (all_before, before), (all_after, after) = stolen[begin], stolen[max(end, 0)]
    return (after - before) / max(1, all_after - all_before)


def watch(peer, seen, stolen, over):
    while not over.wait(LOOK_EVERY):
        seen.append(peer.rss())
        with open("/proc/stat", encoding="ascii") as lines:
            ticks = [int(word) for word in lines.readline().split()[1:9]]
        stolen.append((sum(ticks), ticks[7]))
