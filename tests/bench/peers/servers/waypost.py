"""Waypost itself."""

import os
import shutil
import subprocess

from .base import Peer


class Waypost(Peer):
    NOTES = "one site file and one CSV per host; watches its files"
    # As the peers: no log, no counts but metrics.
    TELLING = '\nformat = "off"\n\n[hits]\ndatabase = ""\n'

    def version(self):
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=os.path.dirname(__file__), stdout=subprocess.PIPE, text=True
        ).stdout.strip()
        return f"{super().version()} ({commit})"

    def write(self):
        routes, certs = self.folder / "routes", self.folder / "certs"
        routes.mkdir(exist_ok=True)
        certs.mkdir(exist_ok=True)
        gateway = self.folder / "gateway.toml"
        listen = "".join(f'{use} = ["127.0.0.1:{self.ports[use]}"]\n' for use in ("http", "https"))
        gateway.write_text(f'[listen]\n{listen}admin = "127.0.0.1:{self.ports["admin"]}"\n\n[log]\nlevel = "warn"')
        # As the peers: no end of requests, and time to count idle connections. Older builds have neither.
        config = self.said("config", "--config", gateway)
        with gateway.open("a") as file:
            file.write(self.TELLING if "[hits]" in config else "\n")
            if "[limits]" in config:
                file.write("\n[limits]\nrequests = 0\nidle-time = 600\n")
        shutil.copy(self.work / "both.pem", certs / "bench.pem")
        for host in range(self.table.hosts):
            first = self.table.of_host(host)[0]
            (routes / f"h{host}.toml").write_text(
                f'name = "Site {host}"\nhosts = ["{self.table.host(first)}"]\n'
                f'home = "https://www.new.example/h{host}/"\n'
            )
            (routes / f"h{host}.csv").write_text(self.csv(host))

    def environment(self):
        # Of the socket for upgrades.
        directory = self.folder / "run"
        directory.mkdir(mode=0o700, exist_ok=True)
        return {"RUNTIME_DIRECTORY": str(directory)}

    def csv(self, host):
        rows = "".join(f"{self.table.old(n)},{self.table.new(n)},301\n" for n in self.table.of_host(host))
        return f"old,new,status\n{rows}"

    def command(self):
        return [self.binary, "serve", "--config", self.folder / "gateway.toml"]

    def file_of(self, number):
        host = number // self.table.per_host
        return self.folder / "routes" / f"h{host}.csv", self.csv(host)


class TellingWaypost(Waypost):
    NOTES = "as above, with the access log (JSON) and the counts of hits in SQLite, as by default"
    TELLING = "\n"
