"""HTTP GET of a value of 256 bytes on 50 connections that are kept, beside nginx serving the same bytes from a file."""

import re
import subprocess
import urllib.request

import harness
from figures import Row
from larder import Larder
from nginx import Nginx

VALUE = bytes(range(256))
CONNECTIONS = 50


def measure(long):
    rounds, seconds = (7, 10) if long else (5, 4)
    larder = Larder("http-larder")
    nginx = None
    try:
        nginx = Nginx("http-nginx", {"value": VALUE})
        door = larder.status()["exposed"][1]["address"]
        url = f"http://{door}/v1/data/value"
        put = urllib.request.Request(url + "?ttl=86400", VALUE, method="PUT")
        urllib.request.urlopen(put).close()
        urls = {"larder": url, "nginx": f"http://127.0.0.1:{nginx.port}/value"}
        for side, at in urls.items():
            if urllib.request.urlopen(at).read() != VALUE:
                raise harness.Failed(f"{side} does not answer with the value")
            load(at, 1)
        sides = {side: lambda _, at=at: load(at, seconds) for side, at in urls.items()}
        results = harness.interleaved(rounds, sides)
    finally:
        if nginx:
            nginx.close()
        larder.close()
    rates = {side: harness.median([rate for rate, _ in runs]) for side, runs in results.items()}
    tails = {side: harness.median([p99 for _, p99 in runs]) for side, runs in results.items()}
    shown = {side: f"{rates[side]:,.0f}/s, p99 {tails[side] / 1000:.2f} ms" for side in rates}
    detail = {side: {"requests_per_second": [rate for rate, _ in runs]} for side, runs in results.items()}
    ratio = rates["larder"] / rates["nginx"]
    return [Row("HTTP GET 256 B, × nginx", shown["larder"], f"nginx {shown['nginx']}", ratio, "×", 0.95, 1.1, detail=detail)]


def load(url, seconds):
    """Requests a second, and the 99th percentile in microseconds."""
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise harness.Failed(f"not every request succeeded:\n{output}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    amount, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", output).groups()
    return rate, float(amount) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]
