//! TLS: which certificate a host gets, and how it is spoken.
//!
//! Certificates and keys are PEM files in one folder, under any names; keys are put to certificates by their public
//! keys, and chains into order by who signed whom. Everything that is wrong is a finding, as it is with routes. What is
//! served is an immutable index (exact name → wildcard → default) that a reload swaps while handshakes go on. For one name,
//! a valid certificate that an operator put there comes before one that the gateway got by itself (in `acme/`); hidden
//! files and folders, such as the state in `acme/.state`, are not looked at.
//!
//! Owns: the folder `certs`, the [`rustls::ServerConfig`] with its policy, tickets and sessions, and certificates made in
//! memory for development; what answers authorities that ask whether a name leads here. Never does: sockets, handshakes
//! (`door` does them), watching (`reload` does), orders (`acme` does).
//!
//! Invariants: a handshake takes no lock and looks up at most two names, however many there are; a file with errors
//! keeps what was good in it; no message, log or metric quotes a key; a session is never resumed for another host than
//! it was made for (rustls compares the names).
//!
//! Called by: `reload` ([`Tls::open`], [`Tls::reload`]), `door` ([`Tls::server_config`], [`Tls::challenge_config`],
//! [`Tls::why_refused`]), `cli` ([`check`], [`inventory()`]), `acme` ([`Challenges`], [`write_secret`], [`Tls::own_names`]).

mod cert;
mod chain;
mod challenges;
mod der;
mod development;
mod file;
mod index;
mod inventory;
mod issued;
mod keyfile;
mod ocsp;
mod passphrase;
mod pbes2;
mod pem;
mod policy;
mod proofs;
mod resolver;
mod signature;
mod staples;
mod store;
mod ticket_file;
mod tickets;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use compact_str::CompactString;
use jiff::Timestamp;
use rustls::{ServerConfig, server::ProducesTickets};

use crate::config::{Diagnostic, Gateway, TlsMode, readable_host};
use crate::model::HostPattern;
use crate::telemetry::{MAX_EXPIRIES, Metrics};

use development::Development;
use index::Index;
use proofs::Proofs;
use resolver::Resolver;
use store::Store;
use tickets::Tickets;

pub use challenges::{ACME_TLS, Challenges};
pub use inventory::{CertInfo, Inventory, inventory};
pub use issued::{Issued, check_issued};
pub use keyfile::{make_secret_folder, seal, unseal, write_certificate, write_secret};
pub use passphrase::{Passphrase, VARIABLE as PASSPHRASE_VARIABLE};
pub use policy::provider;
pub use store::{ACME_FOLDER, CertReport, STATE_FOLDER};

/// Hosts that the finding about hosts without a certificate names.
const MAX_NAMED: usize = 5;

/// Findings about a file that can't be read or understood. They keep a gateway from starting, and nothing else does:
/// what has expired, has no key or covers no host may be meant, and others are served.
const UNUSABLE: &[&str] = &["unreadable", "bad-certificate", "bad-key"];

/// Why there can be no TLS. The configuration is at fault.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// In production, HTTPS without a certificate serves nobody.
    #[error(
        "there is no folder of certificates at {}: make it and put chains and keys into it, or set [tls] mode = \"development\"", .0.display()
    )]
    NoFolder(PathBuf),
    /// The folder is there and can't be read.
    #[error("can't read the certificates: {0}")]
    Unreadable(#[from] io::Error),
    /// A file can't be read or understood. Once the gateway runs, that is a finding.
    #[error("can't use the certificates: {0}")]
    Unusable(String),
    /// The settings don't go together.
    #[error("TLS: {0}")]
    Settings(#[from] rustls::Error),
    /// No key could be made for development certificates.
    #[error("can't make a development certificate: {0}")]
    Development(#[from] rcgen::Error),
}

/// Says whether a host (canonical) is served.
type Knows = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The certificates and how TLS is spoken, for all listeners and threads.
#[derive(Debug)]
pub struct Tls {
    folder: PathBuf,
    mode: TlsMode,
    store: Mutex<Store>,
    resolver: Arc<Resolver>,
    config: ServerConfig,
    proofs: Proofs,
    /// Those that a fleet shares.
    tickets: Option<Arc<Tickets>>,
    metrics: Arc<Metrics>,
}

impl Tls {
    /// Loads the certificates of a node for the first time. `knows` says which hosts (canonical) are served; it is asked
    /// in handshakes, so it must be quick. `challenges` are what authorities are answered that ask in a handshake.
    ///
    /// # Errors
    /// If the folder or one of its files can't be read or understood, or there is no folder in production mode with
    /// addresses for HTTPS.
    pub fn open(
        gateway: &Gateway,
        knows: impl Fn(&str) -> bool + Send + Sync + 'static,
        challenges: Arc<Challenges>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, CertReport), TlsError> {
        let mode = gateway.tls.mode;
        if mode == TlsMode::Production && !gateway.https.is_empty() && !gateway.certs.exists() {
            return Err(TlsError::NoFolder(gateway.certs.clone()));
        }
        let mut store = Store::new(gateway);
        let mut report = store.load(now())?;
        if let Some(faults) = unusable(&report.diagnostics) {
            return Err(TlsError::Unusable(faults));
        }
        let knows: Knows = Arc::new(knows);
        let development = match mode {
            TlsMode::Development => Some(Development::new(knows.clone())?),
            TlsMode::Production => None,
        };
        let resolver = Arc::new(Resolver { index: ArcSwap::new(store.index().clone()), development });
        let tickets = gateway.tls.ticket_keys.as_deref().map(|path| Tickets::open(path, now));
        report.diagnostics.extend(tickets.iter().flat_map(|tickets| tickets.findings()));
        let shared = tickets.clone().map(|tickets| tickets as Arc<dyn ProducesTickets>);
        let config = policy::server_config(gateway.tls.policy, resolver.clone(), shared)?;
        let folder = gateway.certs.clone();
        let proofs = Proofs::new(challenges, knows);
        let tls = Tls { folder, mode, store: Mutex::new(store), resolver, config, proofs, tickets, metrics };
        tls.publish(&report);
        Ok((tls, report))
    }

    /// The folder that the certificates come from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings for a listener that speaks these protocols, the preferred first (`h2`, `http/1.1`). All that are
    /// given out share sessions and tickets, and follow reloads.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = self.config.clone();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// The settings for the handshake of an authority that asks by `tls-alpn-01` whether a host leads here (RFC 8737);
    /// none unless the host is served and its name is being proven. Reads a file.
    pub fn challenge_config(&self, host: &str) -> Option<Arc<ServerConfig>> {
        self.proofs.config(host)
    }

    /// Reads the files that changed and swaps the index; handshakes under way end with what they began with.
    ///
    /// # Errors
    /// If the folder can't be read; then everything stays as it was.
    pub fn reload(&self) -> io::Result<CertReport> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh_tickets();
        let mut report = store.load(now()).inspect_err(|_| self.metrics.certificates().set_unreadable())?;
        report.diagnostics.extend(self.tickets.iter().flat_map(|tickets| tickets.findings()));
        if report.read > 0 || report.removed > 0 {
            self.resolver.index.store(store.index().clone());
        }
        self.publish(&report);
        Ok(report)
    }

    /// Looks whether the fleet has another key of session tickets, and makes one if it is due. A reload does so too.
    pub fn refresh_tickets(&self) {
        if let Some(tickets) = &self.tickets {
            tickets.refresh();
        }
    }

    /// What is served now, and what is wrong with it, as of the last reload.
    #[cfg(test)]
    fn inventory(&self) -> Inventory {
        let now = now();
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        inventory::take(store.index(), store.diagnostics(now), now)
    }

    /// The names that valid certificates of the operator's own cover at `now` (Unix seconds), as of the last reload.
    pub fn own_names(&self, now: i64) -> HashSet<String> {
        let index = self.resolver.index.load();
        let is_own =
            |entry: &&Arc<index::Entry>| !entry.is_acme && entry.leaf.not_before <= now && now <= entry.chain_not_after;
        index.entries().iter().filter(is_own).flat_map(|entry| &*entry.leaf.names).map(ToString::to_string).collect()
    }

    /// Why a client that asked for this host (lower-case; empty if it named none) got no certificate, and what to do.
    pub fn why_refused(&self, name: &str) -> String {
        let folder = self.folder.display();
        let index = self.resolver.index.load();
        if name.is_empty() && !index.has_default() {
            return format!(
                "the client named no host, and there is no default: put a chain and its key into {folder}/default.pem for such clients"
            );
        }
        if index.has_default() || index.covers(name) {
            let whose = if name.is_empty() { "for clients that name no host" } else { name };
            return format!(
                "no certificate suits the client ({whose}): beside one for an ECDSA key it may need one for RSA"
            );
        }
        let hint = match self.mode {
            TlsMode::Production => ", or set [tls] mode = \"development\" while trying out",
            TlsMode::Development => "",
        };
        let name = readable_host(name);
        format!("no certificate covers `{name}`: put its chain and key into {folder}{hint}")
    }

    /// A finding that names the hosts without a certificate, if there are any. Where there is no certificate at all and
    /// nothing is refused for it, there is nothing to find.
    pub fn uncovered<'a>(&self, hosts: impl IntoIterator<Item = &'a HostPattern>) -> Option<Diagnostic> {
        uncovered(&self.resolver.index.load(), &self.folder, self.mode, hosts)
    }

    fn publish(&self, report: &CertReport) {
        let index = self.resolver.index.load();
        let now = now();
        let mut expiries: BTreeMap<&str, i64> = BTreeMap::new();
        let nameless = [CompactString::default()];
        // The first names of all, then the others as long as there is room.
        for first in [true, false] {
            for entry in index.entries() {
                let names = if entry.leaf.names.is_empty() { &nameless } else { &*entry.leaf.names };
                let (head, tail) = names.split_at(1);
                let names = if first { head } else { tail }.iter().filter(|name| index.is_served(entry, name, now));
                for name in names {
                    if expiries.len() < MAX_EXPIRIES || expiries.contains_key(name.as_str()) {
                        let expiry = expiries.entry(name).or_insert(i64::MAX);
                        *expiry = entry.chain_not_after.min(*expiry);
                    }
                }
            }
        }
        self.metrics.certificates().set(report.certificates, &expiries, report.faulty.len());
    }
}

/// Everything that is wrong with the certificates of a node whose routes have these hosts.
///
/// # Errors
/// If the folder can't be read.
pub fn check<'a>(gateway: &Gateway, hosts: impl IntoIterator<Item = &'a HostPattern>) -> io::Result<CertReport> {
    let mut store = Store::new(gateway);
    let mut report = store.load(now())?;
    report.diagnostics.extend(gateway.tls.ticket_keys.as_deref().map(tickets::check).unwrap_or_default());
    report.diagnostics.extend(uncovered(store.index(), &gateway.certs, gateway.tls.mode, hosts));
    Ok(report)
}

/// One line about the files that keep a gateway from starting, if any do. Nobody is served with what they say: better to
/// say so now, with the operator looking on, than to serve their hosts something else.
fn unusable(findings: &[Diagnostic]) -> Option<String> {
    let mut faults = findings.iter().filter(|finding| UNUSABLE.contains(&finding.code));
    let first = faults.next()?;
    let hint = first.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    let rest = match faults.count() {
        0 => String::new(),
        rest => format!("; and {rest} more, which `waypost check` lists"),
    };
    Some(format!("{}:{}: {}{hint}{rest}", first.file, first.line, first.message))
}

fn uncovered<'a>(
    index: &Index,
    folder: &Path,
    mode: TlsMode,
    hosts: impl IntoIterator<Item = &'a HostPattern>,
) -> Option<Diagnostic> {
    if index.entries().is_empty() && mode == TlsMode::Development {
        return None;
    }
    let (mut count, mut named) = (0, Vec::new());
    for host in hosts {
        let covered = match host {
            HostPattern::Exact(host) => index.covers(host.as_str()),
            HostPattern::Below(parent) => index.covers_below(parent.as_str()),
        };
        if !covered {
            count += 1;
            if named.len() < MAX_NAMED {
                named.push(host.to_string());
            }
        }
    }
    let rest = match count - named.len() {
        0 if count == 0 => return None,
        0 => String::new(),
        rest => format!(", and {rest} more"),
    };
    let (hosts, have) = if count == 1 { ("host", "has") } else { ("hosts", "have") };
    let message = format!("{count} {hosts} of the routes {have} no certificate: {}{rest}", named.join(", "));
    let hint = match mode {
        TlsMode::Production => "HTTPS is refused there: put their chains and keys into this folder",
        TlsMode::Development => {
            "a self-signed one is made for each, which browsers warn of: put their chains and keys into this folder"
        }
    };
    let folder = Arc::from(folder.to_string_lossy());
    Some(file::finding("uncovered-host", &folder, 1, message).hint(hint).warning())
}

/// Reads bytes as each kind of file that is read here.
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    let file = file::CertFile::parse(bytes, &Arc::from("fuzz.pem"), None);
    assert!(file.certs.len() + file.keys.len() + file.findings.len() <= bytes.len().max(1));
    // Few rounds: what they come to does not depend on how many there are.
    let _ = pbes2::unlock(bytes, b"right", &mut 50);
    for block in pem::blocks(bytes) {
        let _ = pem::decode(&block).map(|der| pbes2::unlock(&der, b"right", &mut 50));
    }
    if let Ok(response) = ocsp::Response::parse(bytes) {
        assert!(response.serials().count() <= bytes.len() / 4);
    }
    ticket_file::fuzz(bytes);
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
