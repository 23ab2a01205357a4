"""Larder itself: a home of its own, its node and agent started as a user would start them."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import harness


# Doors of a node that nobody named a port for follow the first.
DOORS = 4


def free_port():
    """A port that is free, as are those after it."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        if all(is_free(port + door) for door in range(DOORS)):
            return port


def is_free(port):
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


class Larder:
    """A running Larder in a new folder. Its pid files say which processes are its own."""

    binary = None  # Set once it is built.

    def __init__(self, name, home=None, flags=()):
        self.flags = [str(flag) for flag in flags]
        self.folder = Path(home) if home else harness.fresh(name)
        self.home = self.folder / "home"
        self.passphrase = self.folder / "passphrase"
        if not self.passphrase.exists():
            self.passphrase.write_text("a passphrase for measuring\n")
            self.passphrase.chmod(0o600)
        self.port = free_port()
        self.up()

    def command(self, *arguments, keep_output=False):
        return harness.run([self.binary, "--home", self.home, *arguments], keep_output=keep_output)

    def up(self):
        """Starts what is not running; returns what it took until everything answered."""
        return self.command("up", "--passphrase-file", self.passphrase, "--listen", f"127.0.0.1:{self.port}", *self.flags)

    def put(self, local, remote):
        return self.command("put", local, remote)

    def get(self, remote, local):
        return self.command("get", remote, local)

    def listed(self, remote):
        return self.command("ls", "-l", "-R", remote, keep_output=True)

    def status(self):
        return json.loads(self.command("status", "--json", keep_output=True).output)

    def node_pid(self):
        return self._pid("node")

    def agent_pid(self):
        return self._pid("agent")

    def _pid(self, name):
        return json.loads((self.home / "state" / f"{name}.pid").read_text())["pid"]

    def kill_node(self):
        """Ends the node as a power cut would end it, as far as a process can tell."""
        pid = self.node_pid()
        os.kill(pid, signal.SIGKILL)
# Until it is gone altogether: while threads of it are left, its lock and its port are held.
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.005)

    def down(self):
        return self.command("down")

    def close(self):
        self.down()
        harness.remove(self.folder)
