//! What happened with the authority, and what follows from it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::domains::registered;
use crate::config::AcmeLimits;

/// Orders are numbered from 1, by their place in the ledger.
pub type OrderId = u64;

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Unix seconds.
    pub at: i64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened, or all that matters of what had happened before. Names are canonical hosts; a wildcard is `*.name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A ledger begins with what another had come to.
    Compacted {
        /// That.
        ledger: Box<Ledger>,
    },
    /// An order is about to be placed. It counts from now on, whatever the authority hears of it.
    Ordering {
        /// Its number.
        order: OrderId,
        /// What it is for.
        names: Vec<String>,
        /// The certificate that it takes the place of, by its id in [`Event::Issued`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<String>,
    },
    /// The authority has taken it.
    Ordered {
        /// Which.
        order: OrderId,
        /// Where it is, at the authority.
        url: String,
    },
    /// The authority did not find names proven.
    Invalid {
        /// Of which order.
        order: OrderId,
        /// Which names, and why.
        failures: Vec<Failure>,
    },
    /// All names are proven, and the key is in its file.
    Finalizing {
        /// Which.
        order: OrderId,
    },
    /// The certificate and its key are in their file.
    Issued {
        /// Of which order.
        order: OrderId,
        /// SHA-256 of the certificate, in hex.
        certificate: String,
        /// Its file, below the folder of certificates.
        file: String,
        /// When it begins and ends to be valid, Unix seconds.
        not_before: i64,
        /// Its end.
        not_after: i64,
    },
    /// The order came to nothing.
    Dropped {
        /// Which.
        order: OrderId,
        /// Why.
        why: String,
    },
    /// The authority wants no orders before then.
    Limited {
        /// Unix seconds.
        until: i64,
        /// What it says.
        why: String,
    },
    /// When the authority would like a certificate to be renewed (ARI, RFC 9773), Unix seconds.
    Suggested {
        /// Which.
        certificate: String,
        /// From then.
        start: i64,
        /// Until then.
        end: i64,
    },
    /// A certificate is of no use any more: revoked, or its file is gone.
    Ended {
        /// Which.
        certificate: String,
        /// Why.
        why: String,
    },
}

/// A name that the authority did not find proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The name.
    pub name: String,
    /// What the authority says.
    pub why: String,
}

/// How long an authority remembers certificates, and orders, and failures: the windows of its limits, in seconds.
pub(super) const WEEK: i64 = 7 * 86_400;
const ORDERS: i64 = 3 * 3_600;
const FAILURES: i64 = 3_600;

/// A name that has failed is tried again after this long, and twice as long each time, up to [`LONGEST`].
const FIRST_RETRY: i64 = 3_600;
/// A name whose order came to nothing for another reason is ordered again after this long, and so on.
const FIRST_HOLD: i64 = 300;
const LONGEST: i64 = WEEK;

/// What happened, as far as it matters: a function of the entries, in their order. Entries that make no sense (an order
/// that nobody began) change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ledger {
    #[serde(with = "list")]
    orders: BTreeMap<OrderId, Order>,
    certificates: BTreeMap<String, Certificate>,
    names: HashMap<String, Name>,
    limited: Option<(i64, String)>,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Order {
    /// Its number.
    pub id: OrderId,
    /// What it is for, sorted.
    pub names: Vec<String>,
    /// Their registered domains, sorted.
    pub domains: Vec<String>,
    /// The certificate that it takes the place of.
    pub replaces: Option<String>,
    /// Where it is, once the authority has taken it.
    pub url: Option<String>,
    /// Whether its key is stored and the certificate may have been issued.
    pub finalizing: bool,
    /// When it was begun, Unix seconds.
    pub begun: i64,
    /// Moments by which the authority had counted each time that it was placed; the last may be yet to come.
    placed: Vec<i64>,
    /// When it ended.
    ended: Option<i64>,
    is_failed: bool,
}

/// A certificate that the authority issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Certificate {
    /// SHA-256, in hex.
    pub id: String,
    /// Its file, below the folder of certificates.
    pub file: String,
    /// What it covers, sorted.
    pub names: Vec<String>,
    /// When it begins to be valid, Unix seconds.
    pub not_before: i64,
    /// When it ends.
    pub not_after: i64,
    /// When the authority would like it to be renewed, if it said.
    pub suggested: Option<(i64, i64)>,
    /// Why it is of no use any more, if so.
    pub ended: Option<String>,
}

/// What is known of a name that had trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Name {
    /// Failed validations since the last certificate.
    pub failures: u32,
    /// When the last was, Unix seconds.
    pub failed: i64,
    /// What the authority said.
    pub why: String,
    /// Orders that came to nothing for another reason, since the last certificate.
    pub drops: u32,
    /// When the last did.
    pub dropped: i64,
    recent: Vec<i64>,
}

impl Name {
    /// When it may be ordered again, Unix seconds.
    pub fn retry(&self) -> i64 {
        let after = |count: u32, last: i64, first: i64| match count {
            0 => i64::MIN,
            count => last.saturating_add((first << (count - 1).min(20)).min(LONGEST)),
        };
        after(self.failures, self.failed, FIRST_RETRY).max(after(self.drops, self.dropped, FIRST_HOLD))
    }
}

impl Certificate {
    /// When it is to be renewed, Unix seconds: at a moment of the authority's window if it gave one, else when two thirds
    /// of its life are over and up to a thirtieth more. The moment depends on the certificate, so that not all fall due
    /// together, and is the same on every node and after every restart.
    pub fn renewal(&self) -> i64 {
        let spread = |seconds: i64| ((i128::from(self.spot()) * i128::from(seconds.max(0))) >> 32) as i64;
        let life = self.not_after.saturating_sub(self.not_before);
        let own = self.not_before.saturating_add(life / 3 * 2).saturating_add(spread(life / 30));
        match self.suggested {
            // However late the authority's window, a certificate that ends does not wait for it.
            Some((start, end)) => {
                start.saturating_add(spread(end.saturating_sub(start))).min(self.not_after - life / 20)
            }
            None => own,
        }
    }

    /// Whether it can be served at that moment.
    pub fn is_live(&self, now: i64) -> bool {
        self.ended.is_none() && now < self.not_after
    }

    fn spot(&self) -> u32 {
        // FNV-1a: the id is a hash, but tests have others.
        self.id.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

impl Order {
    /// Whether it is under way.
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Until when it counts among the placed orders of a window of `seconds`.
    fn placed_until(&self, window: i64) -> impl Iterator<Item = i64> {
        let last = if self.ended.is_none() && self.url.is_none() { Some(i64::MAX) } else { None };
        let known =
            if last.is_some() { self.placed.split_last().map_or(&[][..], |(_, known)| known) } else { &self.placed };
        known.iter().map(move |at| at.saturating_add(window)).chain(last)
    }

    /// Until when it counts as a certificate of the last week; never if none can come of it.
    fn issued_until(&self) -> Option<i64> {
        match self.ended {
            None => Some(i64::MAX),
            Some(at) if self.finalizing => Some(at.saturating_add(WEEK)),
            Some(_) => None,
        }
    }
}

impl Ledger {
    /// Adds what happened next.
    pub fn apply(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.event {
            Event::Compacted { ledger } => *self = (**ledger).clone(),
            Event::Ordering { order, names, replaces } => {
                let mut sorted = names.clone();
                sorted.sort_unstable();
                sorted.dedup();
                let known = self.orders.entry(*order).or_insert_with(|| Order {
                    id: *order,
                    domains: domains(&sorted),
                    names: sorted,
                    replaces: replaces.clone(),
                    url: None,
                    finalizing: false,
                    begun: at,
                    placed: Vec::new(),
                    ended: None,
                    is_failed: false,
                });
                // What was placed before was counted by now.
                if let Some(last) = known.placed.last_mut() {
                    *last = at.max(*last);
                }
                known.placed.push(at);
            }
            Event::Ordered { order, url } => {
                if let Some(order) = self.orders.get_mut(order) {
                    order.url = Some(url.clone());
                    order.seen(at);
                }
            }
            Event::Invalid { order, failures } => {
                if let Some(order) = self.orders.get_mut(order) {
                    order.is_failed = true;
                }
                for failure in failures {
                    let name = self.names.entry(failure.name.clone()).or_default();
                    name.failures = name.failures.saturating_add(1);
                    name.failed = at.max(name.failed);
                    name.why.clone_from(&failure.why);
                    name.recent.retain(|recent| *recent > at - FAILURES);
                    name.recent.push(at);
                }
            }
            Event::Finalizing { order } => {
                if let Some(order) = self.orders.get_mut(order) {
                    order.finalizing = true;
                }
            }
            Event::Issued { order, certificate, file, not_before, not_after } => {
                let Some(order) = self.orders.get_mut(order) else { return };
                order.finalizing = true;
                order.end(at);
                for name in &order.names {
                    self.names.remove(name);
                }
                let issued = Certificate {
                    id: certificate.clone(),
                    file: file.clone(),
                    names: order.names.clone(),
                    not_before: *not_before,
                    not_after: *not_after,
                    suggested: None,
                    ended: None,
                };
                self.certificates.insert(issued.id.clone(), issued);
            }
            Event::Dropped { order, why } => {
                let Some(order) = self.orders.get_mut(order) else { return };
                order.end(at);
                if !order.is_failed {
                    for name in &order.names {
                        let name = self.names.entry(name.clone()).or_default();
                        name.drops = name.drops.saturating_add(1);
                        name.dropped = at.max(name.dropped);
                        if name.failures == 0 {
                            name.why.clone_from(why);
                        }
                    }
                }
            }
            Event::Limited { until, why } => self.limited = Some((*until, why.clone())),
            Event::Suggested { certificate, start, end } => {
                if let Some(certificate) = self.certificates.get_mut(certificate).filter(|_| start <= end) {
                    certificate.suggested = Some((*start, *end));
                }
            }
            Event::Ended { certificate, why } => {
                if let Some(certificate) = self.certificates.get_mut(certificate) {
                    certificate.ended = Some(why.clone());
                }
            }
        }
    }

    /// The number of the next order.
    pub fn next_order(&self) -> OrderId {
        self.orders.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// An order by its number.
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// All orders that are remembered, the oldest first.
    pub fn orders(&self) -> impl DoubleEndedIterator<Item = &Order> {
        self.orders.values()
    }

    /// The order that is under way; there is one at most.
    pub fn open_order(&self) -> Option<&Order> {
        self.orders.values().rev().find(|order| order.is_open())
    }

    /// All certificates that are remembered.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.values()
    }

    /// A certificate by its id.
    pub fn certificate(&self, id: &str) -> Option<&Certificate> {
        self.certificates.get(id)
    }

    /// What trouble a name has.
    pub fn trouble(&self, name: &str) -> Option<&Name> {
        self.names.get(name)
    }

    /// Until when the authority wants no orders, and why.
    pub fn limited(&self) -> Option<(i64, &str)> {
        self.limited.as_ref().map(|(until, why)| (*until, why.as_str()))
    }

    /// For each name the certificate that covers it longest.
    pub fn coverage(&self, now: i64) -> HashMap<&str, &Certificate> {
        let mut best: HashMap<&str, &Certificate> = HashMap::new();
        for certificate in self.certificates.values().filter(|certificate| certificate.is_live(now)) {
            for name in &certificate.names {
                let known = best.entry(name).or_insert(certificate);
                if known.not_after < certificate.not_after {
                    *known = certificate;
                }
            }
        }
        best
    }

    /// When an order for these names (sorted) may be placed without exceeding a limit, Unix seconds: `now`, or later.
    pub fn allowed_at(&self, names: &[String], limits: &AcmeLimits, now: i64) -> i64 {
        let mut at = self.may_place_at(limits, now);
        let counted: Vec<(&Order, i64)> =
            self.orders.values().filter_map(|order| Some((order, order.issued_until()?))).collect();
        for domain in domains(names) {
            let of_domain = counted.iter().filter(|(order, _)| order.domains.contains(&domain));
            at = at.max(room_at(of_domain.map(|(_, until)| *until), limits.certificates, now));
        }
        let same = counted.iter().filter(|(order, _)| order.names == names);
        at = at.max(room_at(same.map(|(_, until)| *until), limits.duplicates, now));
        for name in names {
            if let Some(trouble) = self.names.get(name) {
                let recent = trouble.recent.iter().map(|at| at.saturating_add(FAILURES));
                at = at.max(room_at(recent, limits.failures, now));
            }
        }
        at
    }

    /// When an order may be placed, whatever for.
    pub fn may_place_at(&self, limits: &AcmeLimits, now: i64) -> i64 {
        let placed = room_at(self.orders.values().flat_map(|order| order.placed_until(ORDERS)), limits.orders, now);
        self.limited.as_ref().map_or(placed, |(until, _)| placed.max(*until))
    }

    /// Forgets what nothing asks of any more from `now` on.
    pub fn prune(&mut self, now: i64) {
        let last = self.orders.last_key_value().map(|(last, _)| *last);
        self.orders.retain(|id, order| order.ended.is_none_or(|at| at >= now - WEEK) || Some(*id) == last);
        self.certificates.retain(|_, certificate| certificate.not_after >= now);
        // Who has asked nothing for so long begins anew.
        self.names.retain(|_, name| name.failed.max(name.dropped) >= now - 12 * WEEK);
        self.limited = self.limited.take().filter(|(until, _)| *until > now);
    }
}

impl Order {
    /// The authority had counted what was placed last.
    fn seen(&mut self, at: i64) {
        if let Some(last) = self.placed.last_mut() {
            *last = at.max(*last);
        }
    }

    fn end(&mut self, at: i64) {
        if self.url.is_none() {
            self.seen(at);
        }
        self.ended = Some(at);
    }
}

/// The registered domains of names, sorted.
pub(super) fn domains(names: &[String]) -> Vec<String> {
    let mut domains: Vec<&str> = names.iter().map(|name| registered(name)).collect();
    domains.sort_unstable();
    domains.dedup();
    domains.into_iter().map(str::to_owned).collect()
}

/// When there is room for one more beside what counts until these moments: at most `limit` at any time.
fn room_at(until: impl Iterator<Item = i64>, limit: u32, now: i64) -> i64 {
    let mut counting: Vec<i64> = until.filter(|until| *until > now).collect();
    let Some(excess) = (counting.len() + 1).checked_sub(limit.max(1) as usize).filter(|excess| *excess > 0) else {
        return now;
    };
    counting.sort_unstable();
    counting.get(excess - 1).copied().unwrap_or(i64::MAX)
}

/// Orders as a list: numbers can't be keys of what is flattened.
mod list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Order, OrderId};

    pub fn serialize<S: Serializer>(orders: &BTreeMap<OrderId, Order>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(orders.values())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<OrderId, Order>, D::Error> {
        let orders = Vec::<Order>::deserialize(deserializer)?;
        Ok(orders.into_iter().map(|order| (order.id, order)).collect())
    }
}
