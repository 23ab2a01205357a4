"""What protection costs: HTTP GET of a value of 256 bytes on 50 connections, with every request counted against limits that
are above the load (its address', and that of all), beside the same binary without limits."""

import os
import urllib.request

import harness
from figures import Row
from figures.http import VALUE, load
from larder import Larder

LIMITS = {
    "with limits": {
        "LARDER_HTTP_RATE_FOR": "all",
        "LARDER_HTTP_RATE": "1000000/10000000",
        "LARDER_HTTP_RATE_TOTAL": "1000000/10000000",
    },
    "without": {"LARDER_HTTP_RATE": "0/0", "LARDER_HTTP_RATE_TOTAL": "0/0"},
}


def measure(long):
    rounds, seconds = (9, 10) if long else (7, 4)
    running, urls = [], {}
    try:
        for number, (side, settings) in enumerate(LIMITS.items()):
            os.environ.update(settings)
            try:
                running.append(Larder(f"protection-{number}"))
            finally:
                for name in settings:
                    del os.environ[name]
            exposed = running[-1].status()["exposed"]
            door = next(door["address"] for door in exposed if door.get("door") == "http")
            urls[side] = f"http://{door}/v1/data/value"
            put = urllib.request.Request(urls[side] + "?ttl=86400", VALUE, method="PUT")
            urllib.request.urlopen(put).close()
            load(urls[side], 1)
        sides = {side: lambda _, at=at: load(at, seconds) for side, at in urls.items()}
        results = harness.interleaved(rounds, sides)
    finally:
        for larder in running:
            larder.close()
    rates = {side: harness.median([rate for rate, _ in runs]) for side, runs in results.items()}
    tails = {side: harness.median([p99 for _, p99 in runs]) for side, runs in results.items()}
    shown = {side: f"{rates[side]:,.0f}/s, p99 {tails[side] / 1000:.2f} ms" for side in rates}
    detail = {side: {"requests_per_second": [rate for rate, _ in runs]} for side, runs in results.items()}
    ratio = rates["with limits"] / rates["without"]
    figure = "HTTP GET 256 B, every request counted against limits, × without limits"
    return [Row(figure, shown["with limits"], f"without {shown['without']}", ratio, "×", 0.95, 0.99, detail=detail)]
