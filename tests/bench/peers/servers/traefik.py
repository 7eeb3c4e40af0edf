"""Traefik, from PyPI."""

import json
import re

from .base import Peer


class Traefik(Peer):
    NOTES = (
        "a router per host whose chain has a `redirectRegex` per URL, one file per host in a folder that it watches "
        "(it has no exact map)"
    )

    def version(self):
        return "Traefik " + re.search(r"Version:\s+(\S+)", self.said("version")).group(1)

    def write(self):
        dynamic = self.folder / "dynamic"
        dynamic.mkdir(exist_ok=True)
        for old in dynamic.iterdir():
            old.unlink()
        (self.folder / "traefik.yml").write_text(f"""
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
log: {{level: ERROR}}
entryPoints:
  http: {{address: "127.0.0.1:{self.ports["http"]}"}}
  https: {{address: "127.0.0.1:{self.ports["https"]}", http: {{tls: {{}}}}}}
providers:
  file: {{directory: "{dynamic}", watch: true}}
""")
        (dynamic / "tls.yml").write_text(
            f"tls: {{stores: {{default: {{defaultCertificate: {{certFile: {self.cert}, keyFile: {self.key}}}}}}}}}\n"
        )
        for host in range(self.table.hosts):
            (dynamic / f"h{host}.yml").write_text(self.of_host(host))

    def of_host(self, host):
        numbers = self.table.of_host(host)
        name = self.table.host(numbers[0])

        def middleware(number):
            regex = f"^https?://{re.escape(name)}{re.escape(self.table.old(number))}$"
            return {"redirectRegex": {"permanent": True, "regex": regex, "replacement": self.table.new(number)}}

        middlewares = {f"r{n}": middleware(n) for n in numbers}
        router = {"rule": f"Host(`{name}`)", "service": "noop@internal", "middlewares": [f"r{n}" for n in numbers]}
        # JSON is YAML.
        return json.dumps({"http": {"routers": {f"h{host}": router}, "middlewares": middlewares}})

    def command(self):
        return [self.binary, f"--configFile={self.folder}/traefik.yml"]

    def file_of(self, number):
        host = number // self.table.per_host
        return self.folder / "dynamic" / f"h{host}.yml", self.of_host(host)
