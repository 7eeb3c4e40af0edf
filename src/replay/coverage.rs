//! Hits counted by site, by what would be answered, and by what the old server had answered.

use serde::Serialize;

use crate::model::{Outcome, Verdict};
use crate::routing::{By, Decision};

use super::judge::Insists;

/// What becomes of an old URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Fate {
    /// Its visitors are sent on, at once or by a page.
    Redirected,
    /// A platform or the old server answers under the old URL.
    Served,
    /// It is said to be gone.
    Gone,
    /// A rule says that it is not there.
    Missing,
    /// The gateway answers itself: robots.txt, sitemap, fixed texts; or says that it can't (a bad request, a frozen or refused
    /// target).
    Other,
    /// Nothing says where it went: the site's fallback answers.
    Unmapped,
    /// The guard refuses it.
    Denied,
    /// No site has its host.
    UnknownHost,
}

impl Fate {
    /// Every fate, in the order of their numbers.
    pub const ALL: [Fate; 8] = [
        Fate::Redirected,
        Fate::Served,
        Fate::Gone,
        Fate::Missing,
        Fate::Other,
        Fate::Unmapped,
        Fate::Denied,
        Fate::UnknownHost,
    ];

    /// The word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Redirected => "redirected",
            Fate::Served => "served",
            Fate::Gone => "gone",
            Fate::Missing => "missing",
            Fate::Other => "other",
            Fate::Unmapped => "unmapped",
            Fate::Denied => "denied",
            Fate::UnknownHost => "unknown_host",
        }
    }

    /// What a decision means for the URL.
    pub fn of(decision: &Decision<'_>) -> Self {
        Self::new(decision.verdict.outcome(), decision.by == By::Fallback)
    }

    fn new(outcome: Outcome, unmapped: bool) -> Self {
        match outcome {
            Outcome::Denied => Fate::Denied,
            Outcome::UnknownHost => Fate::UnknownHost,
            _ if unmapped => Fate::Unmapped,
            Outcome::Redirect | Outcome::Notice | Outcome::Leaving => Fate::Redirected,
            Outcome::Serve => Fate::Served,
            Outcome::Gone => Fate::Gone,
            Outcome::NotFound => Fate::Missing,
            Outcome::Frozen
            | Outcome::Text
            | Outcome::Robots
            | Outcome::Sitemap
            | Outcome::Refused
            | Outcome::HttpsRequired
            | Outcome::Health
            | Outcome::Challenge
            | Outcome::BadRequest => Fate::Other,
        }
    }
}

/// What the old server had answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Before {
    /// The log doesn't say.
    Unknown,
    /// 2xx or 3xx: there was something.
    Found,
    /// Anything else.
    Lost,
}

impl Before {
    /// By the status of the old server.
    pub fn of(status: u16) -> Self {
        match status {
            0 => Before::Unknown,
            200..=399 => Before::Found,
            _ => Before::Lost,
        }
    }
}

/// Counts of a thread, and of all.
#[derive(Debug)]
pub struct Counts {
    /// By site (the last is for none), outcome, whether it was the fallback's, what was before, and how HTTPS was insisted on.
    hits: Vec<u64>,
}

/// One count of [`Counts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The site; none for hosts that no site has.
    pub site: Option<usize>,
    /// What became of the URLs.
    pub fate: Fate,
    /// What was answered first: to send a client to HTTPS comes before its URL is looked at.
    pub outcome: Outcome,
    /// Whether that came from the fallback.
    pub unmapped: bool,
    /// Whether the old server had answered 2xx or 3xx.
    pub found: bool,
    /// How many.
    pub hits: u64,
}

impl Counts {
    /// Zeros for so many sites.
    pub fn new(sites: usize) -> Self {
        Counts { hits: vec![0; (sites + 1) * CELLS] }
    }

    /// Where hits are counted of which this was decided, whatever was before.
    pub fn place(&self, decision: &Decision<'_>, insists: Insists) -> u32 {
        let site = decision.site.map_or(self.hits.len() / CELLS - 1, |(number, _)| number);
        let unmapped = usize::from(decision.by == By::Fallback);
        let outcome = decision.verdict.outcome() as usize;
        (site * CELLS + (outcome * 2 + unmapped) * 9 + insists as usize) as u32
    }

    /// Counts a hit at such a place.
    pub fn count(&mut self, place: u32, before: Before) {
        self.hits[place as usize + before as usize * 3] += 1;
    }

    /// Adds those of another thread.
    pub fn merge(&mut self, other: &Counts) {
        self.hits.iter_mut().zip(&other.hits).for_each(|(own, other)| *own += other);
    }

    /// All that are not zero.
    pub fn each(&self) -> impl Iterator<Item = Count> {
        let sites = self.hits.len() / CELLS - 1;
        self.hits.iter().enumerate().filter(|(_, hits)| **hits > 0).map(move |(place, &hits)| {
            let (site, cell) = (place / CELLS, place % CELLS);
            let (insists, before, unmapped) = (cell % 3, cell / 3 % 3, cell / 9 % 2 == 1);
            let outcome = Outcome::ALL[cell / 18];
            let first = [Insists::No, Insists::Redirect, Insists::Refusal][insists].outcome();
            Count {
                site: (site < sites).then_some(site),
                fate: Fate::new(outcome, unmapped),
                outcome: first.unwrap_or(outcome),
                unmapped: unmapped && first.is_none(),
                found: before == Before::Found as usize,
                hits,
            }
        })
    }
}

/// What is compared of a verdict: not where it was written, nor what a page offers.
pub fn is_same(one: &Verdict<'_>, other: &Verdict<'_>) -> bool {
    let compared = |verdict: &Verdict<'_>| (verdict.outcome(), verdict.status());
    compared(one) == compared(other) && leads_to(one) == leads_to(other)
}

/// Where a verdict leads: a URL, or the platform and path that are asked.
pub fn leads_to<'a>(verdict: &Verdict<'a>) -> (&'a str, &'a str) {
    match *verdict {
        Verdict::Redirect { location, .. }
        | Verdict::Notice { location }
        | Verdict::Leaving { location }
        | Verdict::HttpsRequired { location } => ("", location),
        Verdict::Frozen { target } | Verdict::Refused { target } => ("", target),
        Verdict::Serve { platform, path, .. } => (platform, path),
        _ => ("", ""),
    }
}

/// Counts of a site.
const CELLS: usize = Outcome::ALL.len() * 2 * 3 * 3;
