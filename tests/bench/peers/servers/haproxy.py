"""haproxy, from Debian."""

import os
import re
import signal

from .base import Peer


class Haproxy(Peer):
    NOTES = (
        "map file looked up by `base,map_str`; a change is a new map file and SIGUSR2 to the master (its runtime API, "
        "`set map`, changes a line at once, but only in memory)"
    )

    def version(self):
        text = self.said("-vv")
        openssl = re.search(r"Running on (OpenSSL) version : OpenSSL (\S+)", text)
        version = re.search(r"version (\S+)", text).group(1)
        return f"haproxy {version} ({' '.join(openssl.groups())})"

    def write(self):
        (self.folder / "map").write_text(self.map())
        (self.folder / "haproxy.cfg").write_text(f"""
global
    nbthread 1
    maxconn 9000
    pidfile {self.folder}/pid
    ssl-default-bind-options ssl-min-ver TLSv1.2
    tune.ssl.cachesize 100000
    tune.ssl.lifetime 86400
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-request 10s
    timeout http-keep-alive 600s
frontend front
    bind 127.0.0.1:{self.ports["http"]} backlog 4096
    bind 127.0.0.1:{self.ports["https"]} backlog 4096 ssl crt {self.work}/both.pem alpn h2,http/1.1
    http-request set-var(txn.to) base,map_str({self.folder}/map)
    http-request redirect location %[var(txn.to)] code 301 if {{ var(txn.to) -m found }}
    http-request return status 404
""")

    def map(self):
        table = self.table
        return "".join(f"{table.host(n)}{table.old(n)} {table.new(n)}\n" for n in range(table.size))

    def command(self):
        return [self.binary, "-W", "-f", self.folder / "haproxy.cfg", "-p", self.folder / "pid"]

    def file_of(self, _):
        return self.folder / "map", self.map()

    def reload(self, pid):
        os.kill(pid, signal.SIGUSR2)
