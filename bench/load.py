"""`larder bench` on any side: the same generator, the same flags, for Larder and its peers."""

import json
import subprocess

import harness
from larder import Larder


def bench(url, *flags):
    """Runs it to its end and returns the phase it measured."""
    return finish(begin(url, *flags))


def begin(url, *flags):
    """Starts it."""
    command = [Larder.binary, "bench", url, "--json", *flags]
    return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process):
    output, errors = process.communicate()
    if process.returncode != 0:
        raise harness.Failed(f"larder bench: exit code {process.returncode}: {errors.decode(errors='replace')[-500:]}")
    return json.loads(output)["phases"][0]
