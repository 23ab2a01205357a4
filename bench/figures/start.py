"""How long a node with a million records takes until it answers, after it was stopped and after it was killed."""

import harness
from figures import Row
from larder import Larder

RECORDS = 1_000_000


def measure(long):
    rounds = 5 if long else 3
    fill = harness.build("-p", "larder-client", "--example", "fill_records") / "examples" / "fill_records"
    larder = Larder("start-larder")
    rows = []
    try:
        certificates = larder.home / "config" / "certificates"
        filled = harness.run([fill, f"127.0.0.1:{larder.port}", certificates, RECORDS])
        print(f"  {RECORDS:,} records in {filled.seconds:.1f} s ({RECORDS / filled.seconds:,.0f}/s, one stream)")
        for how, stop in (("stopped", larder.down), ("killed with -9", larder.kill_node)):
            times = []
            for _ in range(rounds):
                stop()
                harness.settle()
                # `larder up` returns when the node has answered; it starts the agent and looks at the vault besides.
                times.append(larder.up().seconds)
                found = larder.status()["node"]["disk"]["records"]
                if found < RECORDS:
                    raise harness.Failed(f"after it was {how}, there are {found} records, fewer than {RECORDS}")
            seconds = harness.median(times)
            rows.append(
                Row(f"start with a million records, {how}", f"{seconds:.2f} s", "", seconds, "s", 1.0, 0.5, "lower", detail={"seconds": times})
            )
    finally:
        larder.close()
    return rows
