"""Envoy, from PyPI."""

import json
import re

from .base import Peer


class Envoy(Peer):
    NOTES = (
        "a virtual host per host, whose matcher tree maps paths exactly, in one RDS file that it watches; a change is "
        "a new file moved over it"
    )

    def version(self):
        return "Envoy " + re.search(r"/(\d+\.\d+\.\d+)/", self.said("--version")).group(1) + " (BoringSSL)"

    def write(self):
        api = "type.googleapis.com/envoy"

        def listener(use, tls):
            manager = {
                "@type": f"{api}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": use,
                "codec_type": "AUTO",
                "generate_request_id": False,
                "rds": {
                    "route_config_name": "redirects",
                    "config_source": {
                        "resource_api_version": "V3",
                        "path_config_source": {"path": str(self.folder / "rds.json")},
                    },
                },
                "http_filters": [
                    {"name": "router", "typed_config": {"@type": f"{api}.extensions.filters.http.router.v3.Router"}}
                ],
            }
            chain = {"filters": [{"name": "http", "typed_config": manager}]}
            if tls:
                chain["transport_socket"] = {
                    "name": "tls",
                    "typed_config": {
                        "@type": f"{api}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                        "common_tls_context": {
                            "alpn_protocols": ["h2", "http/1.1"],
                            "tls_params": {
                                "tls_minimum_protocol_version": "TLSv1_2",
                                "tls_maximum_protocol_version": "TLSv1_3",
                            },
                            "tls_certificates": [
                                {
                                    "certificate_chain": {"filename": str(self.cert)},
                                    "private_key": {"filename": str(self.key)},
                                }
                            ],
                        },
                    },
                }
            return {
                "name": use,
                "tcp_backlog_size": 4096,
                "filter_chains": [chain],
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.ports[use]}},
            }

        (self.folder / "envoy.json").write_text(
            json.dumps(
                {
                    "node": {"id": "bench", "cluster": "bench"},
                    "admin": {
                        "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.ports["admin"]}}
                    },
                    "static_resources": {"listeners": [listener("http", False), listener("https", True)]},
                }
            )
        )
        (self.folder / "rds.json").write_text(self.rds())

    def rds(self):
        api = "type.googleapis.com/envoy"

        def route(number):
            _, _, host, path = self.table.new(number).split("/", 3)
            return {
                "action": {
                    "name": "route",
                    "typed_config": {
                        "@type": f"{api}.config.route.v3.Route",
                        "match": {"prefix": "/"},
                        "redirect": {"https_redirect": True, "host_redirect": host, "path_redirect": f"/{path}"},
                    },
                }
            }

        def virtual_host(host):
            numbers = self.table.of_host(host)
            return {
                "name": f"h{host}",
                "domains": [self.table.host(numbers[0])],
                "matcher": {
                    "matcher_tree": {
                        "input": {
                            "name": "path",
                            "typed_config": {
                                "@type": f"{api}.type.matcher.v3.HttpRequestHeaderMatchInput",
                                "header_name": ":path",
                            },
                        },
                        "exact_match_map": {"map": {self.table.old(n): route(n) for n in numbers}},
                    }
                },
            }

        return json.dumps(
            {
                "version_info": str(len(self.table.changed)),
                "resources": [
                    {
                        "@type": f"{api}.config.route.v3.RouteConfiguration",
                        "name": "redirects",
                        "virtual_hosts": [virtual_host(host) for host in range(self.table.hosts)],
                    }
                ],
            }
        )

    def command(self):
        return [
            self.binary,
            "-c",
            self.folder / "envoy.json",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
        ]

    def file_of(self, _):
        return self.folder / "rds.json", self.rds()
