"""Caddy, from PyPI."""

import json
import os
import subprocess

from .base import Peer


class Caddy(Peer):
    NOTES = (
        "native JSON: a route per host with a `map` of its paths (it searches a map line by line, so none of all; "
        "as a Caddyfile it takes longer to load); a change is a new file and `caddy reload`"
    )

    def version(self):
        return "Caddy " + self.said("version").split()[0]

    def write(self):
        (self.folder / "caddy.json").write_text(self.config())

    def config(self):
        def route(host):
            numbers = self.table.of_host(host)
            return {
                "match": [{"host": [self.table.host(numbers[0])]}],
                "terminal": True,
                "handle": [
                    {
                        "handler": "map",
                        "source": "{http.request.uri.path}",
                        "destinations": ["{to}"],
                        "defaults": [f"https://www.new.example/h{host}/"],
                        "mappings": [{"input": self.table.old(n), "outputs": [self.table.new(n)]} for n in numbers],
                    },
                    {"handler": "static_response", "status_code": 301, "headers": {"Location": ["{to}"]}},
                ],
            }

        routes = [route(host) for host in range(self.table.hosts)]

        def server(use, **more):
            return {
                "listen": [f"127.0.0.1:{self.ports[use]}"],
                "automatic_https": {"disable": True},
                "routes": routes,
                **more,
            }

        return json.dumps(
            {
                "admin": {"listen": f"127.0.0.1:{self.ports['admin']}", "config": {"persist": False}},
                "apps": {
                    "tls": {"certificates": {"load_files": [{"certificate": str(self.cert), "key": str(self.key)}]}},
                    "http": {
                        "servers": {
                            "http": server("http", protocols=["h1"]),
                            "https": server("https", protocols=["h1", "h2"], tls_connection_policies=[{}]),
                        }
                    },
                },
            }
        )

    def environment(self):
        return {"XDG_DATA_HOME": str(self.folder / "data"), "XDG_CONFIG_HOME": str(self.folder / "config")}

    def command(self):
        return [self.binary, "run", "--config", self.folder / "caddy.json"]

    def file_of(self, _):
        return self.folder / "caddy.json", self.config()

    def reload(self, _):
        # Doesn't wait: the time until the change is live is measured, not the time until this ends.
        self.reloading = subprocess.Popen(
            ["taskset", "-c", "0", self.binary, "reload", "--config", self.folder / "caddy.json"],
            env={**os.environ, **self.environment()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
