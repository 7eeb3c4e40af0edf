//! The report of a week, month or year: what happened to old addresses, and to what they lead to.
//!
//! [`gather()`] reads the database of hits (hits, visits, what verification found), the route files and the certificates, and makes a [`Report`] of
//! whole numbers; [`page()`] shows it as one HTML file that needs nothing else, [`tables`] as CSV.
//!
//! Owns: what is told, how it is added up (`score`, for owners), and how it looks. Never does: counting (`hits`), visiting
//! (`monitor`), judging a week ([`crate::monitor::Tally`]), network.
//!
//! Invariants: every figure is a sum of rows of the database for whole days, or follows from the files at the end of the
//! period; shares are in ten thousandths, rounded down; lists on the page are bounded, the tables have all; whatever citizens
//! or operators wrote is escaped.
//!
//! Called by: `cli`.

mod chart;
mod csv;
mod gather;
mod page;
mod score;
mod sections;
mod span;

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;

pub use self::csv::tables;
pub use self::gather::{Sources, gather};
pub use self::page::page;
pub use self::span::{Length, Span};
use crate::monitor::{Family, Tally, Verdict};

/// A language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// Chinese.
    Zh,
    /// English.
    En,
}

/// All that is told.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// When it was made (RFC 3339).
    pub made: String,
    /// The time that it is about.
    pub span: Option<Span>,
    /// The time that it is compared with.
    pub before: Option<Span>,
    /// Whether the time is over; else figures are those so far.
    pub is_over: bool,
    /// Whose sites; those of all where absent.
    pub owner: Option<String>,
    /// What could not be told, and why.
    pub missing: Vec<Missing>,
    /// The sums.
    pub summary: Summary,
    /// The sums of the time before.
    pub summary_before: Summary,
    /// Hits by day, or by month in the report of a year.
    pub days: Vec<DayRow>,
    /// Hits by kind of answer.
    pub outcomes: BTreeMap<String, u64>,
    /// Every site, those with the most hits first.
    pub sites: Vec<SiteRow>,
    /// Every page that was visited, the worst first.
    pub pages: Vec<PageRow>,
    /// URLs of which nothing says where they went, those with the most hits first.
    pub unmapped: Vec<UrlRow>,
    /// Hosts that lead here and that no site has.
    pub unknown_hosts: Vec<UrlRow>,
    /// Hosts of sites, those whose certificates end first.
    pub hosts: Vec<HostRow>,
    /// Owners, the best first.
    pub owners: Vec<OwnerRow>,
    /// Waves of the consolidation.
    pub waves: Vec<WaveRow>,
    /// Links of sites that lead nowhere, as verification saw them last.
    pub dead_links: Vec<LinkRow>,
    /// Targets by what is wrong with them; one may be of several kinds.
    pub link_findings: BTreeMap<&'static str, u64>,
    /// Phases that began in that time.
    pub began: Vec<Began>,
    /// Pages that have a veto and had none before.
    pub new_vetoes: Vec<String>,
    /// Pages that had a veto before and have none any more.
    pub cleared_vetoes: Vec<String>,
}

/// What could not be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Nothing was ever counted.
    Hits,
    /// Days of that time are not kept any more, but in months.
    Days,
    /// Nothing was visited.
    Visits,
    /// Of some weeks only the month is known by now: they can't be judged.
    Weeks,
    /// Certificates can't be read.
    Certificates,
    /// No target was ever followed.
    Links,
}

/// The sums of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Sites.
    pub sites: u64,
    /// Hits of sites.
    pub hits: u64,
    /// Of them, those of URLs of which nothing says where they went.
    pub unmapped: u64,
    /// Of them, those by bots.
    pub bots: u64,
    /// Hits of hosts that no site has.
    pub unknown: u64,
    /// Share of hits that lead somewhere, in ten thousandths; none without hits.
    pub coverage: Option<u64>,
    /// Visits of pages that were made, by both families.
    pub visits: u64,
    /// Of them, those that failed.
    pub failed: u64,
    /// Share of visits by which pages opened, in ten thousandths.
    pub availability: Option<u64>,
    /// Pages with a veto in at least one week.
    pub vetoes: u64,
    /// Pages that were visited.
    pub pages: u64,
    /// Of them, those that have opened by IPv6 at least once.
    pub ipv6: u64,
    /// Milliseconds that a page took to open, on average.
    pub mean_millis: Option<u64>,
    /// Share of visits that were slow, of those by which pages opened, in ten thousandths.
    pub slow: Option<u64>,
    /// Hosts of sites.
    pub hosts: u64,
    /// Of them, those that a valid certificate covers.
    pub covered_hosts: u64,
    /// Targets of sites that verification has followed.
    pub links: u64,
    /// Of them, those that are dead: no answer, an error, a page that says it is not there, redirects without an end.
    pub dead_links: u64,
    /// Sites to close.
    pub to_close: u64,
    /// Of them, those that are closed.
    pub closed: u64,
    /// Sites that stay.
    pub kept: u64,
    /// Sites that the consolidation leaves alone.
    pub exempt: u64,
    /// Share of closed sites, of all but the exempt, in ten thousandths.
    pub rate: u64,
}

/// Hits of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayRow {
    /// `2026-11-23`, or `2026-11`.
    pub day: String,
    /// All of sites.
    pub hits: u64,
    /// Of them, those that lead nowhere.
    pub unmapped: u64,
}

/// A site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SiteRow {
    /// Its id; the file may be gone by now.
    pub site: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its wave.
    pub wave: Option<u16>,
    /// Its phase at the end of the time; empty if its file is gone.
    pub phase: &'static str,
    /// Where its content went.
    pub home: String,
    /// Hits.
    pub hits: u64,
    /// Of them, those that lead nowhere.
    pub unmapped: u64,
    /// Of them, those by bots.
    pub bots: u64,
    /// Hits in the time before.
    pub hits_before: u64,
}

/// A page that was visited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PageRow {
    /// Its URL.
    pub url: String,
    /// Sites whose home it is.
    pub sites: usize,
    /// Their owners.
    pub owners: Vec<String>,
    /// By IPv4.
    pub v4: Visits,
    /// By IPv6.
    pub v6: Visits,
}

/// Visits of a page by one family of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Visits {
    /// Those that were made.
    pub made: u64,
    /// Of them, those that failed.
    pub failed: u64,
    /// Those that were not made, because there was no address or no network.
    pub unmade: u64,
    /// Why they failed, and how often.
    pub why: BTreeMap<&'static str, u64>,
    /// Milliseconds of those that opened, added up.
    pub millis: u64,
    /// Milliseconds of the longest.
    pub longest: u64,
    /// Of those that opened, those that were slow.
    pub slow: u64,
    /// The verdict of each whole week, by its Monday.
    pub weeks: Vec<(String, &'static str)>,
}

impl Visits {
    /// For the rule.
    pub fn tally(&self) -> Tally {
        Tally { made: self.made, failed: self.failed }
    }

    /// Milliseconds that opening took, on average.
    pub fn mean(&self) -> Option<u64> {
        self.millis.checked_div(self.made - self.failed)
    }

    /// Weeks with a veto.
    pub fn vetoes(&self) -> usize {
        self.weeks.iter().filter(|(_, verdict)| *verdict == Verdict::Veto.name()).count()
    }

    /// Whether any week can be judged.
    pub fn is_judged(&self) -> bool {
        self.weeks.iter().any(|(_, verdict)| *verdict != Verdict::TooFew.name())
    }
}

impl PageRow {
    /// By both families.
    pub fn tally(&self) -> Tally {
        self.v4.tally().and(self.v6.tally())
    }

    /// By the family that it opened less by.
    pub fn worst(&self) -> (Family, Tally) {
        let opened = |tally: Tally| tally.opened().unwrap_or(10_001);
        let (v4, v6) = (self.v4.tally(), self.v6.tally());
        if opened(v6) < opened(v4) { (Family::V6, v6) } else { (Family::V4, v4) }
    }

    /// Whether a week has a veto, by either family.
    pub fn is_vetoed(&self) -> bool {
        self.v4.vetoes() + self.v6.vetoes() > 0
    }
}

/// A URL or host that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UrlRow {
    /// Its site; empty for hosts that no site has.
    pub site: String,
    /// The canonical URL without its host, or the host.
    pub url: String,
    /// Hits.
    pub hits: u64,
    /// Of them, those by bots.
    pub bots: u64,
    /// The host that most referrals came from.
    pub referrer: String,
}

/// A host and its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostRow {
    /// The host.
    pub host: String,
    /// Its site.
    pub site: String,
    /// When its certificate ends, in Unix seconds; none if no valid one covers it.
    pub until: Option<i64>,
    /// Whole days until then.
    pub days: Option<i64>,
}

/// An owner and how its sites do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OwnerRow {
    /// The owner.
    pub owner: String,
    /// Its place, from 1.
    pub rank: usize,
    /// Of 10,000; `score` says how.
    pub score: Option<u64>,
    /// The sums of its sites.
    pub summary: Summary,
}

/// A target that is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkRow {
    /// The site.
    pub site: String,
    /// The target.
    pub url: String,
    /// What is wrong with it.
    pub kind: &'static str,
    /// The same in words.
    pub detail: String,
    /// The line that names it.
    pub source: String,
}

/// A wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaveRow {
    /// Its number, if it has one.
    pub wave: Option<u16>,
    /// Its sites.
    pub sites: u64,
    /// Those to close.
    pub to_close: u64,
    /// Of them, those that are closed.
    pub closed: u64,
    /// Share of closed sites, of all but the exempt, in ten thousandths.
    pub rate: u64,
    /// The same in the time before.
    pub rate_before: u64,
    /// Of those to close, how many are in each phase.
    pub phases: BTreeMap<&'static str, u64>,
}

/// A phase that began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Began {
    /// On which day.
    #[serde(serialize_with = "span::day")]
    pub day: Date,
    /// The site.
    pub site: String,
    /// Its name.
    pub name: String,
    /// The phase.
    pub phase: &'static str,
}

/// A part of a whole in ten thousandths, rounded down; none of nothing.
pub(crate) fn share(part: u64, whole: u64) -> Option<u64> {
    (whole > 0).then(|| (u128::from(part) * 10_000 / u128::from(whole)) as u64)
}
