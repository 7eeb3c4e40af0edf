//! `waypost certs plan`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write,
    process::ExitCode,
};

use serde_json::json;

use super::super::output::{count, print};
use super::{NodeArgs, View, days, moment};
use crate::acme::{self, Reason, Wanted};

/// Hosts that a line names.
const SHOWN: usize = 5;

pub(super) fn run(node: &NodeArgs, names: bool, json: bool) -> anyhow::Result<ExitCode> {
    let view = View::open(node)?;
    let limits = &view.gateway.acme.limits;
    let plan = acme::plan(&view.ledger, &view.wanted, limits, view.now);
    let coverage = view.ledger.coverage(view.now);
    let covered = view.wanted.iter().filter(|name| coverage.contains_key(name.name.as_str())).count();
    let last = plan.last().map_or(0, |order| days(view.now, order.at));
    let planned: usize = plan.iter().map(|order| order.names.len()).sum();
    let mut left_out: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for host in view.unwanted.iter().filter(|host| host.why != Reason::Covered) {
        left_out.entry(host.why.text()).or_default().push(&host.name);
    }
    let by_files = view.unwanted.iter().filter(|host| host.why == Reason::Covered).count();
    if json {
        let left_out: Vec<_> = left_out.iter().map(|(why, hosts)| json!({ "why": why, "hosts": hosts })).collect();
        let report = json!({
            "directory": view.gateway.acme.directory,
            "certificates": plan.len(),
            "names": planned,
            "days": last,
            "covered-by-acme": covered,
            "covered-by-files": by_files,
            "orders": plan,
            "not-ordered": left_out,
        });
        return print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    }
    let by_name: HashMap<&str, &Wanted> = view.wanted.iter().map(|name| (name.name.as_str(), name)).collect();
    let mut out = String::new();
    for (number, order) in (1..).zip(&plan) {
        let of = || order.names.iter().filter_map(|name| by_name.get(name.as_str()));
        let owners: BTreeSet<&str> = of().map(|name| name.owner.as_str()).filter(|owner| !owner.is_empty()).collect();
        let waves: BTreeSet<String> =
            of().map(|name| name.wave).filter(|wave| *wave > 0).map(|wave| wave.to_string()).collect();
        let when = match order {
            _ if order.open => "under way".to_owned(),
            _ if order.at <= view.now => "at once".to_owned(),
            _ => format!("from {}", moment(order.at)),
        };
        // Writing to a String can't fail.
        let _ = write!(out, "{number:>5}  {when:<21} {:>9}  {}", count(order.names.len(), "name"), few(&order.domains));
        for (word, set) in [("owner", few(owners)), ("wave", few(waves))] {
            if !set.is_empty() {
                let _ = write!(out, "  {word} {set}");
            }
        }
        out.push('\n');
        if names {
            order.names.iter().for_each(|name| _ = writeln!(out, "           {name}"));
        }
    }
    let time = match last {
        _ if plan.is_empty() => String::new(),
        0 => ", all today".to_owned(),
        days => format!(", the last in {}", count(days as usize, "day")),
    };
    let _ = writeln!(out, "{} for {}{time}", count(plan.len(), "certificate"), count(planned, "name"));
    if covered > 0 {
        let _ = writeln!(out, "{} covered by certificates of the authority already", are(covered));
    }
    if by_files > 0 {
        let _ = writeln!(out, "{} covered by files in {}", are(by_files), view.gateway.certs.display());
    }
    for (why, hosts) in &left_out {
        let _ = writeln!(out, "{} not ordered: {why}: {}", are(hosts.len()), few(hosts));
    }
    if view.gateway.acme.directory.is_none() {
        out.push_str("Nothing is ordered until [acme] of gateway.toml names a directory and agrees to its terms.\n");
    }
    print(&out)
}

fn are(number: usize) -> String {
    format!("{} {}", count(number, "host"), if number == 1 { "is" } else { "are" })
}

/// The first few of a list, and how many more there are.
fn few<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<T> = items.into_iter().collect();
    let shown: Vec<&str> = items.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match items.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
