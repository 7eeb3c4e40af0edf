//! Every metric: its name, its labels and what it tells, in one place. Dashboards and alerts are made from it.
//!
//! Labels are closed sets (enums), or come from what operators wrote: sites, owners, platforms, rules. None comes from a
//! request: what is asked of a host that no site has counts for the site [`OTHER`].

/// A family of metrics as Prometheus knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
    /// Where it is shown.
    pub endpoint: Endpoint,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Any value.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// As the text format names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Where a family is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/metrics`: about as many series whatever the number of sites.
    Node,
    /// `/metrics/sites`: series for each site.
    Sites,
}

/// The value of [`SITE`] for requests to hosts that no site has.
pub const OTHER: &str = "other";

/// The value of [`SITE`] for a site, by its id; empty if no site has the host.
pub fn site_label(id: &str) -> &str {
    match id {
        "" => OTHER,
        // A file of that name, which is not to be taken for what no site has.
        OTHER => "./other",
        id => id,
    }
}

macro_rules! families {
    ($($(#[$more:meta])* $name:ident: $kind:ident $endpoint:ident $text:literal [$($label:ident),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            $(#[$more])*
            pub const $name: Family = Family {
                name: $text,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
                endpoint: Endpoint::$endpoint,
            };
        )*

        /// Every family.
        pub const ALL: &[Family] = &[$($name),*];
    };
}

macro_rules! labels {
    ($($name:ident = $text:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: &str = $text;
        )*
    };
}

labels! {
    ACTION = "action" "What a request rule does, as files say it; or what the firewall did (one of [`super::WafAction`]).";
    CIPHER = "cipher" "A TLS cipher suite by its IANA name.";
    CODE = "code" "A site's identification code.";
    ERROR = "error" "One of [`super::PlatformError`].";
    FAMILY = "family" "A family of addresses: `ipv4` or `ipv6`.";
    KIND = "kind" "What is wrong with a target, as `waypost verify` names it.";
    LANE = "lane" "One of [`super::Lane`].";
    LIMIT = "limit" "One of [`super::Limit`].";
    LISTENER = "listener" "`http` or `https`.";
    NAME = "name" "Host name of a certificate, or the name of a site.";
    ORIGIN = "origin" "An origin as the configuration names it.";
    OUTCOME = "outcome" "Kind of answer, one of [`crate::model::Outcome`]; or of [`super::PlatformOutcome`].";
    OWNER = "owner" "Who may edit a site's files; empty where they don't say.";
    PAGE = "page" "URL of a page that is visited: the home of a site, the front page of a platform.";
    PHASE = "phase" "One of [`crate::model::Phase`].";
    PLATFORM = "platform" "Name of a platform, or a site's own origin.";
    PROTOCOL = "protocol" "One of [`super::Protocol`].";
    REASON = "reason" "Why something failed or was refused; each metric has a closed set of them.";
    STATE = "state" "How something is; each metric has a closed set of them.";
    RESULT = "result" "What came of something; each metric has a closed set of them.";
    RESUMED = "resumed" "`true` if a TLS session was resumed.";
    RULE = "rule" "A request rule's name, or its file and line.";
    SEVERITY = "severity" "`error` or `warning`.";
    SHADOW = "shadow" "Whether a request rule only counts.";
    SITE = "site" "Id of a site, or [`OTHER`].";
    STATUS = "status" "Class of a status: `2xx`; `none` if there was no answer.";
    VERSION = "version" "Version of the program, or of a protocol.";
    WAVE = "wave" "Wave of the consolidation; empty where a site's files don't say.";
}

families! {
    // Requests.
    REQUESTS: Counter Node "waypost_requests_total" [OUTCOME, STATUS, PROTOCOL, LANE]
        "Answered requests, by kind of answer, class of status, version of HTTP, and the way that they took.";
    REQUEST_DURATION: Histogram Node "waypost_request_duration_seconds" [OUTCOME]
        "Seconds from a request's head until its answer was made, or sent where that takes time.";
    RESPONSE_BYTES: Counter Node "waypost_response_body_bytes_total" []
        "Bytes of answers' bodies.";
    REQUEST_BYTES: Counter Node "waypost_request_body_bytes_total" []
        "Bytes of requests' bodies, as far as they were read.";
    UNMAPPED: Counter Node "waypost_unmapped_total" []
        "Requests for URLs of which nothing says where they went: the site's fallback answered.";
    REDIRECT_LOOPS: Counter Node "waypost_redirect_loops_total" []
        "Times that a client was sent from a URL to where it came from, again and again.";
    SITE_REQUESTS: Counter Sites "waypost_site_requests_total" [SITE, OWNER, OUTCOME, STATUS, PROTOCOL, LANE]
        "Answered requests of each site.";
    SITE_DURATION: Counter Sites "waypost_site_request_seconds_total" [SITE, OWNER]
        "Seconds that requests of each site took, added up.";
    SITE_RESPONSE_BYTES: Counter Sites "waypost_site_response_body_bytes_total" [SITE, OWNER]
        "Bytes of answers' bodies of each site.";
    SITE_REQUEST_BYTES: Counter Sites "waypost_site_request_body_bytes_total" [SITE, OWNER]
        "Bytes of requests' bodies of each site.";
    SITE_UNMAPPED: Counter Sites "waypost_site_unmapped_total" [SITE, OWNER]
        "Requests for URLs of each site of which nothing says where they went.";
    SITE_GUARD_REFUSED: Counter Sites "waypost_site_guard_refused_total" [SITE, OWNER, REASON]
        "Requests of each site that the guard did not admit.";
    SITE_GUARD_SHADOWED: Counter Sites "waypost_site_guard_shadowed_total" [SITE, OWNER, REASON]
        "Requests of each site that the guard would not have admitted, had a shadow been in force.";
    SITE_WAF_REQUESTS: Counter Sites "waypost_site_waf_requests_total" [SITE, OWNER, ACTION]
        "Requests of each site to platforms, by what the firewall did with them.";
    SITE_INFO: Gauge Sites "waypost_site_info" [SITE, OWNER, NAME, WAVE, CODE, PHASE]
        "Always 1: what each site's files say of it, and the phase that it is in.";

    // The guard.
    GUARD_REFUSED: Counter Node "waypost_guard_refused_total" [REASON]
        "Requests that the guard did not admit.";
    GUARD_SHADOWED: Counter Node "waypost_guard_shadowed_total" [REASON]
        "Requests that the guard would not have admitted, had a shadow been in force.";
    GUARD_RULES: Counter Node "waypost_guard_rules_total" [RULE, ACTION, SHADOW]
        "Requests that a request rule holds for.";
    GUARD_RATE_ENTRIES: Gauge Node "waypost_guard_rate_entries" []
        "Clients whose rates are remembered.";
    WAF_REQUESTS: Counter Node "waypost_waf_requests_total" [ACTION]
        "Requests to platforms, by what the firewall did with them.";

    // Routes.
    SITES: Gauge Node "waypost_sites" [WAVE, PHASE]
        "Sites that are live, by wave and the phase that they are in.";
    SNAPSHOT_HOSTS: Gauge Node "waypost_snapshot_hosts" []
        "Hosts that are live, a wildcard counted once.";
    SNAPSHOT_MAPPINGS: Gauge Node "waypost_snapshot_mappings" []
        "Exact mappings that are live.";
    SNAPSHOT_RULES: Gauge Node "waypost_snapshot_rules" []
        "Rules that are live.";
    SNAPSHOT_MAPPING_BYTES: Gauge Node "waypost_snapshot_mapping_bytes" []
        "Bytes of memory of the live mapping tables.";
    RELOADS: Counter Node "waypost_reloads_total" [RESULT]
        "Reloads that changed something or failed, the first load included: ok, partial (some sites keep their last good table) or failed (all do).";
    RELOAD_LAST: Gauge Node "waypost_reload_last_timestamp_seconds" []
        "Unix time of the last reload, whatever came of it.";
    RELOAD_LAST_SUCCESS: Gauge Node "waypost_reload_last_success_timestamp_seconds" []
        "Unix time of the last reload that could read the routes and found no site faulty.";
    RELOAD_DURATION: Gauge Node "waypost_reload_duration_seconds" []
        "Seconds that the last reload took.";
    SITE_FAULTY: Gauge Node "waypost_site_faulty" [SITE]
        "1 for each site whose files have errors; absent when they have none.";
    DIAGNOSTICS: Gauge Node "waypost_diagnostics" [SEVERITY]
        "Findings in the routes now.";

    // Connections.
    CONNECTIONS_ACCEPTED: Counter Node "waypost_connections_accepted_total" [LISTENER]
        "Connections accepted.";
    CONNECTIONS_OPEN: Gauge Node "waypost_connections_open" [LISTENER]
        "Connections that are open.";
    CONNECTIONS_LIMIT: Gauge Node "waypost_connections_limit" []
        "Connections that may be open at a time.";
    CONNECTIONS_REFUSED: Counter Node "waypost_connections_refused_total" [REASON]
        "Connections closed before anything else.";
    LIMITS: Counter Node "waypost_limits_total" [LIMIT]
        "Times that a client met a limit.";
    TLS_HANDSHAKES: Counter Node "waypost_tls_handshakes_total" [VERSION, CIPHER, RESUMED]
        "TLS handshakes that succeeded.";
    TLS_HANDSHAKE_FAILURES: Counter Node "waypost_tls_handshake_failures_total" [REASON]
        "TLS handshakes that failed.";
    ADMIN_REFUSED: Counter Node "waypost_admin_refused_total" [REASON]
        "Requests to the admin address that were refused.";

    // Certificates.
    CERTIFICATE_EXPIRY: Gauge Node "waypost_certificate_expiry_timestamp_seconds" [NAME]
        "Unix time at which the live certificate of a name expires; of more than 10,000 names, the first of each certificate go before.";
    CERTIFICATES: Gauge Node "waypost_certificates" []
        "Certificates that are live.";
    CERTIFICATES_FAULTY: Gauge Node "waypost_certificate_faulty" []
        "Certificate and key files that have errors; what was good in them before stays live.";
    CERTIFICATES_UNREADABLE: Gauge Node "waypost_certificates_unreadable" []
        "1 while the folder of certificates can't be read, else 0; what was live stays live.";
    ACME_NAMES: Gauge Node "waypost_acme_names" [STATE]
        "Hosts for which certificates are ordered: covered, waiting, or failing (the authority could not verify them).";
    ACME_ORDERS: Counter Node "waypost_acme_orders_total" [RESULT]
        "Orders of certificates that this node brought to their end: issued or failed.";
    ACME_FAILING: Gauge Node "waypost_acme_failing" []
        "1 while the authority can't be reached or refuses what is asked, else 0.";

    // Platforms and the cache.
    CACHE_REQUESTS: Counter Node "waypost_cache_requests_total" [RESULT]
        "Requests to platforms, by what the cache made of them.";
    CACHE_RESPONSES: Counter Node "waypost_cache_responses_total" [RESULT]
        "Answers of platforms, by what the cache made of them.";
    CACHE_BYTES: Gauge Node "waypost_cache_bytes" []
        "Bytes of memory that stored answers take.";
    CACHE_ENTRIES: Gauge Node "waypost_cache_entries" []
        "URLs of which answers are stored.";
    PLATFORM_REQUESTS: Counter Node "waypost_platform_requests_total" [PLATFORM, OUTCOME]
        "Requests to platforms, by what came of them.";
    PLATFORM_ERRORS: Counter Node "waypost_platform_errors_total" [PLATFORM, ERROR]
        "Tries of requests that got no answer, by why.";
    PLATFORM_RETRIES: Counter Node "waypost_platform_retries_total" [PLATFORM]
        "Requests to platforms that were tried again.";
    PLATFORM_BROKEN: Counter Node "waypost_platform_broken_bodies_total" [PLATFORM]
        "Answers of platforms that were broken off because their bodies could not be rewritten or compressed.";
    PLATFORM_EJECTIONS: Counter Node "waypost_platform_ejections_total" [PLATFORM, ORIGIN]
        "Times that an origin was left alone because requests to it failed.";
    PLATFORM_DURATION: Histogram Node "waypost_platform_duration_seconds" [PLATFORM]
        "Seconds from a request's turn to the head of the platform's answer, retries included.";
    PLATFORM_ORIGIN_UP: Gauge Node "waypost_platform_origin_up" [PLATFORM, ORIGIN]
        "Whether an origin gets requests (1) or is unwell or left alone (0).";
    PLATFORM_IN_FLIGHT: Gauge Node "waypost_platform_in_flight" [PLATFORM]
        "Requests that platforms have now.";
    PLATFORM_QUEUED: Gauge Node "waypost_platform_queued" [PLATFORM]
        "Requests that wait for a platform now.";

    // Telemetry itself.
    TELEMETRY_DROPPED: Counter Node "waypost_telemetry_dropped_total" []
        "Requests that are neither in the access log nor among the hits, because these did not keep up.";
    ACCESS_LOG_LINES: Counter Node "waypost_access_log_lines_total" []
        "Lines written to the access log.";
    ACCESS_LOG_LOST: Counter Node "waypost_access_log_lost_total" []
        "Lines that could not be written to the access log: the disk is full, or failing.";
    ACCESS_LOG_FAILING: Gauge Node "waypost_access_log_failing" []
        "1 while lines can't be written to the access log, else 0.";
    ACCESS_LOG_BYTES: Gauge Node "waypost_access_log_bytes" []
        "Bytes of all files of the access log.";
    ACCESS_LOG_OLDEST: Gauge Node "waypost_access_log_oldest_timestamp_seconds" []
        "Unix time at which the oldest file of the access log begins.";
    ACCESS_LOG_SHORT: Gauge Node "waypost_access_log_retention_short" []
        "1 if files of the access log were removed before their time, because all may take no more bytes; 0 when it is kept as long as it should be.";
    HITS_FLUSHES: Counter Node "waypost_hits_flushes_total" [RESULT]
        "Times that counts of hits were written to the database: ok or failed (they are kept, and written with the next).";
    HITS_FAILING: Gauge Node "waypost_hits_failing" []
        "1 while counts of hits can't be written to the database, else 0.";
    HITS_WRITTEN: Counter Node "waypost_hits_written_total" []
        "Hits that are in the database.";
    HITS_LOST: Counter Node "waypost_hits_lost_total" []
        "Hits that are not counted at all, because the database was away for too long.";
    HITS_LAST_FLUSH: Gauge Node "waypost_hits_last_flush_timestamp_seconds" []
        "Unix time at which counts of hits were last written to the database.";
    HITS_ENTRIES: Gauge Node "waypost_hits_entries" []
        "URLs whose hits are counted in memory until the next flush.";
    HITS_UNNAMED: Counter Node "waypost_hits_unnamed_total" []
        "Hits that are counted for their site, but not for their URL: there were too many different ones.";

    TRACES_EXPORTED: Counter Node "waypost_traces_exported_total" [RESULT]
        "Spans that were for the collector of traces: ok, failed (it refused them, or was away for too long) or dropped (too many were waiting).";

    // Visits of homes and platforms.
    MONITOR_VISITS: Counter Node "waypost_monitor_visits_total" [FAMILY, RESULT]
        "Visits of homes and platforms that this node made, by what came of them.";
    MONITOR_FAILING: Gauge Node "waypost_monitor_failing" []
        "1 while nothing can be visited because visits can't be written to the database, else 0.";
    MONITOR_UP: Gauge Sites "waypost_monitor_up" [PAGE, FAMILY]
        "Whether a page opened when it was last visited (1) or not (0).";
    MONITOR_SECONDS: Gauge Sites "waypost_monitor_seconds" [PAGE, FAMILY]
        "Seconds that a page took to open when it last did.";
    MONITOR_WEEK_VISITS: Gauge Sites "waypost_monitor_week_visits" [PAGE, FAMILY]
        "Visits of a page that were made in the last seven days, by all nodes.";
    MONITOR_WEEK_FAILURES: Gauge Sites "waypost_monitor_week_failures" [PAGE, FAMILY]
        "Of the visits of a page in the last seven days, those by which it did not open in time.";
    MONITOR_WEEK_SECONDS: Gauge Sites "waypost_monitor_week_mean_seconds" [PAGE, FAMILY]
        "Seconds that a page took to open in the last seven days, on average.";
    MONITOR_VETO: Gauge Sites "waypost_monitor_veto" [PAGE, FAMILY]
        "1 if 5 % or more of the visits of a page in the last seven days failed, else 0; absent while there were 140 or fewer.";

    // Targets, as `waypost verify` found them.
    VERIFY_TARGETS: Gauge Node "waypost_verify_targets" [KIND]
        "Targets by what is wrong with them, as `waypost verify` found them last; absent until it has run. One may be of several kinds.";
    VERIFY_LOOKED: Gauge Node "waypost_verify_targets_looked_at" []
        "Targets that `waypost verify` has looked at.";
    VERIFY_LAST: Gauge Node "waypost_verify_last_run_timestamp_seconds" []
        "Unix time at which `waypost verify` last came to its end; 0 if it never did.";
    VERIFY_PROPOSALS: Gauge Node "waypost_verify_freeze_proposals" []
        "Hosts that `waypost verify` proposes to freeze and nobody has frozen.";
    SITE_VERIFY_TARGETS: Gauge Sites "waypost_site_verify_targets" [SITE, KIND]
        "Targets of a site by what is wrong with them, as `waypost verify` found them last; absent where there are none.";

    // The process.
    BUILD_INFO: Gauge Node "waypost_build_info" [VERSION]
        "Always 1: the running program.";
    WORKERS: Gauge Node "waypost_worker_threads" []
        "Threads that serve connections.";
}

/// What the library tells of the process, on Linux: CPU time, memory, files, threads.
pub const PROCESS: &[&str] = &[
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
];
