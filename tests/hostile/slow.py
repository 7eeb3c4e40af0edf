"""Slow clients, while a normal one keeps asking: slowhttptest, TLS handshakes that stall, HTTP/2 that is not read."""

import contextlib
import multiprocessing
import resource
import selectors
import socket
import subprocess
import threading
import time

from gateway import Gateway
from watch import Ages, Probe

# A client's first bytes of a TLS 1.3 handshake: half a ClientHello.
HALF_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(100)

SLOW_READ = ["-X", "-w", "1", "-y", "2", "-n", "3", "-z", "8"]

# Name: what slowhttptest is told, and what it asks for.
ATTACKS = {
    "slow headers": (["-H", "-i", "3", "-x", "24"], "/"),
    "slow body": (["-B", "-i", "3", "-x", "24", "-s", "8192"], "/"),
    "slow body, proxied": (["-B", "-i", "3", "-x", "24", "-s", "8192"], "/mail/in"),
    "slow read, redirect": (SLOW_READ, "/news/1.html"),
    "slow read, page": ([*SLOW_READ, "-k", "3"], "/no-such-page"),
    "slow read, sitemap": (SLOW_READ, "/sitemap.xml"),
    "slow read, proxied": (SLOW_READ, "/mail/large"),
}

# Bytes of what the origin has.
LARGE = 300_000

# After so many seconds whatever is still there is there to stay.
PATIENCE = 45


def slowhttptest(binary, folder, name, count, rate):
    attack, target = ATTACKS[name]

    def start(gateway):
        command = ["nice", "-n", "19", "slowhttptest", *attack, "-c", count, "-r", rate, "-l", PATIENCE]
        command += ["-u", f"http://127.0.0.1:{gateway.http}{target}"]
        return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                stdout=gateway.log, stderr=gateway.log)

    with origin() as port:
        return under_attack(binary, folder, count, start, lambda gateway: gateway.http, port)


def stalled_handshakes(binary, folder, count, rate, first):
    """Connections to the HTTPS port that send `first` and then nothing."""
    def start(gateway):
        process = multiprocessing.Process(target=stall, args=(gateway.https, count, rate, first), daemon=True)
        process.start()
        return process

    return under_attack(binary, folder, count, start, lambda gateway: gateway.https)


def unread_streams(binary, folder, count, rate):
    """Connections of HTTP/2 that ask for as many pages as they may, grant every window, and read nothing."""
    def start(gateway):
        arguments = (gateway.http, count, rate, many_streams("/no-such-page"), 4096)
        process = multiprocessing.Process(target=stall, args=arguments, daemon=True)
        process.start()
        return process

    return under_attack(binary, folder, count, start, lambda gateway: gateway.http, listen="h2c = true")


def many_streams(path):
    """The preface, windows of 16 MB, and 100 requests (RFC 9113; RFC 7541, 6.2.2)."""
    def frame(kind, flags, stream, payload):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    window = (1 << 24).to_bytes(4, "big")
    fields = ((":method", "GET"), (":scheme", "http"), (":authority", "old.example"), (":path", path))
    literal = lambda text: bytes([len(text)]) + text.encode()
    block = b"".join(b"\0" + literal(name) + literal(value) for name, value in fields)
    begun = frame(4, 0, 0, b"\0\4" + window) + frame(8, 0, 0, window)
    requests = (frame(1, 5, 2 * number + 1, block) for number in range(100))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + begun + b"".join(requests)


def under_attack(binary, folder, count, start, port_of, origin_port=9, listen=""):
    """Figures of an attack: how many connections there were at a time, how long the longest stayed, the probe's times in
    milliseconds, the memory it took."""
    with Gateway(binary, folder, origin=origin_port, listen=listen) as gateway:
        before, most_memory = gateway.memory(), 0
        met_before = limits(gateway)
        with Probe(gateway.http) as probe, Ages(port_of(gateway)) as ages:
            attack, begun = start(gateway), time.monotonic()
            try:
                while time.monotonic() - begun < PATIENCE:
                    time.sleep(0.5)
                    most_memory = max(most_memory, gateway.memory() - before)
                    met = sum(limits(gateway).values()) - sum(met_before.values())
                    if time.monotonic() - begun > 5 and ages.count <= 1 and met >= count * 0.99:
                        break
            finally:
                attack.kill()
                attack.wait() if isinstance(attack, subprocess.Popen) else attack.join()
        met = {name: value - met_before.get(name, 0) for name, value in limits(gateway).items()}
        return {
            "most": ages.most,
            "longest": ages.longest(),
            "left": ages.last_states(15),
            "probe": probe.figures(),
            "memory": most_memory,
            "met": {name: int(value) for name, value in met.items() if value},
        }


def limits(gateway):
    """How often each limit was met."""
    lines = (gateway.get("/metrics") or "").splitlines()
    series = (line.split('"') for line in lines if line.startswith("waypost_limits_total"))
    return {parts[1]: float(parts[2].split()[-1]) for parts in series}


def stall(port, count, rate, first, buffer=None):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections, start = [], time.monotonic()
    for number in range(count):
        connection = socket.socket()
        connection.settimeout(60)
        if buffer:
            # What is not read stays with the other side.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        connection.connect(("127.0.0.1", port))
        connection.sendall(first)
        connections.append(connection)
        time.sleep(max(0, start + number / rate - time.monotonic()))
    threading.Event().wait()


@contextlib.contextmanager
def origin():
    """A platform, in a process of its own: POSTs are taken in and never answered, GETs get LARGE bytes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    process = multiprocessing.Process(target=serve, args=(listener,), daemon=True)
    process.start()
    port = listener.getsockname()[1]
    listener.close()
    try:
        yield port
    finally:
        process.kill()
        process.join()


def serve(listener):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n".encode() + bytes(LARGE)
    poll, left = selectors.DefaultSelector(), {}
    listener.setblocking(False)
    poll.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in poll.select():
            connection = key.fileobj
            if connection is listener:
                with contextlib.suppress(OSError):
                    accepted, _ = listener.accept()
                    accepted.setblocking(False)
                    poll.register(accepted, selectors.EVENT_READ)
                continue
            try:
                if connection in left:
                    left[connection] = left[connection][connection.send(left[connection]):]
                    if not left[connection]:
                        del left[connection]
                        poll.modify(connection, selectors.EVENT_READ)
                    continue
                read = connection.recv(65536)
                if not read:
                    raise ConnectionResetError
                if read.startswith(b"GET "):
                    left[connection] = memoryview(answer)
                    poll.modify(connection, selectors.EVENT_WRITE)
            except OSError:
                left.pop(connection, None)
                poll.unregister(connection)
                connection.close()
