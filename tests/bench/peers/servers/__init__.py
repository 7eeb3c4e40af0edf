"""The servers: how each is configured, started and told of a change.

Each has the configuration that its manual advises for many redirects, one worker, no access log, keep-alive without a
limit of requests, TLS session resumption, and nothing that Waypost hasn't.
"""

from .base import Table
from .caddy import Caddy
from .envoy import Envoy
from .haproxy import Haproxy
from .nginx import DebianNginx, LoggingNginx, Nginx
from .traefik import Traefik
from .waypost import TellingWaypost, Waypost

PEERS = {
    "waypost": Waypost,
    "nginx": Nginx,
    "nginx-debian": DebianNginx,
    "haproxy": Haproxy,
    "caddy": Caddy,
    "envoy": Envoy,
    "traefik": Traefik,
}

# Not measured unless asked for: what it costs to tell of each request.
TELLING = {
    "waypost-telling": TellingWaypost,
    "nginx-logging": LoggingNginx,
}
