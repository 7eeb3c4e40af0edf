"""What an idle keep-alive connection costs."""

import contextlib
import multiprocessing
import resource
import socket
import ssl
import threading
import time

from gateway import Gateway

REQUEST = b"GET /news/7.html HTTP/1.1\r\nHost: old.example\r\n\r\n"
LIMITS = "idle-time = 3600\nconnections-per-client = 0"

# Of Linux; Python has no name for it.
IP_BIND_ADDRESS_NO_PORT = 24

# Files that a process needs besides its connections. The gateway keeps a tenth of what it may have.
SPARE = 500


def per_process():
    """Connections that one gateway can hold under the limit of open files here."""
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[1] * 9 // 10 - SPARE, 1_000_000)


def cost(binary, folder, count, tls):
    """(connections held, bytes of memory each) of one gateway."""
    count = min(count, per_process())
    with Gateway(binary, folder, limits=LIMITS) as gateway:
        port = gateway.https if tls else gateway.http
        # The buffers of its threads, and the certificate, are not the connections' cost.
        with held(port, 64, tls):
            pass
        time.sleep(0.5)
        before = gateway.memory()
        with held(port, count, tls):
            is_held(gateway, count)
            return count, (gateway.memory() - before) / count


def node(binary, folder, count):
    """(connections held at once, bytes of memory of all gateways): one gateway's limit of open files may be lower than what
    a node should hold, so as many as are needed stand side by side."""
    with contextlib.ExitStack() as stack:
        gateways, left = [], count
        while left > 0:
            gateway = stack.enter_context(Gateway(binary, folder / str(len(gateways)), threads=1, limits=LIMITS))
            share = min(left, per_process())
            stack.enter_context(held(gateway.http, share, False))
            gateways.append((gateway, share))
            left -= share
        for gateway, share in gateways:
            is_held(gateway, share)
            with gateway.connect() as connection:
                connection.sendall(REQUEST)
                assert connection.recv(4096).startswith(b"HTTP/1.1 301")
        return len(gateways), sum(gateway.memory() for gateway, _ in gateways)


def is_held(gateway, count):
    open_now = gateway.metric("waypost_connections_open")
    if not count <= open_now <= count + 2:
        raise ChildProcessError(f"{open_now:.0f} connections are open, not {count}")


@contextlib.contextmanager
def held(port, count, tls):
    """That many idle connections, of another process."""
    pipe, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=hold, args=(port, count, tls, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        opened = pipe.recv()
        if opened != count:
            raise ChildProcessError(f"only {opened} of {count} connections could be opened")
        yield
    finally:
        process.kill()
        process.join()


def hold(port, count, tls, pipe):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    connections = []
    with contextlib.suppress(OSError):
        for number in range(count):
            connection = socket.socket()
            connection.settimeout(60)
            # The ports of one address are not enough for many; and without this, they would be nobody else's either.
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((f"127.0.1.{1 + number // 10_000}", 0))
            connection.connect(("127.0.0.1", port))
            if context:
                connection = context.wrap_socket(connection, server_hostname="old.example")
            connection.sendall(REQUEST)
            if not connection.recv(4096).startswith(b"HTTP/1.1 301"):
                break
            connections.append(connection)
    pipe.send(len(connections))
    threading.Event().wait()
