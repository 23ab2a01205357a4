"""The file pipeline (read, hash, compress, encrypt, on all cores) against the sum of its own parts, in one run."""

import json
import os
import subprocess

import harness
from figures import Row


def measure(long):
    done = subprocess.run(["cargo", "bench", "--quiet", "-p", "larder-seal", "--bench", "pipeline"], cwd=harness.ROOT, stdout=subprocess.PIPE, env=os.environ, check=True)
    lines = done.stdout.decode().strip().splitlines()
    figures = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    rows = []
    for content, part in figures.items():
        for verb, word in (("seal", "sealing"), ("open", "opening")):
            ratio, rate = part[f"{verb}_ratio"], part[f"{verb}_gb_s"]
            rows.append(Row(f"file pipeline, {word} {content}", f"{rate:.2f} GB/s", f"sum of its parts {rate / ratio:.2f} GB/s", ratio, "×", 0.75, 0.85, detail=part))
    return rows
