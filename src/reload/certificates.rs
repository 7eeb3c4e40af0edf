//! The reload of certificates, beside that of routes.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Cause, log};
use crate::answer::LiveCell;
use crate::config::{Diagnostic, Gateway};
use crate::model::Host;
use crate::monitor::Monitor;
use crate::telemetry::Metrics;
use crate::tls::{CertReport, Challenges, Tls, TlsError};

/// Keeps the certificates up to date with their folder.
pub(super) struct Certificates {
    pub tls: Arc<Tls>,
    live: Arc<LiveCell>,
    monitor: Arc<Monitor>,
    state: Mutex<State>,
}

/// What one reload leaves for the next.
#[derive(Default)]
struct State {
    diagnostics: Vec<Diagnostic>,
    /// Why the last reload failed, if it did.
    failure: Option<String>,
}

impl Certificates {
    /// Loads the certificates for the first time; hosts are those of the routes in `live`.
    pub fn open(
        gateway: &Gateway,
        live: Arc<LiveCell>,
        challenges: &Arc<Challenges>,
        metrics: Arc<Metrics>,
        monitor: Arc<Monitor>,
    ) -> Result<(Self, CertReport), TlsError> {
        let routes = live.clone();
        let knows =
            move |name: &str| Host::parse(name.as_bytes()).is_ok_and(|host| routes.load().snapshot.answers_host(&host));
        let (tls, mut report) = Tls::open(gateway, knows, challenges.clone(), metrics)?;
        let certificates = Certificates { tls: Arc::new(tls), live, monitor, state: Mutex::default() };
        certificates.add_uncovered(&mut report);
        log::certificates(&report);
        log::diagnostics(&report.diagnostics, &[]);
        certificates.monitor.certificates(&report);
        certificates.state().diagnostics.clone_from(&report.diagnostics);
        Ok((certificates, report))
    }

    /// Where they come from.
    pub fn folder(&self) -> &Path {
        self.tls.folder()
    }

    /// Reads what changed. To be called after the routes have been reloaded, whose hosts want certificates.
    pub fn reload(&self, cause: Cause) -> io::Result<CertReport> {
        let mut state = self.state();
        let mut report = match self.tls.reload() {
            Ok(report) => report,
            Err(error) => {
                let failure = error.to_string();
                if state.failure.as_ref() != Some(&failure) {
                    log::certificates_failed(&failure);
                }
                self.monitor.certificates_failed(&failure);
                state.failure = Some(failure);
                return Err(error);
            }
        };
        let recovered = state.failure.take().is_some();
        self.add_uncovered(&mut report);
        if report.read > 0 || report.removed > 0 || recovered || cause == Cause::Asked {
            log::certificates(&report);
        }
        log::diagnostics(&report.diagnostics, &state.diagnostics);
        self.monitor.certificates(&report);
        state.diagnostics.clone_from(&report.diagnostics);
        Ok(report)
    }

    fn add_uncovered(&self, report: &mut CertReport) {
        let live = self.live.load();
        let hosts = live.snapshot.sites().iter().flat_map(|site| &site.hosts);
        report.diagnostics.extend(self.tls.uncovered(hosts));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
