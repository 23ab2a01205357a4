"""Crowds at the Redis door: fifty thousand connections in a minute from ten addresses, and a million subscriptions asked for. What
it costs the node in memory, and what somebody notices who only wants a value."""

import os
import socket
import struct
import threading
import time

import harness
from figures import Row
from peers import Peer, command

CONNECTS = 50_000
SECONDS = 60
ADDRESSES = [f"127.0.0.{n}" for n in range(2, 12)]
CHANNELS = 1_000_000
LISTENERS = 20
MIB = harness.MIB


def measure(long):
    peer = Peer("larder")
    try:
        return connects(peer) + subscriptions(peer)
    finally:
        peer.close()


class Bystander(threading.Thread):
    """Asks for a value a hundred times a second and notes how long each answer takes."""

    def __init__(self, peer):
        super().__init__(daemon=True)
        self.connection = peer.connect()
        self.connection.ask("SET", "bystander", "v" * 256, "EX", 3600)
        self.took, self.is_over = [], False
        self.start()

    def run(self):
        while not self.is_over:
            began = time.perf_counter()
            self.connection.ask("GET", "bystander")
            self.took.append(time.perf_counter() - began)
            time.sleep(0.01)

    def p99_ms(self):
        self.is_over = True
        self.join()
        self.connection.close()
        return sorted(self.took)[len(self.took) * 99 // 100] * 1000


def connects(peer):
    alone = Bystander(peer)
    time.sleep(3)
    alone_ms = alone.p99_ms()
    before, files = peer.rss(), open_files(peer)
    bystander = Bystander(peer)
    began = time.monotonic()
    for n in range(CONNECTS):
        late = began + n * SECONDS / CONNECTS - time.monotonic()
        if late > 0:
            time.sleep(late)
        once(peer.port, ADDRESSES[n % len(ADDRESSES)], n % 4)
    took = time.monotonic() - began
    p99_ms = bystander.p99_ms()
    time.sleep(2)
    more, left = (peer.rss() - before) / MIB, open_files(peer) - files
    if left > 0:
        raise harness.Failed(f"{left} descriptors are left after all connections have ended")
    text = f"{CONNECTS / took * 60:,.0f} a minute"
    return [
        Row("50,000 connects in a minute: GET p99 of another", text, f"alone {alone_ms:.2f} ms", p99_ms, "ms", better="lower"),
        Row("50,000 connects in a minute: resident, more after", text, "", more, "MiB", 32, 8, "lower"),
    ]


def once(port, address, manner):
    """One connection: answered and closed, silent, ended in the middle of a request, or cut off."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind((address, 0))
        connection.connect(("127.0.0.1", port))
        if manner == 0:
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            if connection.recv(16) != b"+PONG\r\n":
                raise harness.Failed("a connection was not answered")
        elif manner == 1:
            connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$900\r\nbegun")
        elif manner == 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def subscriptions(peer):
    before = peer.rss()
    bystander = Bystander(peer)
    listeners, taken, refused = [], 0, 0
    for at in range(LISTENERS):
        listener = peer.connect()
        listeners.append(listener)
        for begin in range(0, CHANNELS // LISTENERS, 1000):
            names = range(begin, begin + 1000)
            listener.socket.sendall(b"".join(command("SUBSCRIBE", f"channel:{at}:{n}") for n in names))
            for _ in names:
                line = listener.reader.readline()
                if line.startswith(b"-"):
                    refused += 1
                    continue
                # *3, "subscribe", the channel, how many.
                for _ in range(5):
                    listener.reader.readline()
                taken += 1
    p99_ms = bystander.p99_ms()
    held = (peer.rss() - before) / MIB
    for listener in listeners:
        listener.close()
    if taken + refused != CHANNELS or refused == 0:
        raise harness.Failed(f"{taken} taken and {refused} refused of {CHANNELS}")
    text = f"{taken:,} taken, {refused:,} refused"
    return [
        Row("a million subscriptions asked for: resident", text, "", held, "MiB", 200, 100, "lower"),
        Row("a million subscriptions asked for: GET p99 of another", text, "", p99_ms, "ms", better="lower"),
    ]


def open_files(peer):
    return len(os.listdir(f"/proc/{peer.pid}/fd"))
