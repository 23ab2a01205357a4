"""Scrub against the disk's own sequential reading, and what a running scrub costs those who read meanwhile."""

import os
import subprocess
import threading
import time

import harness
from figures import Row
from larder import Larder

FILE_BYTES = 512 * harness.MIB
SMALL_FILES = 64


def drop_caches(folder):
    """The next reading comes from the disk: of all files if we may say so for the machine, else of these."""
    harness.settle()
    for path in sorted(folder.glob("*.seg")):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        with open("/proc/sys/vm/drop_caches", "w") as knob:
            knob.write("1\n")
    except OSError:
        pass


def read_all(folder):
    """Reads the log's files one after the other in pieces of 1 MiB; bytes and seconds."""
    done, began = 0, time.monotonic()
    buffer = bytearray(harness.MIB)
    for path in sorted(folder.glob("*.seg")):
        with open(path, "rb", buffering=0) as file:
            while read := file.readinto(buffer):
                done += read
    return done, time.monotonic() - began


def gets(larder, count):
    """Times of `count` whole commands that each fetch one small file, in milliseconds."""
    times = []
    for number in range(count):
        began = time.monotonic()
        larder.command("cat", f"/small/{number % SMALL_FILES}", keep_output=True)
        times.append((time.monotonic() - began) * 1000)
    return sorted(times)


def p99(times):
    return times[min(len(times) - 1, len(times) * 99 // 100)]


class Scrubbing:
    """Scrubs again and again until it is left."""

    def __init__(self, larder):
        self.larder = larder
        self.stopping = False
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while not self.stopping:
            subprocess.run(
                [str(larder_part) for larder_part in (self.larder.binary, "--home", self.larder.home, "node", "scrub")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )

    def __enter__(self):
        self.thread.start()
        time.sleep(0.2)

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()


def measure(long):
    rounds, count = (7, 1000) if long else (3, 300)
    larder = Larder("scrub-larder")
    rows = []
    try:
        source = larder.folder / "source"
        with open(source, "wb") as file:
            for _ in range(FILE_BYTES // harness.MIB):
                file.write(os.urandom(harness.MIB))
        larder.put(source, "/large")
        small = larder.folder / "small"
        small.mkdir()
        for number in range(SMALL_FILES):
            (small / str(number)).write_bytes(os.urandom(8192))
        larder.put(small, "/")
        data = larder.home / "data"

        def scrub(_):
            drop_caches(data)
            began = time.monotonic()
            larder.command("node", "scrub", keep_output=True)
            return FILE_BYTES / (time.monotonic() - began)

        def sequential(_):
            drop_caches(data)
            done, seconds = read_all(data)
            return done / seconds

        speeds = harness.interleaved(rounds, {"scrub": scrub, "read": sequential})
        ours, disk = harness.median(speeds["scrub"]), harness.median(speeds["read"])
        rows.append(
            Row("scrub, nobody else", f"{ours / harness.MIB:.0f} MiB/s", f"sequential read {disk / harness.MIB:.0f} MiB/s", ours / disk, "×", 0.7, 0.9, detail={"speeds": speeds})
        )

        def alone(_):
            return p99(gets(larder, count))

        def beside(_):
            with Scrubbing(larder):
                return p99(gets(larder, count))

        times = harness.interleaved(rounds, {"alone": alone, "beside": beside})
        quiet, busy = harness.median(times["alone"]), harness.median(times["beside"])
        rows.append(
            Row("get of 8 KiB beside a scrub, p99", f"{busy:.1f} ms", f"without {quiet:.1f} ms", busy / quiet, "×", 1.1, 1.05, "lower", detail={"times": times})
        )
    finally:
        larder.close()
    return rows
