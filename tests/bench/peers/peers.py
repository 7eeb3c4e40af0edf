"""The servers: how each is configured, started and told of a change.

Each has the configuration that its manual advises for many redirects, one worker, no access log, keep-alive without a limit of
requests, TLS session resumption, and nothing that Waypost hasn't.
"""

import json
import os
import re
import signal
import socket
import subprocess


class Table:
    """The redirects: paths as content systems made them, evenly over the hosts."""

    DOMAIN = "bench.example"

    def __init__(self, size, hosts):
        self.hosts, self.per_host = hosts, max(1, size // hosts)
        self.size = self.hosts * self.per_host
        self.changed = {}

    def host(self, number):
        return f"h{number // self.per_host}.{self.DOMAIN}"

    def old(self, number):
        return (f"/art/20{number % 19:02}/{number % 12 + 1}/{number % 28 + 1}/art_{number % 7919}_{number}.html")

    def new(self, number):
        version = self.changed.get(number, "")
        return f"https://www.new.example/h{number // self.per_host}/c{number % 97}/article-{number}{version}.html"

    def change(self, number, version):
        self.changed[number] = f"-v{version}"

    def of_host(self, host):
        return range(host * self.per_host, (host + 1) * self.per_host)


class Peer:
    """What they have in common. A change is prepared as `pending`, then moved over the file it replaces: at once."""

    NOTES = []

    def __init__(self, name, binary, work):
        self.name, self.binary, self.work, self.folder = name, binary, work, work / name
        self.ports = {}
        sockets = []
        for use in ("http", "https", "admin"):
            # All at once, so that they differ.
            sockets.append(socket.create_server(("127.0.0.1", 0)))
            self.ports[use] = sockets[-1].getsockname()[1]
        for each in sockets:
            each.close()
        self.folder.mkdir(parents=True)

    def configure(self, table):
        self.table = table
        (self.folder / "log").unlink(missing_ok=True)
        self.write()

    def environment(self):
        return {}

    def version(self):
        return self.said("--version").splitlines()[0].strip()

    def said(self, *arguments):
        run = subprocess.run([self.binary, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return run.stdout.strip()

    def prepare_change(self, number):
        """Writes what the changed file will be, beside it."""
        file, text = self.file_of(number)
        self.changed_file, self.pending = file, self.work / f"{self.name}.pending"
        self.pending.write_text(text)

    def change(self, pid):
        self.pending.replace(self.changed_file)
        self.reload(pid)

    def reload(self, pid):
        """Tells the server, by the id of its first process, if it doesn't watch its files."""

    @property
    def key(self):
        return self.work / "key.pem"

    @property
    def cert(self):
        return self.work / "cert.pem"


class Waypost(Peer):
    NOTES = ["one site file and one CSV per host; watches its files"]

    def version(self):
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=os.path.dirname(__file__), stdout=subprocess.PIPE,
                                text=True).stdout.strip()
        return f"{super().version()} ({commit})"

    def write(self):
        routes, certs = self.folder / "routes", self.folder / "certs"
        routes.mkdir(exist_ok=True)
        certs.mkdir(exist_ok=True)
        # Also a binary that doesn't serve HTTPS yet takes the key.
        (self.folder / "gateway.toml").write_text(
            f'[listen]\nhttp = ["127.0.0.1:{self.ports["http"]}"]\nhttps = ["127.0.0.1:{self.ports["https"]}"]\n'
            f'admin = "127.0.0.1:{self.ports["admin"]}"\n\n[log]\nlevel = "warn"\n')
        (certs / "bench.pem").write_text((self.work / "both.pem").read_text())
        for host in range(self.table.hosts):
            first = self.table.of_host(host)[0]
            (routes / f"h{host}.toml").write_text(
                f'name = "Site {host}"\nhosts = ["{self.table.host(first)}"]\nhome = "https://www.new.example/h{host}/"\n')
            (routes / f"h{host}.csv").write_text(self.csv(host))

    def csv(self, host):
        rows = "".join(f"{self.table.old(n)},{self.table.new(n)},301\n" for n in self.table.of_host(host))
        return f"old,new,status\n{rows}"

    def command(self):
        return [self.binary, "serve", "--config", self.folder / "gateway.toml"]

    def file_of(self, number):
        host = number // self.table.per_host
        return self.folder / "routes" / f"h{host}.csv", self.csv(host)


class Nginx(Peer):
    NOTES = ["`map` of \"$host$uri\" in a hash, `return 301`; a change is a new map file and SIGHUP (`nginx -s reload` parses "
             "everything once more before it sends that)"]
    HTTP2 = ("ssl", "http2 on;")

    def version(self):
        text = self.said("-V")
        openssl = re.search(r"built with (OpenSSL [\d.]+\w*)", text).group(1)
        how = "gcc -Os, static musl, --with-debug" if "-Os" in text and "--with-debug" in text else "gcc -O2"
        version = re.search(r"nginx/[\d.]+", text).group()
        return f"{version} ({openssl}, {how})"

    def write(self):
        listen, http2 = self.HTTP2
        (self.folder / "map.conf").write_text(self.map())
        (self.folder / "nginx.conf").write_text(f"""
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {self.folder}/pid;
error_log {self.folder}/error.log crit;
events {{ worker_connections 15000; }}
http {{
    access_log off;
    client_body_temp_path {self.folder};
    proxy_temp_path {self.folder};
    fastcgi_temp_path {self.folder};
    uwsgi_temp_path {self.folder};
    scgi_temp_path {self.folder};
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    map_hash_max_size 1048576;
    map_hash_bucket_size 256;
    map $host$uri $to {{
        default "";
        include {self.folder}/map.conf;
    }}
    ssl_certificate {self.cert};
    ssl_certificate_key {self.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:50m;
    ssl_session_timeout 1d;
    server {{
        listen 127.0.0.1:{self.ports["http"]} backlog=4096;
        listen 127.0.0.1:{self.ports["https"]} {listen} backlog=4096;
        {http2}
        server_name _;
        if ($to) {{ return 301 $to; }}
        return 404;
    }}
}}
""")

    def map(self):
        return "".join(f"{self.table.host(n)}{self.table.old(n)} {self.table.new(n)};\n" for n in range(self.table.size))

    def command(self):
        return [self.binary, "-p", self.folder, "-e", self.folder / "error.log", "-c", self.folder / "nginx.conf"]

    def file_of(self, _):
        return self.folder / "map.conf", self.map()

    def reload(self, pid):
        os.kill(pid, signal.SIGHUP)


class DebianNginx(Nginx):
    NOTES = ["Debian's build of an older version, as above: the wheel of the newest is built for size"]
    HTTP2 = ("ssl http2", "")


class Haproxy(Peer):
    NOTES = ["map file looked up by `base,map_str`; a change is a new map file and SIGUSR2 to the master (its runtime API, `set "
             "map`, changes a line at once, but only in memory)"]

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
        return "".join(f"{self.table.host(n)}{self.table.old(n)} {self.table.new(n)}\n" for n in range(self.table.size))

    def command(self):
        return [self.binary, "-W", "-f", self.folder / "haproxy.cfg", "-p", self.folder / "pid"]

    def file_of(self, _):
        return self.folder / "map", self.map()

    def reload(self, pid):
        os.kill(pid, signal.SIGUSR2)


class Caddy(Peer):
    NOTES = ["native JSON: a route per host with a `map` of its paths (a map of all is searched line by line: far slower; as a "
             "Caddyfile it takes longer to load); a change is a new file and `caddy reload`"]

    def version(self):
        return "Caddy " + self.said("version").split()[0]

    def write(self):
        (self.folder / "caddy.json").write_text(self.config())

    def config(self):
        def route(host):
            numbers = self.table.of_host(host)
            return {"match": [{"host": [self.table.host(numbers[0])]}], "terminal": True, "handle": [
                {"handler": "map", "source": "{http.request.uri.path}", "destinations": ["{to}"],
                 "defaults": [f"https://www.new.example/h{host}/"],
                 "mappings": [{"input": self.table.old(n), "outputs": [self.table.new(n)]} for n in numbers]},
                {"handler": "static_response", "status_code": 301, "headers": {"Location": ["{to}"]}}]}

        routes = [route(host) for host in range(self.table.hosts)]

        def server(use, **more):
            return {"listen": [f"127.0.0.1:{self.ports[use]}"], "automatic_https": {"disable": True}, "routes": routes, **more}

        return json.dumps({
            "admin": {"listen": f"127.0.0.1:{self.ports['admin']}", "config": {"persist": False}},
            "apps": {
                "tls": {"certificates": {"load_files": [{"certificate": str(self.cert), "key": str(self.key)}]}},
                "http": {"servers": {"http": server("http", protocols=["h1"]),
                                     "https": server("https", protocols=["h1", "h2"], tls_connection_policies=[{}])}}}})

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
            env={**os.environ, **self.environment()}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Envoy(Peer):
    NOTES = ["a virtual host per host, whose matcher tree maps paths exactly, in one RDS file that it watches; a change is a new "
             "file moved over it"]

    def version(self):
        return "Envoy " + re.search(r"/(\d+\.\d+\.\d+)/", self.said("--version")).group(1) + " (BoringSSL)"

    def write(self):
        api = "type.googleapis.com/envoy"

        def listener(use, tls):
            manager = {
                "@type": f"{api}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": use, "codec_type": "AUTO", "generate_request_id": False,
                "rds": {"route_config_name": "redirects", "config_source": {
                    "resource_api_version": "V3", "path_config_source": {"path": str(self.folder / "rds.json")}}},
                "http_filters": [{"name": "router", "typed_config": {
                    "@type": f"{api}.extensions.filters.http.router.v3.Router"}}],
            }
            chain = {"filters": [{"name": "http", "typed_config": manager}]}
            if tls:
                chain["transport_socket"] = {"name": "tls", "typed_config": {
                    "@type": f"{api}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    "common_tls_context": {
                        "alpn_protocols": ["h2", "http/1.1"],
                        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
                        "tls_certificates": [{"certificate_chain": {"filename": str(self.cert)},
                                              "private_key": {"filename": str(self.key)}}]}}}
            return {"name": use, "tcp_backlog_size": 4096, "filter_chains": [chain], "address": {
                "socket_address": {"address": "127.0.0.1", "port_value": self.ports[use]}}}

        (self.folder / "envoy.json").write_text(json.dumps({
            "node": {"id": "bench", "cluster": "bench"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.ports["admin"]}}},
            "static_resources": {"listeners": [listener("http", False), listener("https", True)]},
        }))
        (self.folder / "rds.json").write_text(self.rds())

    def rds(self):
        api = "type.googleapis.com/envoy"

        def route(number):
            _, _, host, path = self.table.new(number).split("/", 3)
            return {"action": {"name": "route", "typed_config": {
                "@type": f"{api}.config.route.v3.Route", "match": {"prefix": "/"},
                "redirect": {"https_redirect": True, "host_redirect": host, "path_redirect": f"/{path}"}}}}

        def virtual_host(host):
            numbers = self.table.of_host(host)
            return {"name": f"h{host}", "domains": [self.table.host(numbers[0])], "matcher": {"matcher_tree": {
                "input": {"name": "path", "typed_config": {
                    "@type": f"{api}.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": ":path"}},
                "exact_match_map": {"map": {self.table.old(n): route(n) for n in numbers}}}}}

        return json.dumps({"version_info": str(len(self.table.changed)), "resources": [{
            "@type": f"{api}.config.route.v3.RouteConfiguration", "name": "redirects",
            "virtual_hosts": [virtual_host(host) for host in range(self.table.hosts)]}]})

    def command(self):
        return [self.binary, "-c", self.folder / "envoy.json", "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]

    def file_of(self, _):
        return self.folder / "rds.json", self.rds()


class Traefik(Peer):
    NOTES = ["a router per host whose chain has a `redirectRegex` per URL, one file per host in a folder that it watches (it has no "
             "exact map, and a router per URL is slower)"]

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
            f"tls: {{stores: {{default: {{defaultCertificate: {{certFile: {self.cert}, keyFile: {self.key}}}}}}}}}\n")
        for host in range(self.table.hosts):
            (dynamic / f"h{host}.yml").write_text(self.of_host(host))

    def of_host(self, host):
        numbers = self.table.of_host(host)
        name = self.table.host(numbers[0])
        middlewares = {f"r{n}": {"redirectRegex": {"permanent": True, "regex": f"^https?://{re.escape(name)}{re.escape(self.table.old(n))}$",
                                                   "replacement": self.table.new(n)}} for n in numbers}
        router = {"rule": f"Host(`{name}`)", "service": "noop@internal", "middlewares": [f"r{n}" for n in numbers]}
        # JSON is YAML.
        return json.dumps({"http": {"routers": {f"h{host}": router}, "middlewares": middlewares}})

    def command(self):
        return [self.binary, f"--configFile={self.folder}/traefik.yml"]

    def file_of(self, number):
        host = number // self.table.per_host
        return self.folder / "dynamic" / f"h{host}.yml", self.of_host(host)


PEERS = {
    "waypost": Waypost,
    "nginx": Nginx,
    "nginx-debian": DebianNginx,
    "haproxy": Haproxy,
    "caddy": Caddy,
    "envoy": Envoy,
    "traefik": Traefik,
}
