//! `waypost certs issue`, `renew` and `revoke`.

use std::{
    collections::{BTreeSet, HashSet},
    io::{IsTerminal, stderr},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::super::output::{count, print, print_and};
use super::{NodeArgs, View, moment};
use crate::acme::{Certificate, Engine, Failure, Progress, RevocationReason, Session, Wanted};
use crate::model::Host;
use crate::tls::{Challenges, STATE_FOLDER};

/// Names that a line lists.
const SHOWN: usize = 20;

/// Orders what has no certificate: these hosts, or all.
pub(super) fn issue(node: &NodeArgs, hosts: &[String], json: bool) -> anyhow::Result<ExitCode> {
    let view = View::open(node)?;
    let names = if hosts.is_empty() {
        let coverage = view.ledger.coverage(view.now);
        view.wanted.iter().filter(|name| !coverage.contains_key(name.name.as_str())).cloned().collect()
    } else {
        chosen(&view, hosts)?
    };
    order(&view, names, !hosts.is_empty(), json)
}

/// Renews what is due, or these hosts' certificates, or all.
pub(super) fn renew(node: &NodeArgs, hosts: &[String], all: bool, json: bool) -> anyhow::Result<ExitCode> {
    let view = View::open(node)?;
    let coverage = view.ledger.coverage(view.now);
    let chosen = chosen(&view, hosts)?;
    let mut certificates: BTreeSet<&str> = BTreeSet::new();
    for name in &chosen {
        match coverage.get(name.name.as_str()) {
            Some(certificate) => certificates.insert(&certificate.id),
            None => bail!("{} has no certificate of the authority yet: `waypost certs issue {0}`", name.name),
        };
    }
    let is_meant = |name: &&Wanted| {
        coverage.get(name.name.as_str()).is_some_and(|certificate| match (all, hosts) {
            (true, _) => true,
            (_, []) => certificate.renewal() <= view.now,
            _ => certificates.contains(certificate.id.as_str()),
        })
    };
    let names = view.wanted.iter().filter(is_meant).cloned().collect();
    order(&view, names, all || !hosts.is_empty(), json)
}

/// The wanted names among these hosts.
fn chosen(view: &View, hosts: &[String]) -> anyhow::Result<Vec<Wanted>> {
    let mut names = Vec::new();
    for host in hosts {
        let name = match host.strip_prefix("*.") {
            Some(parent) => format!("*.{}", Host::parse(parent.as_bytes())?),
            None => Host::parse(host.as_bytes())?.to_string(),
        };
        match view.wanted.iter().find(|wanted| wanted.name == name) {
            Some(wanted) => names.push(wanted.clone()),
            None => match view.unwanted.iter().find(|unwanted| unwanted.name == name) {
                Some(unwanted) => bail!("{name} is not ordered: {}", unwanted.why.text()),
                None => bail!("no site has the host {name}: add it to the `hosts` of one"),
            },
        }
    }
    Ok(names)
}

/// What came of it all.
#[derive(Default)]
struct Outcome {
    issued: Vec<(String, Vec<String>, i64)>,
    failures: Vec<Failure>,
}

fn order(view: &View, names: Vec<Wanted>, is_urgent: bool, json: bool) -> anyhow::Result<ExitCode> {
    if view.gateway.acme.directory.is_none() {
        bail!("nothing can be ordered: name an authority in gateway.toml ([acme] directory, agree-terms = true)");
    }
    if names.is_empty() && view.ledger.open_order().is_none() {
        let text = if json { "{\n  \"issued\": [],\n  \"failed\": []\n}\n" } else { "nothing is to be ordered\n" };
        return print(text);
    }
    let settled: Arc<Mutex<HashSet<String>>> = Arc::default();
    let (asked, done) = (names.clone(), settled.clone());
    // What was issued, or has failed, is not wanted at once again.
    let wanted = move || {
        let done = done.lock().unwrap_or_else(PoisonError::into_inner);
        let still = |name: &Wanted| Wanted { is_urgent: is_urgent && !done.contains(&name.name), ..name.clone() };
        asked.iter().map(still).collect()
    };
    let state = view.gateway.certs.join(STATE_FOLDER);
    let engine = Engine::new(&view.gateway, Arc::new(Challenges::open(&state)), wanted);
    let outcome: Mutex<Outcome> = Mutex::default();
    let bar = Bar { is_shown: stderr().is_terminal(), of: names.len() };
    let tell = |progress: Progress| {
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let mut settled = settled.lock().unwrap_or_else(PoisonError::into_inner);
        match &progress {
            Progress::Issued { names, file, not_after, .. } => {
                settled.extend(names.iter().cloned());
                outcome.issued.push((file.clone(), names.clone(), *not_after));
            }
            Progress::Failed { failures, .. } => {
                settled.extend(failures.iter().map(|failure| failure.name.clone()));
                outcome.failures.extend(failures.iter().cloned());
            }
            _ => {}
        }
        let covered = outcome.issued.iter().map(|(_, names, _)| names.len()).sum();
        bar.show(&progress, covered);
    };
    let rest = runtime()?.block_on(engine.once(&mut Session::default(), &tell));
    bar.clear();
    let rest = rest.context("certificates are not ordered")?;
    let Outcome { issued, mut failures } = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.extend(rest.not_ready);
    let covered: HashSet<&str> = issued.iter().flat_map(|(_, names, _)| names).map(String::as_str).collect();
    failures.retain(|failure| !covered.contains(failure.name.as_str()));
    let left = names.iter().filter(|name| !covered.contains(name.name.as_str())).count();
    let code = if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let until = Some(rest.until).filter(|until| *until < i64::MAX);
    if json {
        let issued: Vec<_> = issued
            .iter()
            .map(|(file, names, not_after)| json!({ "file": file, "names": names, "not-after": not_after }))
            .collect();
        let report = json!({ "issued": issued, "failed": failures, "left": left, "next": until });
        return print_and(&format!("{}\n", serde_json::to_string_pretty(&report)?), code);
    }
    let mut out = String::new();
    for (file, names, not_after) in &issued {
        let first = names.first().map_or("", String::as_str);
        let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        out += &format!("{file}: {first}{more}, until {}\n", moment(*not_after));
    }
    for failure in failures.iter().take(SHOWN) {
        out += &format!("{}: {}\n", failure.name, failure.why);
    }
    if failures.len() > SHOWN {
        out += &format!("and {} more, which `waypost certs doctor` lists\n", failures.len() - SHOWN);
    }
    out += &format!("{} for {}", count(issued.len(), "certificate"), count(covered.len(), "name"));
    if left > 0 {
        out +=
            &format!("; {} not covered", if left == 1 { "1 name is".to_owned() } else { format!("{left} names are") });
        if let Some(until) = until {
            out += &format!(", the next is tried from {}", moment(until));
        }
    }
    out.push('\n');
    print_and(&out, code)
}

/// One line on a terminal that tells how far it is, and lines of what goes wrong.
struct Bar {
    is_shown: bool,
    of: usize,
}

impl Bar {
    fn show(&self, progress: &Progress, covered: usize) {
        let line = match progress {
            Progress::Trying { done, of } => format!("trying names before they are ordered: {done} of {of}"),
            Progress::Ordering { order, names } => format!("order {order}: {}", count(*names, "name")),
            Progress::Proving { order, failed, of } => {
                format!("order {order}: the authority looks at {}, {failed} failed", count(*of, "name"))
            }
            Progress::Waiting { until, why } => {
                self.clear();
                return eprintln!("waiting until {}: {why}", moment(*until));
            }
            Progress::Dropped { order, why } => {
                self.clear();
                return eprintln!("order {order} came to nothing: {why}");
            }
            Progress::NotReady(_) | Progress::Failed { .. } | Progress::Issued { .. } => return,
        };
        if self.is_shown {
            let filled = (covered * WIDTH).checked_div(self.of).unwrap_or(WIDTH).min(WIDTH);
            let bar = "█".repeat(filled) + &"░".repeat(WIDTH - filled);
            eprint!("\r{bar} {covered} of {}  {line}\x1b[K", self.of);
        }
    }

    fn clear(&self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// Cells of the bar.
const WIDTH: usize = 24;

/// Why a certificate is revoked (RFC 5280, section 5.3.1), of what subscribers may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Reason {
    /// No particular one.
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// Another certificate takes its place.
    Superseded,
    /// The names are not ours any more.
    CessationOfOperation,
    /// The owner's name has changed.
    AffiliationChanged,
}

/// Revokes the certificate of a file, a host or an id.
pub(super) fn revoke(node: &NodeArgs, which: &str, reason: Reason, json: bool) -> anyhow::Result<ExitCode> {
    let view = View::open(node)?;
    let live: Vec<&Certificate> = view.ledger.certificates().filter(|known| known.is_live(view.now)).collect();
    let coverage = view.ledger.coverage(view.now);
    let found = live.iter().find(|known| {
        known.id == which || known.file == which || view.gateway.certs.join(&known.file).as_os_str() == which
    });
    let Some(certificate) = found.copied().or_else(|| coverage.get(which).copied()) else {
        bail!(
            "no certificate of the authority is `{which}`: give a host, its file or its SHA-256 (`waypost certs list`)"
        );
    };
    let reason = match reason {
        Reason::Unspecified => RevocationReason::Unspecified,
        Reason::KeyCompromise => RevocationReason::KeyCompromise,
        Reason::Superseded => RevocationReason::Superseded,
        Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
        Reason::AffiliationChanged => RevocationReason::AffiliationChanged,
    };
    let state = view.gateway.certs.join(STATE_FOLDER);
    let engine = Engine::new(&view.gateway, Arc::new(Challenges::open(&state)), Vec::new);
    runtime()?.block_on(engine.revoke(&certificate.id, reason)).context("it is not revoked")?;
    if json {
        let report = json!({ "revoked": certificate.id, "file": certificate.file, "names": certificate.names });
        return print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    }
    print(&format!(
        "{} is revoked; it is served until another takes its place, which the gateway orders within minutes (`waypost certs issue` does it now)\n",
        certificate.file
    ))
}

/// Threads for what waits on the network.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
