"""nginx: the newest, from PyPI, and Debian's."""

import os
import re
import signal

from .base import Peer


class Nginx(Peer):
    NOTES = (
        '`map` of "$host$uri" in a hash, `return 301`; a change is a new map file and SIGHUP (`nginx -s reload` '
        "parses everything once more before it sends that)"
    )
    HTTP2 = ("ssl", "http2 on;")
    LOG = "off"

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
    access_log {self.LOG.format(folder=self.folder)};
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
        table = self.table
        return "".join(f"{table.host(n)}{table.old(n)} {table.new(n)};\n" for n in range(table.size))

    def command(self):
        return [self.binary, "-p", self.folder, "-e", self.folder / "error.log", "-c", self.folder / "nginx.conf"]

    def file_of(self, _):
        return self.folder / "map.conf", self.map()

    def reload(self, pid):
        os.kill(pid, signal.SIGHUP)


class DebianNginx(Nginx):
    NOTES = "Debian's build of an older version, as above: the wheel of the newest is built for size"
    HTTP2 = ("ssl http2", "")


class LoggingNginx(Nginx):
    NOTES = "as above, with its access log (combined, buffered)"
    LOG = "{folder}/access.log combined buffer=64k flush=1s"
