"""The store alone: durable ingest of 1 MiB blobs against a raw batched segment writer, small records, opening."""

import os
import re
import subprocess

import harness
from figures import Row


def measure(long):
    done = subprocess.run(["cargo", "bench", "--quiet", "-p", "larder-store", "--bench", "store"], cwd=harness.ROOT, stdout=subprocess.PIPE, env=os.environ, check=True)
    said = done.stdout.decode()
    ours, raw, ratio = (float(x) for x in re.search(r"ingest of 1 MiB blobs: store (\d+) MiB/s, raw batched writer (\d+) MiB/s, ratio ([\d.]+)", said).groups())
    rows = [Row("durable ingest, 1 MiB blobs", f"{ours:.0f} MiB/s", f"raw segment writer {raw:.0f} MiB/s", ratio, "×", 0.6, 0.75, detail={"said": said.splitlines()})]
    for what, rate in re.findall(r"durable small records, (.+): (\d+)/s", said):
        rows.append(Row(f"durable small records, {what}", f"{int(rate):,}/s", "", float(rate), "/s"))
    times = [float(x) for x in re.findall(r"open with \d+ records, round \d+: ([\d.]+) s", said)]
    if times:
        seconds = harness.median(times)
        rows.append(Row("store opens with a million records", f"{seconds:.2f} s", "", seconds, "s", 1.0, 0.7, "lower", detail={"seconds": times}))
    memory = re.search(r"memory table: .* resident (\d+) bytes per record", said)
    if memory:
        rows.append(Row("memory table, per 40 + 360 byte record", f"{memory.group(1)} bytes", "", float(memory.group(1)), "bytes", better="lower"))
    return rows
