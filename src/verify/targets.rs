//! The targets of sites: where their mappings, homes, rules and fallbacks send people.

use std::collections::{BinaryHeap, HashMap, HashSet};

use ::url::Url;

use super::store::{Planned, hash};
use crate::config::HitsDatabase;
use crate::hits::{Period, Query, Reader};
use crate::model::{HostPattern, Method, Phase, Verdict};
use crate::routing::{By, Request, Scratch, SiteTable, Snapshot};

/// Which targets are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// So many of each site; all where absent.
    pub sample: Option<usize>,
    /// Which of them: others for each number.
    pub seed: u64,
}

/// The targets of one site.
pub(super) struct SiteTargets {
    /// Those that were chosen.
    pub chosen: Vec<Planned>,
    /// Hashes of all that it has.
    pub known: HashSet<u64>,
    /// Targets that are too long to be looked at.
    pub too_long: u64,
}

/// Where URLs lead that were asked for, for targets that are made from what was asked. Blocks.
pub(super) struct Asked {
    database: HitsDatabase,
    period: Period,
    reader: Option<Option<Reader>>,
}

impl Asked {
    /// From the database of hits, if it has some.
    pub fn new(database: &HitsDatabase, period: Period) -> Self {
        Asked { database: database.clone(), period, reader: None }
    }

    /// The URLs of a site that were asked for most.
    fn urls(&mut self, site: &str) -> Vec<String> {
        let query = Query { period: self.period, site: Some(site), unmapped: false, top: ASKED };
        // Where no hit was counted yet, nothing was asked for.
        let reader = self.reader.get_or_insert_with(|| Reader::open(&self.database).ok());
        let urls = reader.as_mut().and_then(|reader| reader.urls(&query).ok()).unwrap_or_default();
        urls.into_iter().map(|hit| hit.url).collect()
    }
}

/// Whether people are sent anywhere by a site: not any more when it is in the archive.
pub(super) fn sends(site: &SiteTable, now: i64) -> bool {
    !matches!(site.lifecycle.at(now), Phase::Archive | Phase::Retired)
}

/// The targets of a site, as of `now`. Takes memory for what is chosen, and some bytes for each other.
pub(super) fn of_site(snapshot: &Snapshot, number: usize, choice: &Choice, asked: &mut Asked, now: i64) -> SiteTargets {
    let Some(site) = snapshot.sites().get(number) else {
        return SiteTargets { chosen: Vec::new(), known: HashSet::new(), too_long: 0 };
    };
    let mut sieve =
        Sieve { site, choice, known: HashSet::new(), best: BinaryHeap::new(), kept: HashMap::new(), too_long: 0 };
    site.each_target(|to, source| sieve.take(to, source.map(|source| source.to_string())));
    if site.makes_targets() {
        rendered(snapshot, site, asked, now, &mut sieve);
    }
    let mut chosen: Vec<Planned> = sieve.kept.into_values().collect();
    chosen.sort_by(|a, b| a.url.cmp(&b.url));
    SiteTargets { chosen, known: sieve.known, too_long: sieve.too_long }
}

/// Targets that rules make from captures, for URLs that were asked for.
fn rendered(snapshot: &Snapshot, site: &SiteTable, asked: &mut Asked, now: i64, sieve: &mut Sieve<'_>) {
    let exact = site.hosts.iter().find_map(|host| match host {
        HostPattern::Exact(host) => Some(host.as_str()),
        HostPattern::Below(_) => None,
    });
    let Some(host) = exact else { return };
    let mut scratch = Scratch::default();
    for url in asked.urls(&site.id) {
        let request = Request {
            method: Method::Get,
            host: Some(host.as_bytes()),
            target: url.as_bytes(),
            secure: true,
            user_agent: b"",
        };
        let decision = snapshot.decide(&request, now, &mut scratch);
        if let (
            By::Rule(_) | By::Fallback,
            Verdict::Redirect { location: to, .. }
            | Verdict::Notice { location: to }
            | Verdict::Leaving { location: to },
        ) = (decision.by, decision.verdict)
        {
            sieve.take(to, decision.source.map(|source| source.to_string()));
        }
    }
}

/// Keeps targets, each once: all, or those with the smallest hashes.
struct Sieve<'a> {
    site: &'a SiteTable,
    choice: &'a Choice,
    known: HashSet<u64>,
    best: BinaryHeap<u64>,
    kept: HashMap<u64, Planned>,
    too_long: u64,
}

impl Sieve<'_> {
    fn take(&mut self, to: &str, source: Option<String>) {
        let Ok(mut url) = Url::parse(to) else { return };
        // It is not sent.
        url.set_fragment(None);
        let Some(host) = url.host_str().map(str::to_owned) else { return };
        if !self.known.insert(hash(url.as_str())) {
            return;
        }
        if url.as_str().len() > LONGEST {
            self.too_long += 1;
            return;
        }
        let key = hash(&format!("{}\n{url}", self.choice.seed));
        if let Some(sample) = self.choice.sample {
            if self.best.len() >= sample {
                match self.best.peek() {
                    Some(&worst) if key < worst => {
                        self.best.pop();
                        self.kept.remove(&worst);
                    }
                    _ => return,
                }
            }
            self.best.push(key);
        }
        let planned = Planned { site: self.site.id.clone(), host, url: url.into(), source: source.unwrap_or_default() };
        self.kept.insert(key, planned);
    }
}

/// Bytes of a target: an index of PostgreSQL takes no more than some 2,700 for all columns.
const LONGEST: usize = 1800;

/// URLs of a site that were asked for, of which it is seen where they lead.
const ASKED: u32 = 1000;
