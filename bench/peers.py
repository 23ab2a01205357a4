"""Servers that keep small values: Redis, memcached, and one that answers +OK to everything, as the floor. Children of this
program with nothing on disk, in a session of their own as a service has; never services."""

import socket
import subprocess
import time

import harness
from larder import Larder, free_port


class Peer:
    """A running server. `url` is what `larder bench` is given, `pid` whose memory is counted."""

    # More than any load here: protection is on, and refuses nobody.
    LIMITS = ["--set", "redis_rate_for=all", "--set", "http_listen=127.0.0.1:0", "--set", "redis_listen=127.0.0.1:0"] + [
        word for name in ("redis_rate", "redis_rate_total", "redis_rate_identity") for word in ("--set", f"{name}=1000000/10000000")
    ]

    def __init__(self, kind, *more):
        self.kind = kind
        self.larder = self.process = None
        if kind == "larder":
            self.larder = Larder(f"peer-{free_port()}", flags=[*self.LIMITS, *more])
            doors = {door["door"]: door["address"] for door in self.larder.status()["exposed"]}
            self.port = int(doors["redis"].rsplit(":", 1)[1])
            self.pid = self.larder.node_pid()
        else:
            self.port = free_port()
            command = {
                "redis": ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                "memcached": ["memcached", "-p", self.port, "-l", "127.0.0.1", "-U", 0, "-t", 2, "-m", 4096, "-c", 20000, "-u", "root"],
                "floor": [floor_binary(), self.port],
            }[kind]
            command = [str(word) for word in [*command, *more]]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            self.pid = self.process.pid
        self.url = f"{'memcached' if kind == 'memcached' else 'redis'}://127.0.0.1:{self.port}"
        self.wait()

    def wait(self):
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise harness.Failed(f"{self.kind} does not answer")

    def rss(self):
        """Resident memory, in bytes."""
        return harness.resident(self.pid)

    def connect(self):
        return Connection(self.port)

    def close(self):
        if self.larder:
            self.larder.close()
        else:
            self.process.terminate()
            self.process.wait()


class Connection:
    """A connection that says what it is told, in the Redis protocol."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def ask(self, *words):
        self.socket.sendall(command(*words))
        return self.answer()

    def answer(self):
        line = self.reader.readline()
        if line[:1] in (b"-", b""):
            raise harness.Failed(f"the server says {line!r}")
        if line[:1] == b"$":
            length = int(line[1:])
            return None if length < 0 else self.reader.read(length + 2)[:-2]
        return int(line[1:]) if line[:1] == b":" else line[1:-2]

    def close(self):
        self.reader.close()
        self.socket.close()


def command(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def floor_binary():
    if not floor_binary.path:
        folder = harness.build("-p", "larder-load", "--example", "floor")
        floor_binary.path = folder / "examples" / "floor"
    return floor_binary.path


floor_binary.path = None
