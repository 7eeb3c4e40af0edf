//! What is to be done next, and how many certificates and days it will take: pure functions of the ledger and the time.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::domains::registered;
use super::ledger::{Certificate, Entry, Event, Ledger, OrderId, domains};
use crate::config::AcmeLimits;

/// A name that is to have a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A canonical host; a wildcard is `*.name`.
    pub name: String,
    /// The site that has it, by its id.
    pub site: String,
    /// Its owner; empty if nobody is named.
    pub owner: String,
    /// Its wave.
    pub wave: u16,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on with the order that is under way. Placing it (again) is allowed.
    Resume(OrderId),
    /// Order a certificate.
    Order(Batch),
    /// Nothing before this moment, Unix seconds; [`i64::MAX`] if nothing will be, unless something else changes.
    Wait(i64),
}

/// The names of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Sorted.
    pub names: Vec<String>,
    /// The certificate that has most of these names now, by its id.
    pub replaces: Option<String>,
}

/// A certificate that is wanted by this moment is ordered before one that only new names want: about 14 days of warning
/// time before citizens see a broken site.
const PATIENCE: i64 = 14 * 86_400;

/// What is to be done at `now` (Unix seconds) for these names, each of which can be ordered.
pub fn next(ledger: &Ledger, wanted: &[Wanted], limits: &AcmeLimits, now: i64) -> Step {
    if let Some(open) = ledger.open_order() {
        // What was placed counts already; to place it again takes room for another.
        let at = if open.url.is_some() { now } else { ledger.may_place_at(limits, now) };
        return if at <= now { Step::Resume(open.id) } else { Step::Wait(at) };
    }
    let coverage = ledger.coverage(now);
    let mut later = i64::MAX;
    let mut needed: BTreeMap<i64, Vec<&Wanted>> = BTreeMap::new();
    for name in wanted {
        let covered = coverage.get(name.name.as_str());
        let due = covered.map_or(i64::MIN, |certificate| certificate.renewal());
        let at = due.max(ledger.trouble(&name.name).map_or(i64::MIN, |trouble| trouble.retry()));
        if at > now {
            later = later.min(at);
            continue;
        }
        // Of names that have a certificate the one that ends first matters most; new names are all alike.
        let end = covered.map_or(now.saturating_add(PATIENCE), |certificate| certificate.not_after);
        needed.entry(end).or_default().push(name);
    }
    for names in needed.into_values() {
        for names in pack(names, limits.names) {
            let at = ledger.allowed_at(&names, limits, now);
            if at <= now {
                return Step::Order(Batch { replaces: replaced(&names, &coverage), names });
            }
            later = later.min(at);
        }
    }
    Step::Wait(later)
}

/// Names by certificates: those of one registered domain together, in them by wave, owner and site, and as few
/// certificates as can be. A domain is split where a certificate is full.
fn pack(names: Vec<&Wanted>, size: usize) -> Vec<Vec<String>> {
    let mut domains: HashMap<&str, Vec<&Wanted>> = HashMap::new();
    for name in names {
        domains.entry(registered(&name.name)).or_default().push(name);
    }
    let mut domains: Vec<(&str, Vec<&Wanted>)> = domains.into_iter().collect();
    for (_, names) in &mut domains {
        names.sort_by_key(|name| (name.wave, &name.owner, &name.site, &name.name));
        names.dedup_by_key(|name| &name.name);
    }
    domains.sort_by_key(|(domain, names)| (names.first().map(|name| (name.wave, &name.owner)), *domain));
    let all: Vec<&str> = domains.iter().flat_map(|(_, names)| names.iter().map(|name| name.name.as_str())).collect();
    let sorted = |names: &[&str]| {
        let mut names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        names.sort_unstable();
        names
    };
    all.chunks(size.max(1)).map(sorted).collect()
}

fn replaced(names: &[String], coverage: &HashMap<&str, &Certificate>) -> Option<String> {
    let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        if let Some(certificate) = coverage.get(name.as_str()) {
            *shares.entry(&certificate.id).or_default() += 1;
        }
    }
    shares.into_iter().max_by_key(|(_, share)| *share).map(|(id, _)| id.to_owned())
}

/// An order of a [`plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Planned {
    /// When it can be placed, Unix seconds.
    pub at: i64,
    /// Its names, sorted.
    pub names: Vec<String>,
    /// Their registered domains, sorted.
    pub domains: Vec<String>,
    /// Whether it is under way already.
    pub open: bool,
}

/// The orders by which all these names get a certificate, if every name is proven at once: what [`next`] would do, with
/// the time that the limits want between them. Renewals that come after that are not in it, those that are due now are.
pub fn plan(ledger: &Ledger, wanted: &[Wanted], limits: &AcmeLimits, now: i64) -> Vec<Planned> {
    let mut ledger = ledger.clone();
    let mut plan = Vec::new();
    let mut at = now;
    loop {
        let order = match next(&ledger, wanted, limits, at) {
            Step::Resume(order) => {
                let names = ledger.order(order).map(|order| order.names.clone()).unwrap_or_default();
                plan.push(Planned { at, domains: domains(&names), names, open: true });
                order
            }
            Step::Order(Batch { names, replaces }) => {
                let order = ledger.next_order();
                plan.push(Planned { at, domains: domains(&names), names: names.clone(), open: false });
                ledger.apply(&Entry { at, event: Event::Ordering { order, names, replaces } });
                order
            }
            // Nothing new is waited for longer than for the last of the names that have no certificate.
            Step::Wait(until) => {
                let coverage = ledger.coverage(at);
                let is_waiting = wanted.iter().any(|name| {
                    coverage.get(name.name.as_str()).is_none_or(|certificate| certificate.renewal() <= now)
                });
                if until == i64::MAX || !is_waiting {
                    return plan;
                }
                at = until;
                continue;
            }
        };
        for event in [
            Event::Ordered { order, url: String::new() },
            Event::Issued {
                order,
                certificate: format!("planned-{order}"),
                file: String::new(),
                not_before: at,
                // For ever, as far as a plan goes.
                not_after: at.saturating_add(1 << 40),
            },
        ] {
            ledger.apply(&Entry { at, event });
        }
    }
}
