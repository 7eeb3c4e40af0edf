"""What is seen from outside while a gateway is under attack: a normal client's answers, and how long connections stay."""

import multiprocessing
import socket
import statistics
import threading
import time

INTERVAL = 0.05
REQUEST = b"GET /news/7.html HTTP/1.1\r\nHost: old.example\r\nConnection: close\r\n\r\n"


class Probe:
    """A normal client in a process of its own: every 50 ms a connection, a request, an answer."""

    def __init__(self, port, request=REQUEST):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=self.run, args=(port, request, theirs), daemon=True)

    def __enter__(self):
        self.process.start()
        self.times = []
        return self

    def __exit__(self, *_):
        self.pipe.send(None)
        self.times = self.pipe.recv()
        self.process.join()

    @staticmethod
    def run(port, request, pipe):
        times, next_time = [], time.monotonic()
        while not pipe.poll(max(0, next_time - time.monotonic())):
            start = time.monotonic()
            answered = ask(port, request)
            times.append(time.monotonic() - start if answered else float("inf"))
            next_time = max(next_time + INTERVAL, start)
        pipe.send(times)

    def figures(self):
        """(number, median, 99th percentile, longest) in milliseconds; infinite where there was no answer."""
        times = sorted(1000 * time for time in self.times)
        return len(times), statistics.median(times), times[int(len(times) * 0.99)], times[-1]


def ask(port, request):
    """Whether a redirect is answered."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request)
            return connection.recv(4096).startswith(b"HTTP/1.1 301")
    except OSError:
        return False


class Ages:
    """How long each connection to a port stays, seen from the server's side (/proc/net/tcp).

    A connection counts as long as it costs anything: until the server has closed it and the client's system has
    everything that was sent to it.
    """

    def __init__(self, port):
        self.port = port
        self.open, self.gone = {}, []
        self.looked = 0
        self.most = self.count = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def run(self):
        while not self.over.wait(0.5):
            self.look()

    def look(self):
        """Notes the connections there are."""
        before, now, count = self.looked, time.monotonic(), 0
        self.looked = now
        with open("/proc/net/tcp") as table:
            next(table)
            for line in table:
                fields = line.split(None, 4)
                if int(fields[1][9:], 16) == self.port and fields[3] in COSTLY:
                    first, last, _ = self.open.get(fields[2], (now, now, ""))
                    # Another one from the same port has a gap before it.
                    if last < before:
                        self.gone.append(self.open[fields[2]])
                        first = now
                    self.open[fields[2]] = (first, now, fields[3])
                    count += 1
        self.count, self.most = count, max(self.most, count)

    def all(self):
        return [*self.open.values(), *self.gone]

    def longest(self):
        return max((last - first for first, last, _ in self.all()), default=0)

    def last_states(self, older):
        """In which states those were last seen that stayed longer than this many seconds."""
        states = {}
        for first, last, state in self.all():
            if last - first > older:
                states[COSTLY[state]] = states.get(COSTLY[state], 0) + 1
        return states


# States of Linux in which a socket holds memory. A peer that keeps its half open (FIN_WAIT2) holds none of ours.
COSTLY = {"01": "established", "04": "fin_wait1", "08": "close_wait", "09": "last_ack", "0B": "closing"}
