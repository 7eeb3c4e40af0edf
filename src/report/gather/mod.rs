//! Adds up: `traffic`, `visits`, `checks` (certificates and links), and the `sums` of all and of each owner.

mod checks;
mod sums;
mod traffic;
mod visits;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use self::checks::{Links, hosts, links};
use self::sums::{Owners, summary};
use self::traffic::traffic;
use self::visits::visits;
use super::{Began, PageRow, Report, SiteRow, Span, WaveRow, score, share};
use crate::config::{Diagnostic, Gateway, Site};
use crate::hits::{HitsError, Sum};
use crate::model::Phase;
use crate::monitor::front;
use crate::waves::{self, Consolidation};

/// What a report is made of.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Settings.
    pub gateway: &'a Gateway,
    /// All sites, as their files are.
    pub sites: &'a [&'a Site],
    /// What is wrong with the files.
    pub findings: &'a [Diagnostic],
    /// When it is made, in Unix seconds.
    pub now: i64,
}

/// Makes the report of a time, of one owner's sites or of all.
///
/// # Errors
/// If the database fails. That nothing is in it, or that there is none, is told in the report.
pub fn gather(sources: &Sources<'_>, span: &Span, owner: Option<&str>) -> Result<Report, HitsError> {
    let Sources { gateway, now, .. } = *sources;
    let of_owner = |site: &&&Site| owner.is_none_or(|owner| site.owner.as_deref().unwrap_or_default() == owner);
    let sites: Vec<&Site> = sources.sites.iter().filter(of_owner).copied().collect();
    let before = span.before();
    let zone = zone(gateway);
    // Files are as they are now: the phases that they say are looked at for the end of each time.
    let at = |span: &Span| now.min(begin(&zone, span.until.saturating_add(1.day())) - 1);
    let mut report = Report {
        made: Timestamp::from_second(now).unwrap_or_default().to_string(),
        is_over: begin(&zone, span.until.saturating_add(1.day())) <= now,
        owner: owner.map(str::to_owned),
        span: Some(span.clone()),
        before: Some(before.clone()),
        ..Report::default()
    };
    let selected = Selected::new(&sites, owner.is_none(), gateway);
    let here = Times { span, at: at(span) };
    let there = Times { span: &before, at: at(&before) };
    let (hits, hits_before) = traffic(gateway, &selected, &here, &there, &mut report)?;
    let (pages, pages_before) = visits(gateway, &selected, &here, &there, &mut report)?;
    hosts(gateway, &sites, now, &mut report);
    let links = links(gateway, &selected, &mut report)?;
    let (status, status_before) = (
        waves::status(sites.iter().copied(), sources.findings, here.at, 0),
        waves::status(sites.iter().copied(), sources.findings, there.at, 0),
    );
    report.waves = waves_of(&status, &status_before);
    report.began = began(&sites, &here, &zone);
    report.sites = site_rows(&sites, &hits, &hits_before, here.at);

    let by_owner = Owners::new(&sites);
    report.summary = summary(&hits, &pages, &report.hosts, &links, &status, None);
    report.summary_before = summary(&hits_before, &pages_before, &[], &Links::new(), &status_before, None);
    report.owners = by_owner.rows(&hits, &pages, &report.hosts, &links, &status);
    score::rank(&mut report.owners);
    let vetoed = |pages: &[PageRow]| -> BTreeSet<String> {
        pages.iter().filter(|page| page.is_vetoed()).map(|page| page.url.clone()).collect()
    };
    let (vetoes, vetoes_before) = (vetoed(&pages), vetoed(&pages_before));
    report.new_vetoes = vetoes.difference(&vetoes_before).cloned().collect();
    report.cleared_vetoes = vetoes_before.difference(&vetoes).cloned().collect();
    report.pages = pages;
    report.pages.sort_by(|one, other| {
        let key = |page: &PageRow| (!page.is_vetoed(), page.worst().1.opened().unwrap_or(10_001));
        key(one).cmp(&key(other)).then_with(|| one.url.cmp(&other.url))
    });
    Ok(report)
}

/// A time, and the moment at which its phases are looked at.
struct Times<'a> {
    span: &'a Span,
    at: i64,
}

/// Which sites and pages are looked at.
struct Selected<'a> {
    /// Whether all are.
    all: bool,
    sites: HashMap<&'a str, &'a Site>,
    /// Homes, with the sites that have them.
    homes: BTreeMap<&'a str, Vec<&'a Site>>,
    /// Pages that are nobody's home.
    others: BTreeSet<String>,
}

impl<'a> Selected<'a> {
    fn new(sites: &[&'a Site], all: bool, gateway: &Gateway) -> Self {
        let mut homes: BTreeMap<&str, Vec<&Site>> = BTreeMap::new();
        for &site in sites {
            if let Some((home, _)) = &site.home {
                homes.entry(home.as_str()).or_default().push(site);
            }
        }
        let mut others: BTreeSet<String> = BTreeSet::new();
        if all {
            others.extend(gateway.platforms.values().filter_map(front).map(|url| url.to_string()));
            others.extend(gateway.monitor.pages.iter().map(ToString::to_string));
        }
        Selected { all, sites: sites.iter().map(|site| (site.id.as_str(), *site)).collect(), homes, others }
    }

    fn has_site(&self, id: &str) -> bool {
        !id.is_empty() && (self.all || self.sites.contains_key(id))
    }

    fn has_page(&self, url: &str) -> bool {
        self.homes.contains_key(url) || self.others.contains(url)
    }
}

/// Hits of a time.
#[derive(Default)]
struct Hits {
    sites: BTreeMap<String, Sum>,
    unknown: u64,
}

fn waves_of(status: &Consolidation, before: &Consolidation) -> Vec<WaveRow> {
    let row = |group: &waves::Group<u16>| {
        let tally = &group.tally;
        let earlier = before.waves.iter().find(|other| other.of == group.of).map(|other| &other.tally);
        WaveRow {
            wave: group.of,
            sites: tally.sites as u64,
            to_close: tally.to_close as u64,
            closed: tally.closed as u64,
            rate: rate(tally),
            rate_before: earlier.map_or(0, rate),
            phases: Phase::ALL.iter().zip(tally.phases).map(|(phase, count)| (phase.name(), count as u64)).collect(),
        }
    };
    status.waves.iter().map(row).collect()
}

/// As `waypost status` has it, in ten thousandths.
fn rate(tally: &waves::Tally) -> u64 {
    share(tally.closed as u64, (tally.sites - tally.exempt) as u64).unwrap_or(0)
}

fn began(sites: &[&Site], here: &Times<'_>, zone: &TimeZone) -> Vec<Began> {
    let since = begin(zone, here.span.since);
    let mut began = Vec::new();
    for site in sites {
        for &(at, phase) in site.lifecycle.starts().iter().filter(|(at, _)| (since..=here.at).contains(at)) {
            let day = Timestamp::from_second(at).unwrap_or_default().to_zoned(zone.clone()).date();
            began.push(Began { day, site: site.id.clone(), name: site.name.clone(), phase: phase.name() });
        }
    }
    began.sort_by(|one, other| (one.day, &one.site).cmp(&(other.day, &other.site)));
    began
}

fn site_rows(sites: &[&Site], hits: &Hits, before: &Hits, at: i64) -> Vec<SiteRow> {
    let mut rows: BTreeMap<&str, SiteRow> = BTreeMap::new();
    for site in sites {
        rows.insert(
            &site.id,
            SiteRow {
                site: site.id.clone(),
                name: site.name.clone(),
                owner: site.owner.clone().unwrap_or_default(),
                wave: site.wave,
                phase: site.lifecycle.at(at).name(),
                home: site.home.as_ref().map(|(home, _)| home.to_string()).unwrap_or_default(),
                ..SiteRow::default()
            },
        );
    }
    for (id, sum) in &hits.sites {
        let row = rows.entry(id).or_insert_with(|| SiteRow { site: id.clone(), ..SiteRow::default() });
        (row.hits, row.unmapped, row.bots) = (sum.hits, sum.unmapped, sum.bots);
    }
    for (id, sum) in &before.sites {
        if let Some(row) = rows.get_mut(id.as_str()) {
            row.hits_before = sum.hits;
        }
    }
    let mut rows: Vec<SiteRow> = rows.into_values().collect();
    rows.sort_by(|one, other| other.hits.cmp(&one.hits).then_with(|| one.site.cmp(&other.site)));
    rows
}

/// Midnight of a day, in Unix seconds.
fn begin(zone: &TimeZone, day: Date) -> i64 {
    day.to_zoned(zone.clone()).map_or(i64::MAX / 4, |begin| begin.timestamp().as_second())
}

fn zone(gateway: &Gateway) -> TimeZone {
    match &gateway.hits.zone {
        Some(name) => TimeZone::get(name).unwrap_or(TimeZone::UTC),
        None => TimeZone::system(),
    }
}

/// URLs that are told of, at most.
const MOST_URLS: u32 = 1_000;
