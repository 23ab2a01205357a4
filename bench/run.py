"""Measures every figure and prints one table. `--long` for more rounds and 10 GiB, names to measure only some."""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
from larder import Larder
from restic import Restic

# In the order of the table. Each has a file in figures/.
FIGURES = [
    "pipeline",
    "ingest",
    "simulation",
    "large_file",
    "small_files",
    "start",
    "http",
    "protection",
    "names",
    "scrub",
    "values",
    "expiry",
    "memory_per_key",
    "idle",
    "storm",
    "endurance",
]
PEERS = {
    "large_file": [("restic", "restic")],
    "small_files": [("restic", "restic")],
    "http": [("nginx-light", "nginx"), ("wrk", "wrk")],
    "protection": [("wrk", "wrk")],
    "values": [("redis-server", "redis-server"), ("memcached", "memcached")],
    "expiry": [("redis-server", "redis-server")],
    "memory_per_key": [("redis-server", "redis-server"), ("memcached", "memcached")],
    "idle": [("redis-server", "redis-server")],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="more rounds, and a 10 GiB file")
    parser.add_argument("--binary", type=Path, help="measure this larder instead of building one")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"only these: {', '.join(FIGURES)}")
    arguments = parser.parse_args()
    wanted = arguments.figures or FIGURES
    unknown = set(wanted) - set(FIGURES)
    if unknown:
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")

    started = time.monotonic()
    harness.WORK.mkdir(parents=True, exist_ok=True)
    Larder.binary = arguments.binary or harness.build("-p", "larder") / "larder"
    print(f"built in {time.monotonic() - started:.0f} s\n")

    rows, skipped = [], []
    for name in FIGURES:
        if name not in wanted:
            continue
        reasons = [harness.install(*peer) for peer in PEERS.get(name, [])]
        why = next(filter(None, reasons), None)
        if why:
            skipped.append(f"{name}: {why}")
            continue
        print(f"{name} …", flush=True)
        began = time.monotonic()
        before = len(rows)
        try:
            rows += importlib.import_module(f"figures.{name}").measure(arguments.long)
        except (harness.Failed, subprocess.CalledProcessError) as error:
            skipped.append(f"{name}: {error}")
        for row in rows[before:]:
            print(f"  {row.figure}: {row.larder}{', ' * bool(row.peer)}{row.peer}")
        print(f"  took {time.monotonic() - began:.0f} s", flush=True)

    print()
    print_table(rows)
    save(rows, skipped)
    for line in skipped:
        print(f"not measured: {line}")
    print(f"\n{time.monotonic() - started:.0f} s in all; JSON in .bench/latest.json")
    sys.exit(1 if skipped else 0)


def print_table(rows):
    lines = [("figure", "larder", "beside", "value", "at least", "aim", "")]
    for row in rows:
        verdict = "aim" if row.meets(row.aim) else "met" if row.meets(row.at_least) else "BELOW"
        if row.at_least is None:
            verdict = ""
        shown = ["" if bound is None else f"{'' if row.better == 'higher' else '≤ '}{bound:,g}" for bound in (row.at_least, row.aim)]
        lines.append(
            (
                row.figure,
                row.larder,
                row.peer,
                f"{row.value:,.2f} {row.unit}".strip(),
                *shown,
                verdict,
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def save(rows, skipped):
    folder = harness.ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    restic = Restic.version() if harness.install("restic", "restic") is None else None
    report = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "restic": restic,
        "rows": [vars(row) | {"met": row.meets(row.at_least), "aim_met": row.meets(row.aim)} for row in rows],
        "not_measured": skipped,
    }
    text = json.dumps(report, indent=1, default=lambda value: None)
    (folder / f"{report['time'].replace(':', '')}.json").write_text(text)
    (folder / "latest.json").write_text(text)


if __name__ == "__main__":
    main()
