//! `waypost certs doctor`.

use std::{
    collections::HashMap,
    fmt::Write,
    io::{IsTerminal, stderr},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::super::output::{count, print_and};
use super::order::runtime;
use super::{NodeArgs, View, days, moment};
use crate::acme::{self, Progress};
use crate::config::Severity;
use crate::model::Host;
use crate::tls::{Challenges, STATE_FOLDER};

/// A certificate that lasts less than so many days is told of even if it is good.
const SOON: i64 = 21;

/// Hosts with the same trouble that are named.
const SHOWN: usize = 20;

/// What ails a host.
#[derive(Debug, Serialize)]
struct Ailment {
    host: String,
    site: String,
    /// What clients see now.
    what: String,
    why: String,
    #[serde(rename = "do")]
    remedy: String,
}

/// How hosts are looked at and shown.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct How {
    /// Ask nobody: neither DNS nor the hosts themselves.
    #[arg(long)]
    offline: bool,
    /// Name every host, also where many have the same trouble.
    #[arg(long)]
    all: bool,
}

pub(super) fn run(node: &NodeArgs, host: Option<&str>, how: &How, json: bool) -> anyhow::Result<ExitCode> {
    let view = View::open(node)?;
    let only = host.map(|host| Host::parse(host.as_bytes())).transpose()?;
    if let Some(host) = &only
        && !view.snapshot.answers_host(host)
    {
        anyhow::bail!("no site has the host {host}: `waypost explain http://{host}/` says how it is answered");
    }
    let tried = if how.offline { HashMap::new() } else { tried(&view, only.as_ref())? };
    let (ailments, hosts) = examine(&view, only.as_ref(), &tried);
    let code = if ailments.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        let report = json!({ "hosts": hosts, "ailing": ailments });
        return print_and(&format!("{}\n", serde_json::to_string_pretty(&report)?), code);
    }
    let mut out = String::new();
    // Hosts that have the same trouble are told of together.
    let mut groups: Vec<(&Ailment, Vec<&str>)> = Vec::new();
    let mut known: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for ailment in &ailments {
        let group = *known.entry((&ailment.what, &ailment.why, &ailment.remedy)).or_insert_with(|| {
            groups.push((ailment, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(&ailment.host);
    }
    for (ailment, hosts) in &groups {
        // Writing to a String can't fail.
        let shown = if how.all { hosts.len() } else { SHOWN.min(hosts.len()) };
        hosts[..shown].iter().for_each(|host| _ = writeln!(out, "{host}"));
        if shown < hosts.len() {
            let _ = writeln!(out, "and {} more (--all)", hosts.len() - shown);
        }
        let _ = writeln!(out, "    {}: {}", ailment.what, ailment.why);
        let _ = writeln!(out, "    to do: {}\n", ailment.remedy);
    }
    let _ = match ailments.len() {
        0 => writeln!(out, "{}: all have a good certificate", count(hosts, "host")),
        ailing => writeln!(out, "{} of {}", ailing, count(hosts, "host") + " without a good certificate"),
    };
    print_and(&out, code)
}

/// Tries the hosts that are to have a certificate of the authority and have none, as it is done before they are ordered:
/// those that fail, and why.
fn tried(view: &View, only: Option<&Host>) -> anyhow::Result<HashMap<String, String>> {
    let settings = &view.gateway.acme;
    let challenges = Arc::new(Challenges::open(&view.gateway.certs.join(STATE_FOLDER)));
    // Before there is an account no gateway has an answer.
    if settings.directory.is_none() || challenges.key_authorization("doctor").is_none() {
        return Ok(HashMap::new());
    }
    let coverage = view.ledger.coverage(view.now);
    let names: Vec<String> = view
        .wanted
        .iter()
        .filter(|name| !coverage.contains_key(name.name.as_str()))
        .filter(|name| only.is_none_or(|only| only.as_str() == name.name))
        .map(|name| name.name.clone())
        .collect();
    let is_shown = stderr().is_terminal();
    let tell = |progress| match progress {
        Progress::Trying { done, of } if is_shown => eprint!("\rtrying: {done} of {of} hosts\x1b[K\r"),
        _ => {}
    };
    let outcomes = runtime()?.block_on(acme::preflight(settings, &challenges, &names, &tell));
    Ok(outcomes.into_iter().filter_map(|(name, outcome)| Some((name, outcome.err()?))).collect())
}

/// What ails which hosts, and how many were looked at.
fn examine(view: &View, only: Option<&Host>, tried: &HashMap<String, String>) -> (Vec<Ailment>, usize) {
    let served = view.served();
    let unwanted: HashMap<&str, acme::Reason> =
        view.unwanted.iter().map(|host| (host.name.as_str(), host.why)).collect();
    let mut planned: HashMap<String, i64> = HashMap::new();
    for order in acme::plan(&view.ledger, &view.wanted, &view.gateway.acme.limits, view.now) {
        planned.extend(order.names.into_iter().map(|name| (name, order.at)));
    }
    let (mut ailments, mut looked) = (Vec::new(), 0);
    for site in view.snapshot.sites() {
        for host in site.hosts.iter().filter(|host| only.is_none_or(|only| host.matches(only.as_str()))) {
            looked += 1;
            let host = host.to_string();
            let (what, mut trouble) = match served.get(&host) {
                Some(info) => {
                    let faulty = info.problems.iter().find(|problem| problem.severity == Severity::Error);
                    let left = days(view.now, info.not_after);
                    match faulty {
                        Some(fault) => {
                            let hint = fault.hint.clone().unwrap_or_else(|| "mend the file".to_owned());
                            let why = format!("{}:{}: {}", fault.file, fault.line, fault.message);
                            ("its certificate is faulty".to_owned(), Some((why, hint)))
                        }
                        None if left >= SOON => continue,
                        // Short ones are renewed late.
                        None if view
                            .ledger
                            .certificate(&info.sha256)
                            .is_some_and(|known| known.renewal() > view.now) =>
                        {
                            continue;
                        }
                        None if !info.is_acme && view.gateway.acme.directory.is_none() => {
                            let why = format!("it ends on {}, and nothing renews it", moment(info.not_after));
                            let hint = format!("put a new chain and key into {}", view.gateway.certs.display());
                            (
                                format!("it has a certificate for {} more", count(left as usize, "day")),
                                Some((why, hint)),
                            )
                        }
                        None => (format!("it has a certificate for {} more", count(left as usize, "day")), None),
                    }
                }
                None => (absent(view, &host), None),
            };
            if trouble.is_none() {
                let (unwanted, planned) = (unwanted.get(host.as_str()).copied(), planned.get(&host).copied());
                trouble = Some(match tried.get(&host).filter(|_| unwanted.is_none()) {
                    Some(why) => (
                        format!("it is not ordered: {why}"),
                        "once that is mended, the gateway orders it by itself; `waypost certs issue` does it now"
                            .to_owned(),
                    ),
                    None => untold(view, &host, unwanted, planned),
                });
            }
            if let Some((why, remedy)) = trouble {
                ailments.push(Ailment { host, site: site.id.to_string(), what, why, remedy });
            }
        }
    }
    (ailments, looked)
}

/// What clients get who ask for a host that no valid certificate covers.
fn absent(view: &View, host: &str) -> String {
    let of_host = view.inventory.certificates.iter().filter(|info| info.covers(host));
    match of_host.max_by_key(|info| info.not_after) {
        Some(info) if info.not_before > view.now => {
            format!("{}:{} is not valid before {}", info.file, info.line, moment(info.not_before))
        }
        Some(info) => format!("{}:{} has ended on {}", info.file, info.line, moment(info.not_after)),
        None => "it has no certificate".to_owned(),
    }
}

/// Why a host has no certificate of the authority, and what to do.
fn untold(view: &View, host: &str, unwanted: Option<acme::Reason>, planned: Option<i64>) -> (String, String) {
    let files = format!("put a chain and its key into {} (`waypost certs import`)", view.gateway.certs.display());
    let settings = &view.gateway.acme;
    if let Some(why) = unwanted {
        return (format!("none is ordered: {}", why.text()), files);
    }
    if settings.directory.is_none() {
        return (
            "none is ordered: gateway.toml names no authority".to_owned(),
            format!("name one ([acme] directory, agree-terms = true), or {files}"),
        );
    }
    if let Some(trouble) = view.ledger.trouble(host).filter(|trouble| trouble.retry() > view.now) {
        let why = match trouble.failures {
            0 => format!("the order came to nothing: {}", trouble.why),
            times => format!("the authority could not verify it ({}): {}", count(times as usize, "time"), trouble.why),
        };
        let retry = moment(trouble.retry());
        return (
            why,
            format!(
                "see to it that its name leads to this fleet; it is tried again from {retry}, or now by `waypost certs issue {host}`"
            ),
        );
    }
    if let Some((until, why)) = view.ledger.limited().filter(|(until, _)| *until > view.now) {
        return (
            format!("the authority wants no orders: {why}"),
            format!("wait: it is asked again from {}", moment(until)),
        );
    }
    if let Some(order) = view.ledger.open_order().filter(|order| order.names.iter().any(|name| name == host)) {
        return (
            format!("its order is under way since {}", moment(order.begun)),
            "wait; the running gateway, or `waypost certs issue`, takes it to its end".to_owned(),
        );
    }
    match planned {
        Some(at) if at > view.now => (
            "the authority's limits are used up".to_owned(),
            format!("wait: it is ordered from {}; `waypost certs plan` shows all", moment(at)),
        ),
        _ => (
            "it has not been ordered yet".to_owned(),
            "the running gateway orders it within minutes; `waypost certs issue` does it now".to_owned(),
        ),
    }
}
