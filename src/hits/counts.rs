//! Hits that are counted in memory, until they are written.

use std::collections::BTreeMap;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use jiff::civil::Date;

use super::Answer;
use super::sketch::{Sketch, Value};

/// One hit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit<'a> {
    pub day: Date,
    /// Empty for hosts that no site has.
    pub site: &'a str,
    /// The URL, or the host that no site has; empty if it can't be told apart.
    pub url: &'a str,
    pub answer: Answer,
    pub bot: bool,
    /// In Unix seconds.
    pub at: i64,
    /// Host of the page that led here; empty if none is known.
    pub referrer: &'a str,
}

/// Counts of all sites, by day.
#[derive(Debug, Default)]
pub(super) struct Counts {
    days: BTreeMap<Date, HashMap<CompactString, SiteCounts, RandomState>>,
    entries: usize,
}

#[derive(Debug)]
struct SiteCounts {
    /// Exact. There are a handful of answers at a site.
    sums: Vec<(Answer, Tally)>,
    urls: Sketch<Seen>,
}

/// Hits, and how many of them are by bots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub hits: u64,
    pub bots: u64,
}

impl Tally {
    fn count(&mut self, bot: bool) {
        self.hits += 1;
        self.bots += u64::from(bot);
    }
}

/// What is known of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub tally: Tally,
    /// In Unix seconds.
    pub first: i64,
    pub last: i64,
    pub referrer: Referrer,
}

impl Value for Seen {
    const HELD: usize = LONGEST_REFERRER;
}

/// The host that most referrals come from, by majority vote (Boyer and Moore): if more than half of them name one, it is
/// this. Votes are those in its favour that are left; two counts of one URL can be merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Referrer {
    pub host: CompactString,
    pub votes: u64,
}

impl Referrer {
    fn vote(&mut self, host: &str) {
        if host.is_empty() || host.len() > LONGEST_REFERRER {
        } else if self.votes == 0 {
            *self = Referrer { host: host.into(), votes: 1 };
        } else if self.host == host {
            self.votes += 1;
        } else {
            self.votes -= 1;
        }
    }
}

/// A row of sums.
#[derive(Clone, Debug)]
pub(super) struct SumRow {
    pub day: CompactString,
    pub site: CompactString,
    pub answer: Answer,
    pub tally: Tally,
}

/// A row of a URL.
#[derive(Clone, Debug)]
pub(super) struct UrlRow {
    pub day: CompactString,
    pub site: CompactString,
    pub url: Box<str>,
    pub answer: Answer,
    pub seen: Seen,
}

/// What is written at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub sums: Vec<SumRow>,
    pub urls: Vec<UrlRow>,
    /// All hits in it.
    pub hits: u64,
    /// Those of them that no URL's row has.
    pub unnamed: u64,
}

impl Counts {
    /// Counts a hit, with `counters` places for each site's URLs, in `room` bytes of memory, which it shortens.
    pub fn count(&mut self, hit: &Hit<'_>, counters: usize, room: &mut usize) {
        let day = self.days.entry(hit.day).or_default();
        let site = match day.get_mut(hit.site) {
            Some(site) => site,
            None => day.entry(hit.site.into()).or_insert(SiteCounts { sums: Vec::new(), urls: Sketch::new(counters) }),
        };
        match site.sums.iter_mut().find(|(answer, _)| *answer == hit.answer) {
            Some((_, tally)) => tally.count(hit.bot),
            None => site.sums.push((hit.answer, Tally { hits: 1, bots: u64::from(hit.bot) })),
        }
        if hit.url.is_empty() || hit.url.len() > LONGEST_URL {
            return;
        }
        let before = site.urls.len();
        if let Some(seen) = site.urls.count(hit.url, hit.answer, room) {
            if seen.tally.hits == 0 {
                seen.first = hit.at;
                seen.last = hit.at;
            }
            seen.first = seen.first.min(hit.at);
            seen.last = seen.last.max(hit.at);
            seen.tally.count(hit.bot);
            seen.referrer.vote(hit.referrer);
        }
        self.entries += site.urls.len() - before;
    }

    /// URLs that are told apart.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// All hits.
    pub fn hits(&self) -> u64 {
        self.days.values().flat_map(|day| day.values().map(SiteCounts::hits)).sum()
    }

    /// Forgets the oldest days if there are more than can be kept. Returns the hits that are lost.
    pub fn forget(&mut self) -> u64 {
        let mut lost = 0;
        while self.days.len() > MOST_DAYS
            && let Some((_, day)) = self.days.pop_first()
        {
            lost += day.values().map(SiteCounts::hits).sum::<u64>();
        }
        lost
    }

    /// As rows, in the order of their keys: gateways that write to one database at a time never wait for each other in a
    /// circle.
    pub fn into_batch(self) -> Batch {
        let mut batch = Batch::default();
        for (day, sites) in self.days {
            let day = CompactString::from(day.to_string());
            let mut sites: Vec<_> = sites.into_iter().collect();
            sites.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            for (name, mut site) in sites {
                let hits = site.hits();
                site.sums.sort_unstable_by_key(|(answer, _)| key(*answer));
                let sum = |(answer, tally)| SumRow { day: day.clone(), site: name.clone(), answer, tally };
                batch.sums.extend(site.sums.into_iter().map(sum));
                let mut urls: Vec<_> = site.urls.into_values().collect();
                urls.sort_unstable_by(|(a, x, _), (b, y, _)| a.cmp(b).then_with(|| key(*x).cmp(&key(*y))));
                batch.hits += hits;
                batch.unnamed += hits - urls.iter().map(|(_, _, seen)| seen.tally.hits).sum::<u64>();
                let row = |(url, answer, seen)| UrlRow { day: day.clone(), site: name.clone(), url, answer, seen };
                batch.urls.extend(urls.into_iter().map(row));
            }
        }
        batch
    }
}

impl SiteCounts {
    fn hits(&self) -> u64 {
        self.sums.iter().map(|(_, tally)| tally.hits).sum()
    }
}

fn key(answer: Answer) -> (&'static str, u16, bool) {
    (answer.outcome.name(), answer.status, answer.unmapped)
}

/// Longest URL that is told apart, in bytes. Longer ones are counted for their sites. (A row's key must fit into an index
/// page of PostgreSQL, which takes 2,704 bytes.)
const LONGEST_URL: usize = 1024;

/// Longest host of a referrer that is kept, in bytes.
const LONGEST_REFERRER: usize = 64;

/// Days that are kept while the database is away.
const MOST_DAYS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    fn hit(site: &'static str, url: &'static str) -> Hit<'static> {
        let answer = Answer { outcome: Outcome::NotFound, status: 404, unmapped: true };
        Hit { day: jiff::civil::date(2026, 11, 23), site, url, answer, bot: false, at: 100, referrer: "" }
    }

    #[test]
    fn sums_are_exact_whatever_is_left_out() {
        let mut counts = Counts::default();
        let long: &'static str = "x".repeat(LONGEST_URL + 1).leak();
        for n in 0..100 {
            let url: &'static str = format!("/{n}").leak();
            counts.count(&Hit { bot: n % 2 == 0, ..hit("a", url) }, 10, &mut 1_000_000);
        }
        counts.count(&hit("a", long), 10, &mut 1_000_000);
        counts.count(&hit("", ""), 10, &mut 1_000_000);
        assert_eq!((counts.entries(), counts.hits()), (10, 102));
        let batch = counts.into_batch();
        let sums: Vec<_> = batch.sums.iter().map(|row| (row.site.as_str(), row.tally.hits, row.tally.bots)).collect();
        assert_eq!(sums, [("", 1, 0), ("a", 101, 50)]);
        assert_eq!((batch.urls.len(), batch.hits, batch.unnamed), (10, 102, 92));
    }

    #[test]
    fn what_is_known_of_a_url() {
        let mut counts = Counts::default();
        for (at, referrer) in [(50, "a.example"), (70, "b.example"), (60, "a.example"), (65, ""), (40, "a.example")] {
            counts.count(&Hit { at, referrer, ..hit("a", "/") }, 10, &mut 1_000_000);
        }
        let batch = counts.into_batch();
        let seen = &batch.urls[0].seen;
        assert_eq!((seen.first, seen.last, seen.tally.hits), (40, 70, 5));
        assert_eq!((seen.referrer.host.as_str(), seen.referrer.votes), ("a.example", 2));
    }

    #[test]
    fn only_so_many_days_wait() {
        let mut counts = Counts::default();
        for day in 1..=10 {
            counts.count(&Hit { day: jiff::civil::date(2026, 11, day), ..hit("a", "/") }, 10, &mut 1_000_000);
        }
        assert_eq!((counts.forget(), counts.forget()), (2, 0));
        assert_eq!(counts.into_batch().sums[0].day, "2026-11-03");
    }
}
