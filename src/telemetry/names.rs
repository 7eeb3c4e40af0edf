//! Every name of a metric and of a label, in one place: dashboards and alerts are written against these.

/// Counter of answered requests, by [`SITE`] and [`OUTCOME`].
pub const REQUESTS: &str = "waypost_requests_total";

/// Counter of requests that the guard refused, by [`SITE`] and [`REASON`] (one of [`crate::model::Reason`]).
pub const GUARD_REFUSED: &str = "waypost_guard_refused_total";

/// Counter of requests that the guard would have refused but for a shadow, by [`SITE`] and [`REASON`].
pub const GUARD_SHADOWED: &str = "waypost_guard_shadowed_total";

/// Counter of requests that a request rule holds for, by [`RULE`], [`ACTION`] and [`SHADOW`] (`true` or `false`).
pub const GUARD_RULES: &str = "waypost_guard_rules_total";

/// Label: a request rule's name, or its file and line.
pub const RULE: &str = "rule";

/// Label: what a request rule does, as files say it; or what the firewall did (one of [`crate::telemetry::WafAction`]).
pub const ACTION: &str = "action";

/// Label: whether a request rule only counts.
pub const SHADOW: &str = "shadow";

/// Gauge of the clients whose rates are remembered.
pub const GUARD_RATE_ENTRIES: &str = "waypost_guard_rate_entries";
/// Counter of requests to platforms that the firewall was asked about, by [`SITE`] and [`ACTION`].
pub const WAF_REQUESTS: &str = "waypost_waf_requests_total";

/// Histogram of the seconds from a request's head to the end of its answer.
pub const REQUEST_DURATION: &str = "waypost_request_duration_seconds";

/// Always 1; carries [`VERSION`].
pub const BUILD_INFO: &str = "waypost_build_info";

/// Gauge: sites in the live snapshot.
pub const SNAPSHOT_SITES: &str = "waypost_snapshot_sites";

/// Gauge: hosts (and wildcards) in the live snapshot.
pub const SNAPSHOT_HOSTS: &str = "waypost_snapshot_hosts";

/// Gauge: exact mappings in the live snapshot.
pub const SNAPSHOT_MAPPINGS: &str = "waypost_snapshot_mappings";

/// Gauge: rules in the live snapshot.
pub const SNAPSHOT_RULES: &str = "waypost_snapshot_rules";

/// Gauge: bytes of memory that the mapping tables of the live snapshot take.
pub const SNAPSHOT_MAPPING_BYTES: &str = "waypost_snapshot_mapping_bytes";

/// Counter of reloads that changed something or failed, the first load included, by [`RESULT`].
pub const RELOADS: &str = "waypost_reloads_total";

/// Gauge: Unix time of the last reload, whatever came of it.
pub const RELOAD_LAST: &str = "waypost_reload_last_timestamp_seconds";

/// Gauge: Unix time of the last reload that could read the routes and found no site faulty.
pub const RELOAD_LAST_SUCCESS: &str = "waypost_reload_last_success_timestamp_seconds";

/// Gauge: seconds that the last reload took.
pub const RELOAD_DURATION: &str = "waypost_reload_duration_seconds";

/// Gauge: 1 for each [`SITE`] whose files have errors; absent when they have none.
pub const SITE_FAULTY: &str = "waypost_site_faulty";

/// Gauge: findings in the routes now, by [`SEVERITY`].
pub const DIAGNOSTICS: &str = "waypost_diagnostics";

/// Counter of accepted connections, by [`LISTENER`].
pub const CONNECTIONS_ACCEPTED: &str = "waypost_connections_accepted_total";

/// Gauge: open connections, by [`LISTENER`].
pub const CONNECTIONS_OPEN: &str = "waypost_connections_open";

/// Counter of connections closed before anything else, by [`REASON`].
pub const CONNECTIONS_REFUSED: &str = "waypost_connections_refused_total";

/// Counter of limits that clients met, by [`LIMIT`].
pub const LIMITS: &str = "waypost_limits_total";

/// Counter of requests, by [`LANE`].
pub const LANE_REQUESTS: &str = "waypost_lane_requests_total";

/// Counter of TLS handshakes, by [`VERSION`] of TLS, [`CIPHER`] and [`RESUMED`].
pub const TLS_HANDSHAKES: &str = "waypost_tls_handshakes_total";

/// Counter of failed TLS handshakes, by [`REASON`].
pub const TLS_HANDSHAKE_FAILURES: &str = "waypost_tls_handshake_failures_total";
/// Gauge: Unix time at which the certificate that a host gets expires, by [`NAME`].
pub const CERTIFICATE_EXPIRY: &str = "waypost_certificate_expiry_timestamp_seconds";

/// Gauge: certificates that are live.
pub const CERTIFICATES: &str = "waypost_certificates";

/// Gauge: certificate and key files that have errors; what was good in them before stays live.
pub const CERTIFICATES_FAULTY: &str = "waypost_certificate_faulty";

/// Gauge: 1 while the folder of certificates can't be read; what was live stays live.
pub const CERTIFICATES_UNREADABLE: &str = "waypost_certificates_unreadable";

/// Counter of refused requests to the admin address, by [`REASON`].
pub const ADMIN_REFUSED: &str = "waypost_admin_refused_total";

/// Counter of requests to platforms that the cache saw, by [`RESULT`].
pub const CACHE_REQUESTS: &str = "waypost_cache_requests_total";

/// Counter of answers of platforms that the cache saw, by [`RESULT`].
pub const CACHE_RESPONSES: &str = "waypost_cache_responses_total";

/// Gauge: bytes of memory that stored answers take.
pub const CACHE_BYTES: &str = "waypost_cache_bytes";

/// Gauge: URLs of which answers are stored.
pub const CACHE_ENTRIES: &str = "waypost_cache_entries";

/// Counter of requests to platforms, by [`PLATFORM`] and [`OUTCOME`] (one of [`super::PlatformOutcome`]).
pub const PLATFORM_REQUESTS: &str = "waypost_platform_requests_total";

/// Counter of tries that got no answer, by [`PLATFORM`] and [`ERROR`].
pub const PLATFORM_ERRORS: &str = "waypost_platform_errors_total";

/// Counter of requests that were tried again, by [`PLATFORM`].
pub const PLATFORM_RETRIES: &str = "waypost_platform_retries_total";

/// Counter of answers whose bodies could not be rewritten, by [`PLATFORM`].
pub const PLATFORM_BROKEN: &str = "waypost_platform_broken_bodies_total";

/// Counter of times that an origin was left alone, by [`PLATFORM`] and [`ORIGIN`].
pub const PLATFORM_EJECTIONS: &str = "waypost_platform_ejections_total";

/// Histogram of the seconds until a platform's answer begins, by [`PLATFORM`].
pub const PLATFORM_DURATION: &str = "waypost_platform_duration_seconds";

/// Gauge: whether an origin gets requests, by [`PLATFORM`] and [`ORIGIN`].
pub const PLATFORM_ORIGIN_UP: &str = "waypost_platform_origin_up";

/// Gauge: requests that a platform has, by [`PLATFORM`].
pub const PLATFORM_IN_FLIGHT: &str = "waypost_platform_in_flight";

/// Gauge: requests that wait for a platform, by [`PLATFORM`].
pub const PLATFORM_QUEUED: &str = "waypost_platform_queued";

/// Label: name of a platform, or a site's own origin.
pub const PLATFORM: &str = "platform";

/// Label: an origin as the configuration names it.
pub const ORIGIN: &str = "origin";

/// Label: one of [`super::PlatformError`].
pub const ERROR: &str = "error";

/// Label: host name of a certificate.
pub const NAME: &str = "name";

/// Label: id of a site; empty for requests to a host that no site has.
pub const SITE: &str = "site";

/// Label: kind of answer, one of [`crate::model::Outcome`].
pub const OUTCOME: &str = "outcome";

/// Label: `http` or `https`.
pub const LISTENER: &str = "listener";

/// Label: why something failed; each metric has a closed set of them.
pub const REASON: &str = "reason";

/// Label: one of [`super::Limit`].
pub const LIMIT: &str = "limit";

/// Label: one of [`super::Lane`].
pub const LANE: &str = "lane";

/// Label: a TLS cipher suite by its IANA name.
pub const CIPHER: &str = "cipher";

/// Label: `true` if a TLS session was resumed.
pub const RESUMED: &str = "resumed";

/// Label: version of the program, or of a protocol.
pub const VERSION: &str = "version";

/// Label: `ok`, `partial` (some sites keep their last good table) or `failed` (all do).
pub const RESULT: &str = "result";

/// Label: `error` or `warning`.
pub const SEVERITY: &str = "severity";
