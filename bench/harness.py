"""Running commands under a clock: wall time, processor time, peak memory, medians over interleaved rounds."""

import os
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".bench" / "work"
MIB = 1024 * 1024
GIB = 1024 * MIB


class Failed(Exception):
    """A command did not do what it was asked."""


@dataclass
class Run:
    """What one command took."""

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    output: bytes = b""


def run(command, *, env=None, keep_output=False):
    """Runs a command to its end and measures it. `keep_output` captures standard output.

    Peak memory is the kernel's count for the child. It starts from this program's own size at the moment of the
    fork, which is why this program stays small.
    """
    full_env = {**os.environ, **(env or {})}
    out_path = WORK / "output"
    err_path = WORK / "errors"
    WORK.mkdir(parents=True, exist_ok=True)
    with open(out_path if keep_output else os.devnull, "wb") as out, open(err_path, "wb") as err:
        start = time.monotonic()
        child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=full_env)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        tail = err_path.read_bytes()[-2000:].decode(errors="replace")
        raise Failed(f"exit code {child.returncode}: {' '.join(str(part) for part in command)}\n{tail}")
    output = out_path.read_bytes() if keep_output else b""
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output)


def settle():
    """Lets what was written reach the disk, so that nobody pays for what went before."""
    os.sync()


def interleaved(rounds, sides):
    """Runs each side once per round, in turning order. `sides` maps a name to a function of the round's number.

    Returns a list of results per name, in the order of the rounds.
    """
    results = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in names:
            settle()
            results[name].append(sides[name](number))
    return results


def median(values):
    return statistics.median(values)


def median_run(runs):
    """The medians of several runs, each column on its own."""
    return Run(
        median([r.seconds for r in runs]),
        median([r.cpu_seconds for r in runs]),
        int(max(r.peak_rss_bytes for r in runs)),
    )


def peak_rss(pid):
    """Peak resident memory of a running process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"process {pid} says nothing of its memory")


def resident(pid):
    """Resident memory of a running process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"process {pid} says nothing of its memory")


def forget_peak_rss(pid):
    """Starts counting peak memory anew from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def fresh(name):
    """An empty folder of this name for one measurement."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def remove(path):
    if Path(path).is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def random_file(path, size, seed):
    """A file of random bytes that nothing compresses, the same for the same seed."""
    import random

    generator = random.Random(seed)
    with open(path, "wb") as file:
        left = size
        while left:
            part = min(left, 4 * MIB)
            file.write(generator.randbytes(part))
            left -= part
    return path


def memory_at_hand(size):
    """Lets the system have so many bytes of memory ready for what is written next.

    A virtual machine may have given idle memory back to its host: writing a GiB to new files then costs three times the processor
    time (0.93 s against 0.32), and whoever is measured first pays for it.
    """
    path = WORK / "scratch"
    part = bytes(4 * MIB)
    with open(path, "wb") as file:
        for _ in range(size // len(part)):
            file.write(part)
    path.unlink()


def same(left, right):
    """Fails unless two files, or two trees, are equal."""
    done = subprocess.run(["diff", "-rq", "--no-dereference", str(left), str(right)], capture_output=True)
    if done.returncode != 0:
        raise Failed(f"what came back differs: {done.stdout[:500].decode(errors='replace')}")


def build(*arguments):
    """Builds with cargo, output shown, and returns the folder of the binaries."""
    subprocess.run(["cargo", "build", "--release", *arguments], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def install(package, command):
    """Makes sure that a peer's command is there; says why not otherwise."""
    if shutil.which(command):
        return None
    if os.geteuid() == 0 and shutil.which("apt-get"):
        # A policy that forbids starting services, for the length of the installation only.
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, env=env)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], capture_output=True, env=env)
    return None if shutil.which(command) else f"{command} is missing: install the Debian package {package}"
