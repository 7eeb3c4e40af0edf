//! The alerts: when a person is called, and what he is told first. The rest is in the runbook.

use super::names::*;
use super::query::{CPU, INSTANCE, JOB, MAX_FDS, NODES, OPEN_FDS, SITES as SITES_JOB, Series, UP, of, share};
use super::rules::{SITE_FAILED, SITE_HOUR, SITE_RATE, SITE_UNMAPPED_HOUR, errors};

/// An alert.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    /// Its name, and that of its section in the runbook.
    pub name: &'static str,
    /// It fires for each series of this.
    pub query: String,
    /// How long that must last.
    pub wait: &'static str,
    /// Who is called.
    pub severity: Severity,
    /// What is wrong, in a line.
    pub summary: &'static str,
    /// What it means, and what to look at first.
    pub about: &'static str,
}

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Somebody, at any hour: citizens, or duties by law, are hit now.
    Critical,
    /// Somebody, on the next working day.
    Warning,
}

impl Severity {
    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        }
    }
}

/// All of them.
pub(super) fn all() -> Vec<Alert> {
    [citizens(), homes(), files(), nodes(), duties(), defence()].concat()
}

/// What citizens feel.
fn citizens() -> Vec<Alert> {
    let one =
        |name, query: String, wait, severity, summary, about| Alert { name, query, wait, severity, summary, about };
    let site = of(SITE_RATE);
    let hour = of(SITE_UNMAPPED_HOUR).each();
    let last_week = of(SITE_UNMAPPED_HOUR).ago("1w").each();
    vec![
        one(
            "WaypostSiteDown",
            // Five requests in five minutes, so that one lost robot wakes nobody.
            format!("{} / {site} > 0.9 and {site} > 5 / 300", of(SITE_FAILED).each(), site = site.each()),
            "5m",
            Severity::Critical,
            "{{ $labels.site }} is down: {{ $value | humanizePercentage }} of its requests fail",
            "Nearly all requests for {{ $labels.site }} (owner {{ $labels.owner }}) have ended in \
            5xx for five minutes. Its platform or its old server does not answer: see the \
            platforms' dashboard.",
        ),
        one(
            "WaypostPlatformDown",
            format!("{} == 0", of(PLATFORM_ORIGIN_UP).max(&[INSTANCE, PLATFORM])),
            "2m",
            Severity::Critical,
            "no origin of platform {{ $labels.platform }} is up, as {{ $labels.instance }} sees it",
            "Its requests are answered from the cache where that may be, else with 503. Redirects go \
            on.",
        ),
        one(
            "WaypostOriginDown",
            format!("{} == 0", of(PLATFORM_ORIGIN_UP).min(&[INSTANCE, PLATFORM, ORIGIN])),
            "10m",
            Severity::Warning,
            "origin {{ $labels.origin }} of platform {{ $labels.platform }} is down, as {{ \
            $labels.instance }} sees it",
            "It gets no requests; the platform's other origins have its share.",
        ),
        one(
            "WaypostErrorBudgetBurnsFast",
            format!("{} or {}", burns("1h", "5m", "14.4"), burns("6h", "30m", "6")),
            "",
            Severity::Critical,
            "{{ $value | humanizePercentage }} of all requests fail",
            "At this rate a month's error budget (99.9 % of requests shall not end in 5xx) is used \
            up within two to five days. It goes on now: both the long and the short window are over \
            their bound.",
        ),
        one(
            "WaypostErrorBudgetBurns",
            burns("3d", "6h", "1"),
            "1h",
            Severity::Warning,
            "{{ $value | humanizePercentage }} of all requests have failed over three days",
            "The month's error budget (99.9 % of requests shall not end in 5xx) will not last.",
        ),
        one(
            "WaypostUnmappedSurge",
            // A hundred in an hour, and five times those of the same hour last week, or, where last week tells nothing,
            // half of all requests.
            format!(
                "{hour} > 100 and ({hour} > 5 * {last_week} or ({hour} > 0.5 * {all} unless {last_week}))",
                all = of(SITE_HOUR).each()
            ),
            "15m",
            Severity::Warning,
            "{{ $value | humanize }} requests in an hour for old URLs of {{ $labels.site }} that \
            lead nowhere",
            "Far more than in the same hour last week, or most of what is asked. A rule or a table \
            was lost, or a page elsewhere links to URLs that nobody mapped: `waypost hits {{ \
            $labels.site }} --unmapped` names them.",
        ),
        one(
            "WaypostRedirectLoop",
            format!("{} > 0", of(REDIRECT_LOOPS).within("15m").increase(&[INSTANCE])),
            "",
            Severity::Warning,
            "clients go round in circles, as {{ $labels.instance }} sees it",
            "A client was sent from a URL to where it came from, again and again: the new site sends \
            back to the old one. The log of the gateway names the URL and the line.",
        ),
    ]
}

/// What citizens are sent to.
fn homes() -> Vec<Alert> {
    let one =
        |name, query: String, wait, severity, summary, about| Alert { name, query, wait, severity, summary, about };
    let up = |family| of(MONITOR_UP).is(FAMILY, family).max(&[PAGE]);
    let by = &[PAGE, FAMILY];
    let enough = format!("{} > 140", of(MONITOR_WEEK_VISITS).max(by));
    vec![
        one(
            "WaypostHomeDown",
            format!("{} == 0", of(MONITOR_UP).max(&[PAGE])),
            // The next visit, an hour later, must have failed too.
            "65m",
            Severity::Critical,
            "{{ $labels.page }} does not open",
            "It is the home that old addresses lead to, or a platform, and two visits in a row have failed by \
            every family of addresses that it has.",
        ),
        one(
            "WaypostHomeVeto",
            format!("{} == 1", of(MONITOR_VETO).max(by)),
            "",
            Severity::Critical,
            "{{ $labels.page }} did not open in 5 % or more of a week's visits by {{ $labels.family }}",
            "By the checklist for government sites that fails the site outright, until enough good days have \
            passed.",
        ),
        one(
            "WaypostHomeNearVeto",
            format!("({failed} >= 0.03 and {failed} < 0.05) and {enough}", failed = failed_of_week()),
            "",
            Severity::Warning,
            "{{ $labels.page }} did not open in {{ $value | humanizePercentage }} of a week's visits by {{ \
            $labels.family }}",
            "5 % is a veto. At 24 visits a day, that is nine in a week.",
        ),
        one(
            "WaypostHomeWithoutIPv6",
            format!("{} == 0 and {} == 1", up("ipv6"), up("ipv4")),
            "65m",
            Severity::Warning,
            "{{ $labels.page }} opens by IPv4 but not by IPv6",
            "It has an AAAA record, and two visits in a row have failed there. Clients with IPv6 wait, or see \
            nothing.",
        ),
        one(
            "WaypostHomeSlow",
            format!("{} > 3 and {enough}", of(MONITOR_WEEK_SECONDS).max(by)),
            "1h",
            Severity::Warning,
            "{{ $labels.page }} takes {{ $value | humanizeDuration }} to open by {{ $labels.family }}",
            "On average over a week; it should not be more than 3 seconds.",
        ),
        one(
            "WaypostHijackSigns",
            format!("{} > 0", of(VERIFY_TARGETS).is(KIND, "hijack").max(&[])),
            "",
            Severity::Critical,
            "{{ $value }} pages that old addresses lead to show signs of a hijack",
            "`waypost verify` found words of gambling, pornography or domain traders there. Citizens are sent to these \
            pages until the hosts are frozen: `waypost verify --last` names them, `waypost verify --freeze=HOST` freezes one.",
        ),
        one(
            "WaypostDeadTargets",
            format!(
                "{dead} / ({looked} > 0) > 0.01 and {dead} > 10",
                dead = of(VERIFY_TARGETS).is(KIND, "dead").max(&[]),
                looked = of(VERIFY_LOOKED).max(&[])
            ),
            "",
            Severity::Warning,
            "{{ $value | humanizePercentage }} of the pages that old addresses lead to are dead",
            "More than one in a hundred, as `waypost verify` found them last. Each of them costs points on the checklist; \
            `waypost verify --last --csv` has all of them, with the line of the file that names each.",
        ),
        one(
            "WaypostMonitorFailing",
            format!("{} == 1", of(MONITOR_FAILING).max(&[INSTANCE])),
            "30m",
            Severity::Warning,
            "{{ $labels.instance }} visits no homes: the database takes nothing",
            "What is not visited is missing from the week, and 140 visits or fewer can't be judged.",
        ),
    ]
}

/// The share of a week's visits that failed, of each page and family.
pub(super) fn failed_of_week() -> String {
    let by = &[PAGE, FAMILY];
    format!("{} / ({} > 0)", of(MONITOR_WEEK_FAILURES).max(by), of(MONITOR_WEEK_VISITS).max(by))
}

/// Files: routes and certificates.
fn files() -> Vec<Alert> {
    let one =
        |name, query: String, wait, severity, summary, about| Alert { name, query, wait, severity, summary, about };
    let left = format!("{} - time()", of(CERTIFICATE_EXPIRY).min(&[NAME]));
    vec![
        one(
            "WaypostSiteFaulty",
            format!("{} > 0", of(SITE_FAULTY).max(&[SITE])),
            "1h",
            Severity::Warning,
            "the files of {{ $labels.site }} have had errors for an hour",
            "Its last good table stays live; what was changed since is not. `waypost check` shows \
            file, line and column.",
        ),
        one(
            "WaypostReloadFailed",
            format!("{} > {}", of(RELOAD_LAST).max(&[INSTANCE]), of(RELOAD_LAST_SUCCESS).max(&[INSTANCE])),
            "15m",
            Severity::Warning,
            "{{ $labels.instance }} can't read its routes without errors",
            "The last reload failed, or left sites with their last good tables. What is live stays \
            live, and what was changed is not.",
        ),
        one(
            "WaypostCertificateExpiresSoon",
            format!("{left} < {} and {left} >= {}", 21 * DAY, 7 * DAY),
            "1h",
            Severity::Warning,
            "the certificate of {{ $labels.name }} expires in {{ $value | humanizeDuration }}",
            "It was not renewed in time. Put a new one into the folder of certificates; it goes live \
            by itself.",
        ),
        one(
            "WaypostCertificateExpiresNow",
            format!("{left} < {} and {left} > 0", 7 * DAY),
            "10m",
            Severity::Critical,
            "the certificate of {{ $labels.name }} expires in {{ $value | humanizeDuration }}",
            "After that, browsers refuse to open the site.",
        ),
        one(
            "WaypostCertificateExpired",
            format!("{left} <= 0"),
            "",
            Severity::Critical,
            "the certificate of {{ $labels.name }} has expired",
            "Browsers refuse to open the site. Put a new one into the folder of certificates; it \
            goes live by itself.",
        ),
        one(
            "WaypostCertificateFaulty",
            format!(
                "{} > 0 or {} > 0",
                of(CERTIFICATES_FAULTY).max(&[INSTANCE]),
                of(CERTIFICATES_UNREADABLE).max(&[INSTANCE])
            ),
            "15m",
            Severity::Warning,
            "{{ $labels.instance }} can't use files of its certificates",
            "What was good in them before stays live until it expires. `waypost check` names the \
            files.",
        ),
        one(
            "WaypostCertificateOrdersFailing",
            format!("{} > 0", of(ACME_FAILING).max(&[INSTANCE])),
            "1h",
            Severity::Warning,
            "{{ $labels.instance }} gets no certificates from the authority",
            "It can't be reached, or refuses what is asked. What is live is served on; new names wait, \
            and renewals have a third of a certificate's life.",
        ),
        one(
            "WaypostCertificateNamesFailing",
            format!("{} > 0", of(ACME_NAMES).is(STATE, "failing").max(&[])),
            "1d",
            Severity::Warning,
            "the authority could not verify {{ $value }} hosts for a day",
            "Their names lead elsewhere, or its requests are stopped on the way. They are tried again \
            by themselves: `waypost certs doctor` names them, and why.",
        ),
    ]
}

/// The nodes.
fn nodes() -> Vec<Alert> {
    let one =
        |name, query: String, wait, severity, summary, about| Alert { name, query, wait, severity, summary, about };
    let up = |job: &str| of(UP).is(JOB, job);
    let process = |family: Family| of(family).is(JOB, NODES).max(&[INSTANCE]);
    let processors = of(CPU).is(JOB, NODES).within("5m").rate(&[INSTANCE]);
    let saturated = [
        ("processors", processors, of(WORKERS).max(&[INSTANCE])),
        ("files and sockets", process(OPEN_FDS), process(MAX_FDS)),
        ("connections", of(CONNECTIONS_OPEN).sum(&[INSTANCE]), of(CONNECTIONS_LIMIT).max(&[INSTANCE])),
    ];
    let saturated = saturated
        .map(|(what, used, all)| format!("label_replace({used} / {all} > 0.9, \"resource\", \"{what}\", \"\", \"\")"));
    vec![
        one(
            "WaypostScrapeMissing",
            format!(
                "{} == 0 or absent({}) or absent({})",
                of(UP).like(JOB, "waypost|waypost-sites").each(),
                up(NODES).each(),
                up(SITES_JOB).each()
            ),
            "2m",
            Severity::Critical,
            "Prometheus can't read {{ $labels.job }} of {{ $labels.instance }}",
            "The node is down, or its admin address can't be reached or refuses Prometheus. Until it \
            is back, no other alert can see it.",
        ),
        one(
            "WaypostNodeSaturated",
            saturated.join(" or "),
            "10m",
            Severity::Warning,
            "{{ $labels.instance }} has {{ $value | humanizePercentage }} of its {{ $labels.resource \
            }} in use",
            "When all are, requests wait, or connections are refused.",
        ),
        one(
            "WaypostTelemetryDropped",
            format!("{} > 0", of(TELEMETRY_DROPPED).within("15m").increase(&[INSTANCE])),
            "",
            Severity::Warning,
            "{{ $value | humanize }} requests on {{ $labels.instance }} are missing in the access \
            log and among the hits",
            "The log and the counts of hits did not keep up with the traffic: a slow disk, or too \
            little processor.",
        ),
    ]
}

/// What the law wants kept, and the evidence.
fn duties() -> Vec<Alert> {
    let one =
        |name, query: String, wait, severity, summary, about| Alert { name, query, wait, severity, summary, about };
    vec![
        one(
            "WaypostAccessLogFailing",
            format!("{} > 0", of(ACCESS_LOG_FAILING).max(&[INSTANCE])),
            "1m",
            Severity::Critical,
            "{{ $labels.instance }} can't write its access log",
            "The disk is full, or failing. Citizens are served, and what they ask is not recorded, \
            as the law wants it for six months.",
        ),
        one(
            "WaypostAccessLogShort",
            format!("{} > 0", of(ACCESS_LOG_SHORT).max(&[INSTANCE])),
            "15m",
            Severity::Warning,
            "{{ $labels.instance }} removes its access log too early",
            "All its files may take no more bytes, so the oldest went before their time. The law \
            wants six months.",
        ),
        one(
            "WaypostHitsNotSaved",
            format!("{} > 0", of(HITS_FAILING).max(&[INSTANCE])),
            "10m",
            Severity::Warning,
            "{{ $labels.instance }} can't save its counts of hits",
            "Their database has taken nothing for ten minutes. They stay in memory, and are lost if the node stops now.",
        ),
        one(
            "WaypostHitsLost",
            format!("{} > 0", of(HITS_LOST).within("15m").increase(&[INSTANCE])),
            "",
            Severity::Warning,
            "{{ $labels.instance }} has lost {{ $value | humanize }} hits",
            "The database was away for so long that memory for counts was used up. What is counted now is lost, until it is \
             back.",
        ),
    ]
}

/// Attacks, and what defends against them.
fn defence() -> Vec<Alert> {
    let one =
        |name, query: String, wait, severity, summary, about| Alert { name, query, wait, severity, summary, about };
    let refused = |window| of(GUARD_REFUSED).within(window).rate(&[INSTANCE]);
    let inspected = |series: Series| series.within("15m").rate(&[INSTANCE]);
    vec![
        one(
            "WaypostGuardFlood",
            format!("{now} > 20 and {now} > 5 * {}", refused("1d"), now = refused("5m")),
            "5m",
            Severity::Warning,
            "the guard of {{ $labels.instance }} refuses {{ $value | humanize }} requests a second",
            "Five times as many as over the last day: an attack, or a rule or a list that hits \
            citizens since it was changed.",
        ),
        one(
            "WaypostFirewallUnchecked",
            format!(
                "{} > 0.01",
                share(&inspected(of(WAF_REQUESTS).is(ACTION, "unchecked")), &inspected(of(WAF_REQUESTS)))
            ),
            "15m",
            Severity::Warning,
            "{{ $value | humanizePercentage }} of the requests to platforms on {{ $labels.instance \
            }} pass the firewall unchecked",
            "It has too few threads, or bounds that are too tight: such requests are let through.",
        ),
    ]
}

/// Both windows are over what uses up the budget so many times too fast (Site Reliability Workbook, chapter 5).
fn burns(long: &str, short: &str, factor: &str) -> String {
    format!("({} > {factor} * {BUDGET} and {} > {factor} * {BUDGET})", errors(long).each(), errors(short).each())
}

/// Share of requests that may fail.
const BUDGET: &str = "0.001";

/// Seconds of a day.
const DAY: u32 = 86_400;
