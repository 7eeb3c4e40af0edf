//! What a reload says on the log.

use std::collections::HashSet;

use crate::config::{Diagnostic, Severity};
use crate::routing::LoadReport;
use crate::tls::CertReport;

/// Findings that are logged of one reload.
const MAX_FINDINGS: usize = 50;

/// Sites that are named in the line of one reload.
const MAX_NAMES: usize = 5;

/// One line about what went live.
pub(super) fn reloaded(report: &LoadReport) {
    log::info!("{}", line(report));
}

/// Settings that nothing takes up while the process runs.
pub(super) fn waiting(file: &str, settings: &[String]) {
    log::warn!("{file} has changed: {} after a restart or `waypost upgrade`", settings.join(", "));
}

/// An operator asked, so silence would look like a failure.
pub(super) fn nothing_changed() {
    log::info!("reload: nothing changed");
}

/// The routes can't be read.
pub(super) fn failed(error: &str) {
    log::error!("reload: failed, everything stays as it was: {error}");
}

/// One line about the certificates that are live.
pub(super) fn certificates(report: &CertReport) {
    log::info!("{}", certificates_line(report));
}

/// The certificates can't be read.
pub(super) fn certificates_failed(error: &str) {
    log::error!("certificates: reload failed, everything stays as it was: {error}");
}

/// Findings that were not there before; the others have been logged.
pub(super) fn diagnostics(now: &[Diagnostic], before: &[Diagnostic]) {
    let known: HashSet<_> = before.iter().map(identity).collect();
    let new: Vec<&Diagnostic> = now.iter().filter(|diagnostic| !known.contains(&identity(diagnostic))).collect();
    for diagnostic in new.iter().take(MAX_FINDINGS) {
        let level = match diagnostic.severity {
            Severity::Error => log::Level::Error,
            Severity::Warning => log::Level::Warn,
        };
        log::log!(level, "{}", diagnostic.to_string().trim_end());
    }
    if new.len() > MAX_FINDINGS {
        log::error!("… and {} more: run `waypost check`", new.len() - MAX_FINDINGS);
    }
}

fn identity(diagnostic: &Diagnostic) -> (&str, u32, u32, &str, &str) {
    (&diagnostic.file, diagnostic.line, diagnostic.column, diagnostic.code, &diagnostic.message)
}

fn line(report: &LoadReport) -> String {
    let mut line = format!(
        "reload: {} rebuilt in {} ms{}",
        count(report.rebuilt.len(), "site"),
        report.elapsed.as_millis(),
        names(&report.rebuilt)
    );
    if !report.reread.is_empty() {
        line += &format!(", {} of the guard taken over{}", count(report.reread.len(), "file"), names(&report.reread));
    }
    if !report.removed.is_empty() {
        line += &format!(", {} removed{}", report.removed.len(), names(&report.removed));
    }
    line += &format!(", {}", count(report.errors(), "error"));
    if !report.faulty.is_empty() {
        line += &format!(": {} not as its files say{}", count(report.faulty.len(), "site"), names(&report.faulty));
    }
    if !report.faulty_files.is_empty() {
        let files = count(report.faulty_files.len(), "file");
        line += &format!(", {files} of the guard as before{}", names(&report.faulty_files));
    }
    line
}

fn certificates_line(report: &CertReport) -> String {
    let mut line = format!(
        "certificates: {} read in {} ms, {} live for {}",
        count(report.read, "file"),
        report.elapsed.as_millis(),
        count(report.certificates, "certificate"),
        count(report.names, "name"),
    );
    if report.removed > 0 {
        line += &format!(", {} removed", count(report.removed, "file"));
    }
    if !report.faulty.is_empty() {
        line += &format!(", {} with errors{}", count(report.faulty.len(), "file"), names(&report.faulty));
    }
    line
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn names(ids: &[String]) -> String {
    match ids {
        [] => String::new(),
        _ if ids.len() > MAX_NAMES => format!(" ({}, and {} more)", ids[..MAX_NAMES].join(", "), ids.len() - MAX_NAMES),
        _ => format!(" ({})", ids.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_reload_of_certificates_is_one_line() {
        let mut report = CertReport { read: 1, certificates: 2, names: 3, ..CertReport::default() };
        report.elapsed = Duration::from_millis(7);
        assert_eq!(certificates_line(&report), "certificates: 1 file read in 7 ms, 2 certificates live for 3 names");
        (report.removed, report.faulty) = (1, vec!["certs/a.pem".to_owned()]);
        assert_eq!(
            certificates_line(&report),
            "certificates: 1 file read in 7 ms, 2 certificates live for 3 names, 1 file removed, \
             1 file with errors (certs/a.pem)"
        );
    }

    #[test]
    fn a_reload_is_one_line() {
        let ids = |range: std::ops::Range<u32>| range.map(|n| format!("s{n}")).collect::<Vec<_>>();
        let mut report = LoadReport { rebuilt: ids(0..1), elapsed: Duration::from_millis(12), ..LoadReport::default() };
        assert_eq!(line(&report), "reload: 1 site rebuilt in 12 ms (s0), 0 errors");
        (report.rebuilt, report.removed, report.faulty) = (ids(0..7), ids(7..9), ids(0..1));
        assert_eq!(
            line(&report),
            "reload: 7 sites rebuilt in 12 ms (s0, s1, s2, s3, s4, and 2 more), 2 removed (s7, s8), 0 errors: \
             1 site not as its files say (s0)"
        );
        let mut report = LoadReport { elapsed: Duration::from_millis(1), ..LoadReport::default() };
        (report.reread, report.faulty_files) = (vec!["deny.txt".to_owned()], vec!["gateway.toml".to_owned()]);
        assert_eq!(
            line(&report),
            "reload: 0 sites rebuilt in 1 ms, 1 file of the guard taken over (deny.txt), 0 errors, \
             1 file of the guard as before (gateway.toml)"
        );
    }
}
