//! What is counted of each site.
//!
//! The counters of a site stand in one place and are there from the start, so that counting is an addition and looks
//! nothing up. Those of the node are their sums, made when somebody asks.

use std::{
    collections::BTreeSet,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Exchange, Lane, Protocol, WafAction,
    names::{self, Family, OTHER},
};
use crate::model::{Outcome, Reason};
use crate::routing::{SiteTable, Snapshot};

/// The counters of one site, about 4.5 KB.
#[derive(Debug)]
pub struct SiteCounters {
    requests: [[[AtomicU64; WAYS.len()]; CLASSES.len()]; Outcome::ALL.len()],
    refused: [AtomicU64; Reason::ALL.len()],
    shadowed: [AtomicU64; Reason::ALL.len()],
    waf: [AtomicU64; WafAction::ALL.len()],
    unmapped: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// Microseconds.
    took: AtomicU64,
}

/// Versions of HTTP, and the ways that requests of each can take.
const WAYS: [(Protocol, Lane); 5] = [
    (Protocol::Http10, Lane::Fast),
    (Protocol::Http10, Lane::Session),
    (Protocol::Http11, Lane::Fast),
    (Protocol::Http11, Lane::Session),
    (Protocol::Http2, Lane::Http2),
];

/// Classes of statuses; the first is for requests that got no answer.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Default for SiteCounters {
    fn default() -> Self {
        SiteCounters {
            requests: [const { [const { [const { AtomicU64::new(0) }; WAYS.len()] }; CLASSES.len()] };
                Outcome::ALL.len()],
            refused: Default::default(),
            shadowed: Default::default(),
            waf: Default::default(),
            unmapped: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            took: AtomicU64::new(0),
        }
    }
}

impl SiteCounters {
    /// Counts a request and its answer.
    pub fn count(&self, exchange: &Exchange<'_>) {
        let class = usize::from(exchange.status / 100).min(CLASSES.len() - 1);
        let way = match exchange.lane {
            Lane::Http2 => 4,
            lane => usize::from(exchange.protocol != Protocol::Http10) * 2 + usize::from(lane == Lane::Session),
        };
        add(&self.requests[exchange.outcome as usize][class][way], 1);
        add(&self.took, exchange.took.into());
        for (counter, count) in [
            (&self.sent, exchange.sent),
            (&self.received, exchange.received),
            (&self.unmapped, u64::from(exchange.unmapped)),
        ] {
            if count > 0 {
                add(counter, count);
            }
        }
    }

    /// Counts a request that the guard refused.
    pub fn deny(&self, reason: Reason) {
        add(&self.refused[reason as usize], 1);
    }

    /// Counts a request that the guard would have refused, had not the reason been one that only counts.
    pub fn shadow(&self, reason: Reason) {
        add(&self.shadowed[reason as usize], 1);
    }

    /// Counts what the firewall did with a request.
    pub fn waf(&self, action: WafAction) {
        add(&self.waf[action as usize], 1);
    }

    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        let rest = [&self.unmapped, &self.sent, &self.received, &self.took];
        let requests = self.requests.iter().flatten().flatten();
        requests.chain(&self.refused).chain(&self.shadowed).chain(&self.waf).chain(rest)
    }

    /// Adds what another has counted.
    pub(super) fn absorb(&self, other: &SiteCounters) {
        self.all().zip(other.all()).for_each(|(sum, counter)| match get(counter) {
            0 => {}
            count => add(sum, count),
        });
    }

    /// Every kind of request that was counted: outcome, class of status, version, lane, and how many.
    pub(super) fn requests(&self) -> impl Iterator<Item = ([&'static str; 4], u64)> {
        Outcome::ALL.iter().zip(&self.requests).flat_map(|(outcome, classes)| {
            CLASSES.iter().zip(classes).flat_map(move |(&class, ways)| {
                WAYS.iter().zip(ways).filter_map(move |((protocol, lane), counter)| {
                    let count = get(counter);
                    (count > 0).then(|| ([outcome.name(), class, protocol.label(), lane.name()], count))
                })
            })
        })
    }

    /// The requests of each reason that the guard refused; and those that it would have refused.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (Reason, u64, u64)> {
        Reason::ALL
            .iter()
            .map(|&reason| (reason, get(&self.refused[reason as usize]), get(&self.shadowed[reason as usize])))
    }

    pub(super) fn waf_actions(&self) -> impl Iterator<Item = (WafAction, u64)> {
        WafAction::ALL.iter().map(|&action| (action, get(&self.waf[action as usize])))
    }

    pub(super) fn unmapped(&self) -> u64 {
        get(&self.unmapped)
    }

    pub(super) fn sent(&self) -> u64 {
        get(&self.sent)
    }

    pub(super) fn received(&self) -> u64 {
        get(&self.received)
    }
}

/// The sites that are live, and what is counted of them.
#[derive(Debug, Default)]
pub(super) struct LiveSites {
    pub snapshot: Arc<Snapshot>,
    pub counters: Vec<Arc<SiteCounters>>,
    /// Of sites that are gone. Requests that began before may still count.
    leaving: Vec<Arc<SiteCounters>>,
}

impl LiveSites {
    /// These are live now.
    pub fn replace(&mut self, snapshot: Arc<Snapshot>, counters: Vec<Arc<SiteCounters>>) {
        let kept: BTreeSet<*const SiteCounters> = counters.iter().map(Arc::as_ptr).collect();
        let before = std::mem::replace(&mut self.counters, counters);
        self.leaving.extend(before.into_iter().filter(|counters| !kept.contains(&Arc::as_ptr(counters))));
        self.snapshot = snapshot;
    }

    /// Adds all that was counted to `sum`; what can't change any more goes to `gone`.
    pub fn sum(&mut self, sum: &SiteCounters, gone: &SiteCounters) {
        self.leaving.retain(|counters| {
            // Nobody else can count there any more.
            let is_gone = Arc::strong_count(counters) == 1;
            if is_gone {
                gone.absorb(counters);
            }
            !is_gone
        });
        self.leaving.iter().chain(&self.counters).for_each(|counters| sum.absorb(counters));
        sum.absorb(gone);
    }

    fn each(&self) -> impl Iterator<Item = (&SiteTable, &SiteCounters)> {
        self.snapshot.sites().iter().map(|site| &**site).zip(self.counters.iter().map(|counters| &**counters))
    }

    /// The series of all sites in the text format of Prometheus, at `now` (Unix seconds). What was never counted is left out;
    /// `other` is what is counted of hosts that no site has.
    pub fn text(&self, other: &SiteCounters, now: i64) -> String {
        let sites: Vec<(Labels, &SiteCounters)> = self
            .each()
            .map(|(site, counters)| (Labels::of(site), counters))
            .chain([(Labels::new(OTHER, ""), other)])
            .collect();
        let mut out = String::new();
        head(&mut out, &names::SITE_INFO);
        for ((Labels(labels), _), (site, _)) in sites.iter().zip(self.each()) {
            let wave = site.wave.map(|wave| wave.to_string()).unwrap_or_default();
            let (name, code) = (Escaped(&site.name), Escaped(site.code.as_deref().unwrap_or_default()));
            let phase = site.lifecycle.at(now);
            // Writing to a String can't fail.
            let _ = writeln!(
                out,
                "{}{{{},{}=\"{name}\",{}=\"{wave}\",{}=\"{code}\",{}=\"{phase}\"}} 1",
                names::SITE_INFO.name,
                labels,
                names::NAME,
                names::WAVE,
                names::CODE,
                names::PHASE
            );
        }
        head(&mut out, &names::SITE_REQUESTS);
        for (Labels(labels), counters) in &sites {
            for ([outcome, class, protocol, lane], count) in counters.requests() {
                let _ = writeln!(
                    out,
                    "{}{{{},{}=\"{outcome}\",{}=\"{class}\",{}=\"{protocol}\",{}=\"{lane}\"}} {count}",
                    names::SITE_REQUESTS.name,
                    labels,
                    names::OUTCOME,
                    names::STATUS,
                    names::PROTOCOL,
                    names::LANE
                );
            }
        }
        let mut kinds = |family: Family, label: &str, read: &dyn Fn(&SiteCounters) -> Vec<(&'static str, u64)>| {
            head(&mut out, &family);
            for (Labels(labels), counters) in &sites {
                for (kind, count) in read(counters).into_iter().filter(|&(_, count)| count > 0) {
                    let _ = writeln!(out, "{}{{{labels},{label}=\"{kind}\"}} {count}", family.name);
                }
            }
        };
        kinds(names::SITE_GUARD_REFUSED, names::REASON, &|counters| {
            counters.refusals().map(|(reason, refused, _)| (reason.name(), refused)).collect()
        });
        kinds(names::SITE_GUARD_SHADOWED, names::REASON, &|counters| {
            counters.refusals().map(|(reason, _, shadowed)| (reason.name(), shadowed)).collect()
        });
        kinds(names::SITE_WAF_REQUESTS, names::ACTION, &|counters| {
            counters.waf_actions().map(|(action, count)| (action.name(), count)).collect()
        });
        let plain: [(Family, Read); 4] = [
            (names::SITE_DURATION, |counters| get(&counters.took) as f64 / 1e6),
            (names::SITE_RESPONSE_BYTES, |counters| counters.sent() as f64),
            (names::SITE_REQUEST_BYTES, |counters| counters.received() as f64),
            (names::SITE_UNMAPPED, |counters| counters.unmapped() as f64),
        ];
        for (family, read) in plain {
            head(&mut out, &family);
            for (Labels(labels), counters) in &sites {
                let count = read(counters);
                if count > 0.0 {
                    let _ = writeln!(out, "{}{{{labels}}} {count}", family.name);
                }
            }
        }
        out
    }
}

type Read = fn(&SiteCounters) -> f64;

/// The labels of a site, ready to be written.
struct Labels(String);

impl Labels {
    fn of(site: &SiteTable) -> Self {
        Labels::new(names::site_label(&site.id), site.owner.as_deref().unwrap_or_default())
    }

    fn new(site: &str, owner: &str) -> Self {
        Labels(format!("{}=\"{}\",{}=\"{}\"", names::SITE, Escaped(site), names::OWNER, Escaped(owner)))
    }
}

/// What Prometheus is told of a family before its series.
fn head(out: &mut String, family: &Family) {
    let kind = family.kind.name();
    // Writing to a String can't fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}", name = family.name, help = family.help);
}

/// The value of a label, as it stands between quotes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;
    use crate::routing::Loader;

    #[test]
    fn a_site_is_shown_with_what_its_files_say() {
        let routes = tempfile::tempdir().unwrap();
        let site = "name = \"A \\\"quoted\\\" name\"\nhosts = [\"a.example\"]\nhome = \"https://new.example/\"\nowner = \"edu\"\nwave = 2\n";
        std::fs::write(routes.path().join("a.toml"), site).unwrap();
        let gateway = Gateway { routes: routes.path().to_owned(), ..Gateway::default() };
        let (snapshot, report) = Loader::new(&gateway).load(0, |_, _| {}).unwrap();
        assert!(report.diagnostics.is_empty(), "{:?}", report.diagnostics);
        let mut live = LiveSites::default();
        let (counters, other) = (Arc::<SiteCounters>::default(), SiteCounters::default());
        live.replace(Arc::new(snapshot), vec![counters.clone()]);
        let redirect = Exchange { outcome: Outcome::Redirect, status: 301, took: 250, ..Exchange::default() };
        counters.count(&redirect);
        counters.count(&Exchange { outcome: Outcome::NotFound, status: 404, unmapped: true, sent: 9, ..redirect });
        counters.deny(Reason::Probe);
        other.count(&Exchange { outcome: Outcome::UnknownHost, status: 404, ..redirect });
        let text = live.text(&other, 0);
        for line in [
            r#"waypost_site_info{site="a",owner="edu",name="A \"quoted\" name",wave="2",code="",phase="redirect"} 1"#,
            r#"waypost_site_requests_total{site="a",owner="edu",outcome="redirect",status="3xx",protocol="http/1.1",lane="fast"} 1"#,
            r#"waypost_site_requests_total{site="other",owner="",outcome="unknown_host",status="4xx",protocol="http/1.1",lane="fast"} 1"#,
            r#"waypost_site_unmapped_total{site="a",owner="edu"} 1"#,
            r#"waypost_site_request_seconds_total{site="a",owner="edu"} 0.0005"#,
            r#"waypost_site_response_body_bytes_total{site="a",owner="edu"} 9"#,
            r#"waypost_site_guard_refused_total{site="a",owner="edu",reason="probe"} 1"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
        assert!(!text.contains("} 0\n"), "{text}");
    }
}
