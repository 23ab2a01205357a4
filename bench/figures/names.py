"""One folder with a hundred thousand entries (`--long`: a million): pages at random places, a search, and what the index costs."""

import json
import random
import socket
import struct
import time
from pathlib import Path

import harness
from figures import Row
from harness import MIB
from larder import Larder

PAGE = 1_000
PAGES = 200


def measure(long):
    entries = 1_000_000 if long else 100_000
    tree = harness.WORK / "many"
    harness.remove(tree)
    tree.mkdir(parents=True)
    for number in range(entries):
        name = _name(number)
        with open(tree / name, "w") as file:
            file.write(name)
    larder = Larder("names-larder")
    rows = []
    try:
        put = larder.put(tree, "/")
        harness.remove(tree)
        print(f"  {entries:,} files put in {put.seconds:.0f} s")
        before = _rss(larder.agent_pid())
        index, waited = _build(larder)
        if index["entries"] < entries:
            raise harness.Failed(f"the index has {index['entries']} entries, fewer than {entries}")
        rss = _rss(larder.agent_pid())
        each = index["bytes"] / index["entries"]
        of = f"of {entries:,} entries"
        rows.append(Row(f"index {of} made anew", f"{waited:.1f} s", "", waited, "s", better="lower", detail=index))
        rows.append(Row("… its memory, an entry with its name", f"{each:.0f} B", "", each, "B", 200, 150, "lower"))
        grown = (rss - before) / MIB
        rows.append(Row("… the agent grew by", f"{grown:.0f} MiB", "", grown, "MiB", better="lower", detail={"rss_before": before, "rss": rss}))

        places = [random.Random(number).randrange(entries - PAGE) for number in range(PAGES)]
        _socket_page(larder, 0)
        rows += _percentiles(f"page of {PAGE:,} {of}, agent's socket", [_socket_page(larder, place) for place in places], 10)
        _command_page(larder, 0)
        rows += _percentiles(f"page of {PAGE:,} {of}, whole `larder ls`", [_command_page(larder, place) for place in places], 10)
        found = [_find(larder, entries) for _ in range(5)]
        rows.append(Row(f"find by name {of}", f"{harness.median(found):.2f} s", "", harness.median(found), "s", better="lower", detail={"seconds": found}))
        larder.down()
        back = larder.up()
        again = _wait(larder)
        rows.append(Row("… ready again after down and up", f"{again:.1f} s", "", again, "s", better="lower", detail={"up": back.seconds}))
    finally:
        larder.close()
    return rows


def _name(number):
    return f"file-{number:07}.txt"


def _rss(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise harness.Failed("no VmRSS")


def _build(larder):
    """The first question starts the index; it is answered by the node."""
    started = time.monotonic()
    _ask(larder, _list("/", None))
    _wait(larder)
    return larder.status()["agent"]["index"], time.monotonic() - started


def _wait(larder):
    started = time.monotonic()
    while not (larder.status()["agent"]["index"] or {}).get("ready"):
        if time.monotonic() - started > 600:
            raise harness.Failed("the index never came to be")
        time.sleep(0.1)
        _ask(larder, _list("/", None))
    return time.monotonic() - started


def _bytes(text):
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _list(folder, after):
    """A question as the agent's messages have it: format, tag, what is asked."""
    there = struct.pack("B", after is not None) + _bytes(after or "")
    return struct.pack("BBB", 1, 20, 1) + _bytes(folder) + there + struct.pack("<I", PAGE)


def _ask(larder, question):
    path = json.loads((larder.home / "state" / "agent.pid").read_text())["address"]
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(path)
        return _exchange(agent, question)


def _exchange(agent, question):
    agent.sendall(struct.pack("<I", len(question)) + question)
    data = _exactly(agent, 4)
    return _exactly(agent, struct.unpack("<I", data)[0])


def _exactly(agent, count):
    data = bytearray()
    while len(data) < count:
        part = agent.recv(count - len(data))
        if not part:
            raise harness.Failed("the agent ended the connection")
        data += part
    return bytes(data)


def _entries(answer):
    """Names in a page, in order, and whether it is the last."""
    if answer[:3] != bytes((1, 20, 2)):
        raise harness.Failed(f"the index did not answer: {answer[:80]}")
    at, names = 7, []
    for _ in range(struct.unpack_from("<I", answer, 3)[0]):
        at += 1 + 16 + 8
        length = struct.unpack_from("<I", answer, at)[0]
        names.append(answer[at + 4 : at + 4 + length].decode())
        at += 4 + length + 8 + 8 + 1 + 4 + 8
        at += 4 + struct.unpack_from("<I", answer, at)[0]
        for _ in range(struct.unpack_from("<I", answer, at)[0]):
            raise harness.Failed("these files have no attributes")
        at += 4
    return names, not answer[at]


def _socket_page(larder, place):
    """Milliseconds until a page was there, in as many answers as it takes."""
    path = json.loads((larder.home / "state" / "agent.pid").read_text())["address"]
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(path)
        names, after, took = [], _name(place), 0.0
        while len(names) < PAGE:
            question = _list("/many", after)
            started = time.monotonic()
            answer = _exchange(agent, question)
            took += time.monotonic() - started
            some, last = _entries(answer)
            names += some
            after = some[-1].rsplit("/", 1)[1]
            if last:
                break
    wanted = [f"/many/{_name(place + 1 + number)}" for number in range(PAGE)]
    if names[:PAGE] != wanted[: len(names)]:
        raise harness.Failed(f"the page after {place} is not what was put")
    return took * 1000


def _command_page(larder, place):
    run = larder.command("ls", "--limit", PAGE, "--after", _name(place), "/many", keep_output=True)
    wanted = "".join(f"{_name(place + 1 + number)}\n" for number in range(PAGE))
    if run.output.decode() != wanted:
        raise harness.Failed(f"the page after {place} is not what was put")
    return run.seconds * 1000


def _find(larder, entries):
    run = larder.command("find", "/", "--name", "*777*.txt", keep_output=True)
    wanted = sum("777" in _name(number) for number in range(entries))
    if run.output.count(b"\n") != wanted:
        raise harness.Failed(f"found {run.output.count(b'\n')}, not {wanted}")
    return run.seconds


def _percentiles(figure, times, bound):
    times = sorted(times)
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    detail = {"p50_ms": p50, "p99_ms": p99, "max_ms": times[-1]}
    return [Row(f"{figure}, p99", f"{p99:.2f} ms (p50 {p50:.2f})", "", p99, "ms", bound, bound, "lower", detail)]
