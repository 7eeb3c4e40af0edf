"""A Waypost of its own, in a folder of its own, on free ports of 127.0.0.1."""

import contextlib
import os
import re
import socket
import subprocess
import time
import urllib.request

SITE = """\
name  = "Old"
hosts = ["old.example", "*.old.example", "127.0.0.1"]
home  = "https://www.new.example/"
https = "{https}"
{hsts}
[[rule]]
from = "/mail/{{*rest}}"
serve = "new"
path = "/{{rest}}"
"""

GATEWAY = """\
[listen]
http    = ["127.0.0.1:0{http}"]
https   = ["127.0.0.1:0"]
admin   = "127.0.0.1:0"
threads = {threads}
{listen}

[process]
directory = "control"
drain     = 100

[platforms.new]
origins = ["http://127.0.0.1:{origin}"]
host    = "www.new.example"

[limits]
{limits}
"""

# A gateway that takes longer to start is broken.
PATIENCE = 60


class Gateway:
    """The process, from `with` to its end."""

    def __init__(self, binary, folder, threads=2, limits="", origin=9, https="allow", hsts="", listen="",
                 http=""):
        self.binary, self.folder = binary, folder
        (folder / "routes").mkdir(parents=True, exist_ok=True)
        (folder / "certs").mkdir(exist_ok=True)
        (folder / "routes/old.toml").write_text(SITE.format(https=https, hsts=hsts))
        # 10,000 mappings: a sitemap of about a megabyte.
        rows = "".join(f"/news/{n}.html,https://www.new.example/news/{n:040}/\n" for n in range(10_000))
        (folder / "routes/old.csv").write_text(f"old,new\n{rows}")
        (folder / "gateway.toml").write_text(GATEWAY.format(
            threads=threads, limits=limits, origin=origin, listen=listen, http=http))

    def __enter__(self):
        self.log = open(self.folder / "log", "w+")
        start = time.monotonic()
        self.process = subprocess.Popen(
            [self.binary, "serve", "--config", self.folder / "gateway.toml"],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
        )
        try:
            self.http, self.https, self.admin = self.ports(start)
            self.wait(lambda: self.get("/readyz") is not None, start)
        except BaseException:
            self.stop()
            raise
        self.started_in = time.monotonic() - start
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def ports(self, start):
        """What it printed that it listens on."""
        def found():
            text = (self.folder / "log").read_text()
            ports = [re.search(rf"^\s*{name}\s+\S*:(\d+)", text, re.M) for name in ("http", "https", "admin")]
            return all(ports) and [int(port[1]) for port in ports]
        return self.wait(found, start)

    def wait(self, found, start):
        while not (result := found()):
            if self.process.poll() is not None or time.monotonic() - start > PATIENCE:
                raise ChildProcessError(f"the gateway does not start: {(self.folder / 'log').read_text()[-500:]}")
            time.sleep(0.002)
        return result

    def get(self, path):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10).read().decode()
        return None

    def metric(self, name):
        """The sum of the series whose name and labels begin like this."""
        lines = (line.rpartition(" ") for line in (self.get("/metrics") or "").splitlines())
        return sum(float(value) for series, _, value in lines if series.startswith(name))

    def memory(self):
        """Bytes of its own (PSS)."""
        with open(f"/proc/{self.process.pid}/smaps_rollup") as rollup:
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))

    def sockets(self, port):
        """How many TCP sockets of a port there are on its side, by state."""
        count = {}
        with open("/proc/net/tcp") as table:
            next(table)
            for line in table:
                fields = line.split(None, 4)
                if int(fields[1][9:], 16) == port:
                    state = STATES.get(int(fields[3], 16), "other")
                    count[state] = count.get(state, 0) + 1
        return count

    def connect(self, port=None):
        return socket.create_connection(("127.0.0.1", port or self.http), timeout=PATIENCE)


STATES = {1: "established", 3: "syn_recv", 4: "fin_wait1", 5: "fin_wait2", 6: "time_wait", 8: "close_wait",
          9: "last_ack", 10: "listen", 11: "closing"}
