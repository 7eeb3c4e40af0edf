"""A flood of requests for one site from addresses that each come once, named by the PROXY protocol, while a normal client asks
for another site and one of the flooded site's clients asks all the time."""

import ipaddress
import multiprocessing
import os
import socket
import struct
import time

from gateway import Gateway
from watch import REQUEST, Probe

# What the flooded site admits of each client in an hour: so few that every address is remembered for minutes.
EACH, HOUR = 20, 3600
SITE = f"""\
name  = "Flooded"
hosts = ["flooded.example"]
home  = "https://www.new.example/"

[[rule]]
from = "/{{*rest}}"
to   = "https://www.new.example/{{rest}}"

[[guard.rate]]
name     = "each"
requests = {EACH}
seconds  = {HOUR}

[[guard.rate]]
name     = "all"
per      = "site"
requests = 500
"""

ASKED = b"GET /a.html HTTP/1.1\r\nHost: flooded.example\r\n\r\n"
FLOODERS = 2

# Connections that a flooder has open at a time.
BATCH = 100

# The system tells a connection's end at once, and keeps no port for it.
ABORT = struct.pack("ii", 1, 0)


def flood(binary, folder, count):
    """Figures: seconds, answers by status, bytes of memory it took, clients remembered, the probe's times, and of the client
    that asks all the time the seconds, the requests and how many were admitted."""
    gateway = Gateway(binary, folder, listen='trusted-proxies = ["127.0.0.0/8"]', http=" proxy")
    (folder / "routes/flooded.toml").write_text(SITE)
    with gateway:
        # Buffers of its threads are not the flood's cost.
        run(gateway.http, 0, BATCH, multiprocessing.SimpleQueue())
        time.sleep(0.5)
        before, most_memory, most_entries = gateway.memory(), 0, 0
        results = multiprocessing.SimpleQueue()
        over, greed = multiprocessing.Event(), multiprocessing.SimpleQueue()
        share = count // FLOODERS
        flooders = [
            multiprocessing.Process(target=run, args=(gateway.http, 1000 + number * share, share, results), daemon=True)
            for number in range(FLOODERS)
        ]
        greedy = multiprocessing.Process(target=ask_on, args=(gateway.http, over, greed), daemon=True)
        normal = proxied("198.51.100.2") + REQUEST
        with Probe(gateway.http, normal) as probe:
            start = time.monotonic()
            for process in (greedy, *flooders):
                process.start()
            while any(flooder.is_alive() for flooder in flooders):
                time.sleep(0.2)
                most_memory = max(most_memory, gateway.memory() - before)
                most_entries = max(most_entries, gateway.metric("waypost_guard_rate_entries"))
            seconds = time.monotonic() - start
            over.set()
        answers = {}
        for _ in flooders:
            for status, number in results.get().items():
                answers[status] = answers.get(status, 0) + number
        refused = gateway.metric('waypost_guard_refused_total{reason="rate"}')
        figures = {
            "seconds": seconds,
            "answers": answers,
            "refused": int(refused),
            "memory": most_memory,
            "entries": int(most_entries),
            "probe": probe.figures(),
            "greedy": greed.get(),
        }
        greedy.join()
        return figures


def proxied(client):
    return f"PROXY TCP4 {client} 127.0.0.1 12345 80\r\n".encode()


def run(port, first, count, results):
    """A connection and a request from each of so many addresses; the answers by status."""
    os.nice(19)
    answers = {}
    for start in range(first, first + count, BATCH):
        open_now = []
        for number in range(start, min(start + BATCH, first + count)):
            connection = socket.socket()
            connection.settimeout(60)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            connection.connect(("127.0.0.1", port))
            client = str(ipaddress.IPv4Address(0x0A00_0000 + number))
            connection.sendall(proxied(client) + ASKED)
            open_now.append(connection)
        for connection in open_now:
            status = connection.recv(4096)[9:12].decode()
            answers[status] = answers.get(status, 0) + 1
            connection.close()
    results.put(answers)


def ask_on(port, over, results):
    """One client that asks all the time: for how many seconds, how often, and how often it was admitted."""
    os.nice(19)
    start, asked, admitted, connection = time.monotonic(), 0, 0, None
    while not over.is_set():
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.sendall(proxied("192.0.2.1"))
            answers = connection.makefile("rb")
        connection.sendall(ASKED)
        asked += 1
        admitted += answers.readline().startswith(b"HTTP/1.1 301")
        length, closes = 0, False
        while (line := answers.readline()) not in (b"\r\n", b""):
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
            closes |= name == b"connection" and value.strip() == b"close"
        answers.read(length)
        if closes:
            connection.close()
            connection = None
    results.put((time.monotonic() - start, asked, admitted))
