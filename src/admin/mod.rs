//! The admin address: for probes, Prometheus and the people who run the gateway.
//!
//! | Path | Who | Answer |
//! |---|---|---|
//! | `/healthz` | may read | 200 `ok` as long as the process answers |
//! | `/readyz` | may read | 200 once the first snapshot is live, else 503; with sites, faulty sites, certificates and the last reload, as text, or as JSON with `Accept: application/json` or `?json` |
//! | `/metrics` | may read | the metrics of the node in the text format of Prometheus |
//! | `/metrics/sites` | may read | those of each site |
//! | `/routes?site=ID` | may read | each rule and mapping of a site, and how often it has answered since the start, as CSV, or as JSON with `Accept: application/json` or `&json` |
//! | `/purge?url=URL`, `?host=HOST`, `?tag=TAG`, `?all` | may change | with POST: forgets cached answers |
//! | anything else | may read | 404 with this list |
//!
//! The way of a request: TLS, where there is a certificate for it (`tls`) → the host asked for and the page it comes from
//! (`access`) → who it is: a token ([`tokens`], `proof`), a client certificate, or whoever can connect, where neither is
//! asked for → what he may do → the answer ([`answers`]), for changes by way of the [`audit`] log.
//!
//! Owns: these answers, the tokens and the audit log. Never does: deciding what citizens get.
//!
//! Invariants: an address that other machines can reach asks who it is; who is not let in learns nothing but why; what
//! is changed is in the audit log before it is; no client holds anything for longer than a bounded time, and nobody can keep
//! the machine busy by guessing tokens.
//!
//! Called by: `server` ([`Admin::open`], [`AdminService`]) and `cli` ([`tokens`], [`audit`]).

use std::sync::Arc;

use http::{Method, StatusCode, header};
use pingora::http::RequestHeader;
use prometheus::IntCounterVec;

use crate::answer::LiveCell;
use crate::cache::Cache;
use crate::config::{Gateway, admin::OPEN_HINT};
use crate::door::Drain;
use crate::monitor::Monitor;
use crate::telemetry::{Metrics, names};
use access::Access;
use audit::{AuditLog, Author};

mod access;
pub mod answers;
mod attempts;
pub mod audit;
mod proof;
mod refusal;
mod service;
mod tls;
pub mod tokens;

pub use answers::AdminAnswer;
pub use refusal::Refusal;
pub use service::AdminService;

/// What stands behind the admin address.
pub struct Admin {
    access: Access,
    audit: AuditLog,
    refused: IntCounterVec,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
    cache: Cache,
    live: Arc<LiveCell>,
}

/// Why there can be no admin address. The configuration is at fault.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Anybody could use it.
    #[error("{0}: {OPEN_HINT}")]
    Open(String),
    /// The tokens can't be used.
    #[error(transparent)]
    Tokens(#[from] tokens::TokensError),
    /// The certificates can't be used.
    #[error("TLS at the admin address: {0}")]
    Tls(#[from] rustls::Error),
    /// A mistake in this module.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

impl Admin {
    /// What shows `monitor`, `metrics` and `live` and purges `cache`, to those whom the settings let in, until `drain` is
    /// over.
    ///
    /// # Errors
    /// If the settings would let everybody in, or name files that can't be used.
    pub fn open(
        gateway: &Gateway,
        monitor: Arc<Monitor>,
        metrics: Arc<Metrics>,
        cache: Cache,
        live: Arc<LiveCell>,
        drain: &Arc<Drain>,
    ) -> Result<Arc<AdminService>, AdminError> {
        check(gateway)?;
        let settings = &gateway.admin_settings;
        let access = Access::new(settings)?;
        let tls = tls::acceptor(settings)?;
        let refused = names::ADMIN_REFUSED.counters()?;
        for refusal in Refusal::ALL {
            refused.get_metric_with_label_values(&[refusal.name()])?;
        }
        metrics.add(refused.clone())?;
        let audit = AuditLog::new(&settings.audit);
        if let Some(obstacle) = audit.obstacle() {
            log::warn!("changes through the admin address will be refused: {obstacle}");
        }
        let admin = Admin { access, audit, refused, monitor, metrics, cache, live };
        Ok(AdminService::new(admin, tls, drain))
    }

    /// The answer to a request that was let in.
    async fn answer(&self, head: &RequestHeader, author: Author) -> AdminAnswer {
        let accept = head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match head.method {
            Method::GET | Method::HEAD if head.uri.path() == "/routes" => {
                let wants_json = answers::wants_json(head.uri.query(), accept);
                let query = head.uri.query().unwrap_or_default().to_owned();
                let live = self.live.load_full();
                // A site may have a million mappings.
                let made = tokio::task::spawn_blocking(move || answers::routes(&live, &query, wants_json)).await;
                made.unwrap_or_else(|_| answers::text(StatusCode::INTERNAL_SERVER_ERROR, "the counts can't be shown\n"))
            }
            Method::GET | Method::HEAD => {
                answers::respond(head.uri.path(), head.uri.query(), accept, &self.monitor, &self.metrics)
            }
            Method::POST if head.uri.path() == "/purge" => {
                let query = head.uri.query().unwrap_or_default().to_owned();
                let (audit, cache) = (self.audit.clone(), self.cache.clone());
                let purge = move || answers::purge(&query, &author, &audit, &cache);
                let purged = tokio::task::spawn_blocking(purge).await;
                purged.unwrap_or_else(|_| answers::text(StatusCode::INTERNAL_SERVER_ERROR, "the purge has failed\n"))
            }
            _ => {
                let told = "only GET and HEAD are answered here, and POST to /purge\n";
                answers::text(StatusCode::METHOD_NOT_ALLOWED, told)
            }
        }
    }

    fn refused(&self, refusal: Refusal) {
        if let Ok(counter) = self.refused.get_metric_with_label_values(&[refusal.name()]) {
            counter.inc();
        }
    }
}

/// Whether the admin address may be as it is, the command line included.
///
/// # Errors
/// If anybody could use it.
pub fn check(gateway: &Gateway) -> Result<(), AdminError> {
    gateway.admin_settings.objection(&gateway.admin).map_or(Ok(()), |objection| Err(AdminError::Open(objection)))
}
