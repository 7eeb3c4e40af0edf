//! What Prometheus computes beforehand, and files of rules.

use super::alerts::{self, Alert};
use super::boards::{asked, failed};
use super::names::*;
use super::query::{Series, gauge, of, share};

/// Requests a second of each site.
pub(super) const SITE_RATE: Family = gauge("site:waypost_requests:rate5m", &[SITE, OWNER]);
/// Of them, those that failed.
pub(super) const SITE_FAILED: Family = gauge("site:waypost_failed:rate5m", &[SITE, OWNER]);
/// Requests of each site in an hour.
pub(super) const SITE_HOUR: Family = gauge("site:waypost_requests:increase1h", &[SITE, OWNER]);
/// Of them, those for URLs of which nothing says where they went.
pub(super) const SITE_UNMAPPED_HOUR: Family = gauge("site:waypost_unmapped:increase1h", &[SITE, OWNER]);

/// Shares of all requests that failed, by the time that they are taken over.
const ERRORS: [(&str, Family); 5] = [
    ("5m", gauge("waypost:failed:ratio_rate5m", &[])),
    ("30m", gauge("waypost:failed:ratio_rate30m", &[])),
    ("1h", gauge("waypost:failed:ratio_rate1h", &[])),
    ("6h", gauge("waypost:failed:ratio_rate6h", &[])),
    ("3d", gauge("waypost:failed:ratio_rate3d", &[])),
];

/// The share of all requests that failed, over one of the times of [`ERRORS`].
pub(super) fn errors(window: &str) -> Series {
    let found = ERRORS.iter().find(|(of, _)| *of == window);
    of(found.expect("a window of the table").1)
}

/// The file of recording rules.
pub(super) fn recording() -> String {
    let by = &[SITE, OWNER];
    let sites = [
        (SITE_RATE, asked(SITE_REQUESTS).within("5m").rate(by)),
        (SITE_FAILED, failed(SITE_REQUESTS).within("5m").rate(by)),
        (SITE_HOUR, asked(SITE_REQUESTS).within("1h").increase(by)),
        (SITE_UNMAPPED_HOUR, of(SITE_UNMAPPED).within("1h").increase(by)),
    ];
    let errors = ERRORS.map(|(window, family)| {
        (family, share(&failed(REQUESTS).within(window).rate(&[]), &asked(REQUESTS).within(window).rate(&[])))
    });
    let mut text = head() + "groups:\n";
    for (group, interval, rules) in [("waypost-sites", "1m", &sites[..]), ("waypost-errors", "30s", &errors[..])] {
        text += &format!("  - name: {group}\n    interval: {interval}\n    rules:\n");
        for (family, query) in rules {
            text += &format!("      - record: {}\n        expr: {}\n", family.name, quoted(query));
        }
    }
    text
}

/// The file of alerts, whose sections of the runbook are at `runbook`.
pub(super) fn alerting(runbook: &str) -> String {
    let mut text = head() + "groups:\n  - name: waypost-alerts\n    rules:\n";
    for Alert { name, query, wait, severity, summary, about } in alerts::all() {
        text += &format!("      - alert: {name}\n        expr: {}\n", quoted(&query));
        if !wait.is_empty() {
            text += &format!("        for: {wait}\n");
        }
        text += &format!("        labels:\n          severity: {}\n", severity.name());
        text += &format!("        annotations:\n          summary: {}\n", quoted(summary));
        text += &format!("          description: {}\n", quoted(about));
        text += &format!("          runbook_url: {}\n", quoted(&format!("{runbook}#{}", name.to_lowercase())));
    }
    text
}

fn head() -> String {
    "# Made by `waypost dashboards` from the names of the metrics (src/dashboards/): don't edit it here.\n".to_owned()
}

/// As a scalar of YAML: in single quotes where the text has double ones, for people to read.
fn quoted(text: &str) -> String {
    if text.contains('"') { format!("'{}'", text.replace('\'', "''")) } else { format!("\"{text}\"") }
}
