//! How the gateway is: what probes and people ask, and `reload` keeps up to date.
//!
//! Owns: the state behind `/readyz`. Never does: HTTP (`admin` shows it), files, decisions.
//!
//! Invariants: a gateway is ready once its first snapshot is live, and until it stops. A faulty site does not make it
//! unready, since all others are served (and the faulty one too, from its last good table), but it is always listed.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::config::{Diagnostic, Severity};
use crate::routing::{LoadReport, Snapshot};
use crate::telemetry::ReloadResult;
use crate::tls::CertReport;

/// Findings that are kept for showing; `waypost check` shows all.
const MAX_SHOWN: usize = 50;

/// The state of one gateway.
#[derive(Debug, Default)]
pub struct Monitor {
    status: Mutex<Status>,
    stopping: AtomicBool,
}

/// What is live and what is wrong with it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Whether requests are answered as they should be.
    pub ready: bool,
    /// Whether the gateway is about to end.
    pub stopping: bool,
    /// Sites that are live.
    pub sites: usize,
    /// Hosts that are live.
    pub hosts: usize,
    /// Mappings that are live.
    pub mappings: usize,
    /// Errors in the routes.
    pub errors: usize,
    /// Warnings in the routes.
    pub warnings: usize,
    /// Sites whose files have errors.
    pub faulty: Vec<FaultySite>,
    /// Files that the guard reads, gateway.toml among them, that have errors: each counts as it last was good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faulty_files: Vec<FaultyFile>,
    /// The certificates, if there are addresses for HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// The last reload that did something or failed.
    pub last_reload: Option<LastReload>,
    /// When the routes were last read without finding a faulty site.
    #[serde(serialize_with = "time")]
    pub last_success: Option<Timestamp>,
}

/// A site whose files have errors: it is served from its last good table, or in part if it never had one.
#[derive(Clone, Debug, Serialize)]
pub struct FaultySite {
    /// Its id.
    pub site: String,
    /// What is wrong, as far as there is room to show it.
    pub diagnostics: Vec<Diagnostic>,
}

/// A file that has errors.
#[derive(Clone, Debug, Serialize)]
pub struct FaultyFile {
    /// Its name.
    pub file: String,
    /// What is wrong, as far as there is room to show it.
    pub diagnostics: Vec<Diagnostic>,
}

/// The certificates that are live and what is wrong with their files.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Certificates {
    /// How many are live.
    pub live: usize,
    /// Names that they cover, a wildcard counted once.
    pub names: usize,
    /// Errors of their files, as far as there is room to show them; what was good in those files stays live.
    pub diagnostics: Vec<Diagnostic>,
    /// Why their folder can't be read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A reload.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastReload {
    /// When it ended.
    #[serde(serialize_with = "some_time")]
    pub at: Timestamp,
    /// `ok`, `partial` or `failed`.
    pub result: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// Why the routes could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Monitor {
    /// Notes a snapshot that went live.
    pub fn loaded(&self, snapshot: &Snapshot, report: &LoadReport, result: ReloadResult) {
        let at = Timestamp::now();
        let faulty = faulty_sites(report);
        self.update(|status| {
            *status = Status {
                ready: true,
                stopping: false,
                sites: snapshot.sites().len(),
                hosts: snapshot.host_count(),
                mappings: snapshot.mapping_count(),
                errors: report.errors(),
                warnings: report.diagnostics.len() - report.errors(),
                faulty,
                faulty_files: faulty_files(report),
                certificates: status.certificates.take(),
                last_reload: Some(LastReload {
                    at,
                    result: result.name(),
                    seconds: report.elapsed.as_secs_f64(),
                    error: None,
                }),
                last_success: if result == ReloadResult::Ok { Some(at) } else { status.last_success },
            }
        });
    }

    /// Notes a reload that could not read the routes: what was live stays so.
    pub fn failed(&self, error: &str, seconds: f64) {
        let result = ReloadResult::Failed.name();
        let last = LastReload { at: Timestamp::now(), result, seconds, error: Some(error.to_owned()) };
        self.update(|status| status.last_reload = Some(last));
    }

    /// Notes the certificates that are live and what is wrong with their files.
    pub fn certificates(&self, report: &CertReport) {
        let errors = report.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        let certificates = Certificates {
            live: report.certificates,
            names: report.names,
            diagnostics: errors.take(MAX_SHOWN).cloned().collect(),
            error: None,
        };
        self.update(|status| status.certificates = Some(certificates));
    }

    /// Notes that the folder of certificates can't be read: what was live stays so.
    pub fn certificates_failed(&self, error: &str) {
        self.update(|status| status.certificates.get_or_insert_default().error = Some(error.to_owned()));
    }

    /// From now on the gateway is not ready: it is about to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The state of now.
    pub fn status(&self) -> Status {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        status.stopping = self.stopping.load(Ordering::Relaxed);
        status.ready &= !status.stopping;
        status
    }

    fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The faulty sites of a report, each with the errors of its files and of the defaults that it inherits.
fn faulty_sites(report: &LoadReport) -> Vec<FaultySite> {
    let errors: Vec<&Diagnostic> = report.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    let mut room = MAX_SHOWN;
    let mut sites = Vec::with_capacity(report.faulty.len());
    for id in &report.faulty {
        let own = errors.iter().filter(|diagnostic| concerns(&diagnostic.file, id));
        let diagnostics: Vec<Diagnostic> = own.take(room).map(|&diagnostic| diagnostic.clone()).collect();
        room -= diagnostics.len();
        sites.push(FaultySite { site: id.clone(), diagnostics });
    }
    sites
}

fn faulty_files(report: &LoadReport) -> Vec<FaultyFile> {
    let errors = |file: &str| {
        let own = |fault: &&Diagnostic| *fault.file == *file && fault.severity == Severity::Error;
        report.diagnostics.iter().filter(own).take(MAX_SHOWN).cloned().collect()
    };
    let shown = report.faulty_files.iter().take(MAX_SHOWN);
    shown.map(|file| FaultyFile { file: file.clone(), diagnostics: errors(file) }).collect()
}

/// Whether a file is read for the site `id`.
fn concerns(file: &str, id: &str) -> bool {
    match file.strip_suffix("defaults.toml") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => id.starts_with(folder),
        _ => file.strip_suffix(".toml").or_else(|| file.strip_suffix(".csv")) == Some(id),
    }
}

fn time<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => some_time(time, to),
        None => to.serialize_none(),
    }
}

fn some_time<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_its_own_errors_and_those_it_inherits() {
        for (file, id, want) in [
            ("a/b.toml", "a/b", true),
            ("a/b.csv", "a/b", true),
            ("a/b.toml", "a/bc", false),
            ("a/c.toml", "a/b", false),
            ("defaults.toml", "a/b", true),
            ("a/defaults.toml", "a/b", true),
            ("a/defaults.toml", "ab/b", false),
            ("a/mydefaults.toml", "a/b", false),
            ("a/mydefaults.toml", "a/mydefaults", true),
        ] {
            assert_eq!(concerns(file, id), want, "{file} {id}");
        }
    }

    #[test]
    fn readiness_comes_with_the_first_snapshot_and_goes_with_the_end() {
        let monitor = Monitor::default();
        assert!(!monitor.status().ready);
        monitor.failed("no such folder", 0.1);
        assert!(!monitor.status().ready);
        let report = LoadReport { faulty: vec!["a".to_owned()], ..LoadReport::default() };
        monitor.loaded(&Snapshot::default(), &report, ReloadResult::Partial);
        assert!(monitor.status().ready && monitor.status().last_success.is_none());
        monitor.failed("no such folder", 0.1);
        assert!(monitor.status().ready && monitor.status().faulty.len() == 1);
        monitor.stop();
        assert!(!monitor.status().ready);
    }
}
