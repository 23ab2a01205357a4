"""Who stood still, the machine or the server? A process that runs before all others (real-time priority, where that is allowed)
wakes every few milliseconds, notes how late it was woken (the machine was away), then sends the server a PING and notes how long
its answer took.

Run as a program with a port: until standard input ends, then prints a line of JSON: for each second since the start, the largest
of both in milliseconds."""

import json
import os
import select
import socket
import subprocess
import sys
import time

# Seconds between two looks: a stall that nobody meets in this time is none that moves a percentile of a minute.
EVERY = 0.005


class Stalls:
    """Watches a server until it is asked what it saw."""

    def __init__(self, port):
        command = [sys.executable, __file__, str(port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seen(self):
        """`{"first": bool, "machine_ms": [...], "server_ms": [...]}`; `first`: it did run before all others."""
        output, _ = self.process.communicate()
        return json.loads(output)


def watch(port):
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
        first = True
    except OSError:
        first = False
    machine, server = [], []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = due = time.monotonic()
        while not select.select([sys.stdin], [], [], 0)[0]:
            due = max(due + EVERY, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))
            woken = time.monotonic()
            connection.sendall(b"PING\r\n")
            if not connection.recv(64):
                break
            answered = time.monotonic()
            # A long wait counts for the second in which it ended.
            while len(machine) <= answered - begin:
                machine.append(0.0)
                server.append(0.0)
            machine[-1] = max(machine[-1], round((woken - due) * 1000, 2))
            server[-1] = max(server[-1], round((answered - woken) * 1000, 2))
    print(json.dumps({"first": first, "machine_ms": machine, "server_ms": server}))


if __name__ == "__main__":
    watch(int(sys.argv[1]))
