"""Seeds of the register that the simulator runs and judges, per second and core."""

import os
import re

import harness
from figures import Row

SEEDS = 20_000


def measure(long):
    sim = harness.build("-p", "larder-sim", "--bin", "sim") / "sim"
    seeds = SEEDS * (10 if long else 1)
    rows = []
    for acceptors in (None, 1, 3, 5):
        which = [] if acceptors is None else ["--acceptors", str(acceptors)]
        rates, faults = [], ""
        for number in range(3):
            first = number * seeds
            said = harness.run([sim, "register", "--seeds", f"{first}..{first + seeds}", *which], keep_output=True).output.decode()
            rates.append(float(re.search(r"\((\d+) seeds/s\)", said).group(1)) / os.cpu_count())
            faults = said.strip().splitlines()[-1]
        rate = harness.median(rates)
        name = "1, 3 and 5 acceptors" if acceptors is None else f"{acceptors} acceptor{'s' if acceptors > 1 else ''}"
        rows.append(Row(f"simulated seeds, {name}", f"{rate:,.0f}/s and core", "", rate, "/s", 500, 1500, detail={"rates": rates, "said": faults}))
    return rows
