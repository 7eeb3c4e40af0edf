//! Adds up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use tokio::runtime;

use super::{
    Began, DayRow, HostRow, Length, LinkRow, Missing, OwnerRow, PageRow, Report, SiteRow, Span, Summary, UrlRow,
    WaveRow, score, share,
};
use crate::config::{Diagnostic, Gateway, Site};
use crate::hits::{By, Calendar, HitsError, Period, Query, Reader, Sum};
use crate::monitor::{DAY, DaySum, Family, Finding, History, Tally, front};
use crate::tls::inventory;
use crate::verify::{self, Kind, Results};
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

fn traffic(
    gateway: &Gateway,
    selected: &Selected<'_>,
    here: &Times<'_>,
    there: &Times<'_>,
    report: &mut Report,
) -> Result<(Hits, Hits), HitsError> {
    let none = || Ok((Hits::default(), Hits::default()));
    let reader = match &gateway.hits.database {
        None => Err(HitsError::Missing(String::new())),
        Some(database) => Reader::open(database),
    };
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(HitsError::Missing(_)) => {
            report.missing.push(Missing::Hits);
            return none();
        }
        Err(error) => return Err(error),
    };
    let mut calendar = Calendar::new(&gateway.hits);
    if there.span.since < calendar.days_ago(gateway.hits.keep_days) && here.span.length == Length::Week {
        report.missing.push(Missing::Days);
    }
    let all = |span: &Span| Query {
        period: Period { since: span.since, until: span.until },
        site: None,
        unmapped: false,
        top: u32::MAX,
    };
    let of = |reader: &mut Reader, span: &Span| -> Result<Hits, HitsError> {
        let mut hits = Hits::default();
        for group in reader.groups(&all(span), By::Site)? {
            if group.name.is_empty() {
                hits.unknown = if selected.all { group.sum.hits } else { 0 };
            } else if selected.has_site(&group.name) {
                hits.sites.insert(group.name, group.sum);
            }
        }
        Ok(hits)
    };
    let (hits, before) = (of(&mut reader, here.span)?, of(&mut reader, there.span)?);
    let bucket = if here.span.length == Length::Year { By::Month } else { By::Day };
    let mut days: BTreeMap<String, DayRow> = empty_days(here.span).map(|row| (row.day.clone(), row)).collect();
    for (day, site, sum) in reader.pairs(&all(here.span), bucket, By::Site)? {
        if selected.has_site(&site) {
            let row = days.entry(day.clone()).or_insert(DayRow { day, hits: 0, unmapped: 0 });
            row.hits += sum.hits;
            row.unmapped += sum.unmapped;
        }
    }
    report.days = days.into_values().collect();
    for (outcome, site, sum) in reader.pairs(&all(here.span), By::Outcome, By::Site)? {
        if selected.has_site(&site) {
            *report.outcomes.entry(outcome).or_default() += sum.hits;
        }
    }
    let mut urls = Vec::new();
    let query = Query { unmapped: true, top: MOST_URLS, ..all(here.span) };
    if selected.all {
        urls = reader.urls(&query)?;
        let unknown = reader.urls(&Query { site: Some(""), unmapped: false, ..query })?;
        report.unknown_hosts = unknown.into_iter().map(url_row).collect();
    } else {
        for (id, sum) in &hits.sites {
            if sum.unmapped > 0 {
                urls.extend(reader.urls(&Query { site: Some(id), ..query.clone() })?);
            }
        }
        urls.sort_by(|one, other| {
            other.hits.cmp(&one.hits).then_with(|| (&one.site, &one.url).cmp(&(&other.site, &other.url)))
        });
        urls.truncate(MOST_URLS as usize);
    }
    report.unmapped = urls.into_iter().filter(|row| !row.site.is_empty()).map(url_row).collect();
    Ok((hits, before))
}

/// Every day of a time, or every month of a year: one without hits is told too.
fn empty_days(span: &Span) -> impl Iterator<Item = DayRow> {
    let mut names: Vec<String> = Vec::new();
    let mut day = span.since;
    while day <= span.until {
        let name = day.to_string();
        let name = if span.length == Length::Year { name.get(..7).unwrap_or(&name).to_owned() } else { name };
        if names.last() != Some(&name) {
            names.push(name);
        }
        day = day.saturating_add(1.day());
    }
    names.into_iter().map(|day| DayRow { day, hits: 0, unmapped: 0 })
}

fn url_row(url: crate::hits::UrlHits) -> UrlRow {
    UrlRow { site: url.site, url: url.url, hits: url.hits, bots: url.bots, referrer: url.referrer }
}

fn visits(
    gateway: &Gateway,
    selected: &Selected<'_>,
    here: &Times<'_>,
    there: &Times<'_>,
    report: &mut Report,
) -> Result<(Vec<PageRow>, Vec<PageRow>), HitsError> {
    let Some(database) = &gateway.hits.database else {
        report.missing.push(Missing::Visits);
        return Ok((Vec::new(), Vec::new()));
    };
    let no_runtime = |error| HitsError::Missing(format!("no thread: {error}"));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    let read = runtime.block_on(async {
        let mut history = History::read(database, &gateway.hits, gateway.monitor.slow).await?;
        // The last week may end after the time itself.
        let mut of = async |span: &Span| history.days(span.since, span.until.saturating_add(6.days())).await;
        Ok((of(here.span).await?, of(there.span).await?))
    });
    let (days, days_before) = match read {
        Err(HitsError::Missing(_)) => (Vec::new(), Vec::new()),
        read => read?,
    };
    let (pages, pages_before) = (pages(days, selected, here.span), pages(days_before, selected, there.span));
    if pages.is_empty() {
        report.missing.push(Missing::Visits);
    }
    Ok((pages, pages_before))
}

/// Pages of the sums of days.
fn pages(days: Vec<DaySum>, selected: &Selected<'_>, span: &Span) -> Vec<PageRow> {
    let weeks: Vec<(Date, Date)> = span.weeks().collect();
    let mut pages: BTreeMap<String, PageRow> = BTreeMap::new();
    let mut tallies: HashMap<(String, Family, usize), Tally> = HashMap::new();
    let (first, last) = (span.since.to_string(), span.until.to_string());
    for sum in days.into_iter().filter(|sum| selected.has_page(&sum.url)) {
        // Of what was added up to months, nobody knows the week.
        if let Ok(day) = sum.day.parse::<Date>()
            && let Some(week) = weeks.iter().position(|(monday, sunday)| (*monday..=*sunday).contains(&day))
        {
            let tally = tallies.entry((sum.url.clone(), sum.family, week)).or_default();
            *tally = tally.and(tally_of(&sum));
        }
        let is_month = sum.day.len() == 7 && sum.day.as_str() >= &first[..7] && sum.day.as_str() <= &last[..7];
        if !is_month && !(first.as_str()..=last.as_str()).contains(&sum.day.as_str()) {
            continue;
        }
        let page = pages.entry(sum.url.clone()).or_insert_with(|| {
            let sites = selected.homes.get(sum.url.as_str()).map_or(&[][..], Vec::as_slice);
            let owners: BTreeSet<String> = sites.iter().filter_map(|site| site.owner.clone()).collect();
            PageRow {
                url: sum.url.clone(),
                sites: sites.len(),
                owners: owners.into_iter().collect(),
                ..PageRow::default()
            }
        });
        let visits = match sum.family {
            Family::V4 => &mut page.v4,
            Family::V6 => &mut page.v6,
        };
        let tally = tally_of(&sum);
        visits.made += tally.made;
        visits.failed += tally.failed;
        if !sum.finding.is_made() {
            visits.unmade += sum.visits;
        }
        if sum.finding == Finding::Open {
            visits.millis += sum.millis;
            visits.slow += sum.slow;
            visits.longest = visits.longest.max(sum.longest);
        } else {
            *visits.why.entry(sum.finding.name()).or_default() += sum.visits;
        }
    }
    for page in pages.values_mut() {
        for (family, visits) in [(Family::V4, &mut page.v4), (Family::V6, &mut page.v6)] {
            for (at, (monday, _)) in weeks.iter().enumerate() {
                if let Some(tally) = tallies.get(&(page.url.clone(), family, at)).filter(|tally| tally.made > 0) {
                    visits.weeks.push((monday.to_string(), tally.week().name()));
                }
            }
        }
    }
    pages.into_values().collect()
}

fn tally_of(sum: &DaySum) -> Tally {
    Tally {
        made: if sum.finding.is_made() { sum.visits } else { 0 },
        failed: if sum.finding.is_failure() { sum.visits } else { 0 },
    }
}

fn hosts(gateway: &Gateway, sites: &[&Site], now: i64, report: &mut Report) {
    let Ok(inventory) = inventory(gateway) else {
        report.missing.push(Missing::Certificates);
        return;
    };
    let mut until: HashMap<&str, i64> = HashMap::new();
    for certificate in inventory.certificates.iter().filter(|certificate| certificate.is_valid_at(now)) {
        for name in &certificate.names {
            let known = until.entry(name).or_insert(certificate.not_after);
            *known = certificate.not_after.max(*known);
        }
    }
    for site in sites {
        for (host, _) in &site.hosts {
            let host = host.to_string();
            let parent = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            let ends = [Some(host.as_str()), parent.as_deref()].into_iter().flatten();
            let until = ends.filter_map(|name| until.get(name).copied()).max();
            let days = until.map(|until| (until - now) / DAY);
            report.hosts.push(HostRow { host, site: site.id.clone(), until, days });
        }
    }
    report.hosts.sort_by(|one, other| (one.until, &one.host).cmp(&(other.until, &other.host)));
}

/// Targets that were followed, and those that are dead, by site.
type Links = BTreeMap<String, (u64, u64)>;

fn links(gateway: &Gateway, selected: &Selected<'_>, report: &mut Report) -> Result<Links, HitsError> {
    let mut links = Links::new();
    let results = match &gateway.hits.database {
        None => Err(HitsError::Missing(String::new())),
        Some(database) => Results::open(database),
    };
    let mut results = match results {
        Err(HitsError::Missing(_)) => {
            report.missing.push(Missing::Links);
            return Ok(links);
        }
        results => results?,
    };
    // What is of a site whose file is gone leads nobody anywhere.
    for (site, found) in results.sites()?.into_iter().filter(|(site, _)| selected.sites.contains_key(site.as_str())) {
        let dead = DEAD.iter().filter_map(|kind| found.kinds.get(kind)).sum();
        for (kind, count) in found.kinds {
            *report.link_findings.entry(kind.name()).or_default() += count;
        }
        links.insert(site, (found.targets, dead));
    }
    if links.is_empty() {
        report.missing.push(Missing::Links);
        return Ok(links);
    }
    let of = if selected.all { vec![None] } else { links.keys().map(|site| Some(site.as_str())).collect() };
    for site in of {
        for found in results.findings(site, DEAD.iter().copied().collect(), MOST_URLS)? {
            let Some(kind) = DEAD.iter().find(|kind| found.kinds.has(**kind)) else { continue };
            if report.dead_links.len() < MOST_URLS as usize && links.contains_key(&found.site) {
                let kind = kind.name();
                let verify::Finding { site, url, detail, source, .. } = found;
                report.dead_links.push(LinkRow { site, url, kind, detail, source });
            }
        }
    }
    Ok(links)
}

/// What makes a link a dead one.
const DEAD: [Kind; 3] = [Kind::Dead, Kind::Soft404, Kind::Loop];

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
            phases: crate::model::Phase::ALL
                .iter()
                .zip(tally.phases)
                .map(|(phase, count)| (phase.name(), count as u64))
                .collect(),
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

/// The sums, of all or of what `only` has.
fn summary(
    hits: &Hits,
    pages: &[PageRow],
    hosts: &[HostRow],
    links: &Links,
    status: &Consolidation,
    only: Option<&Owned<'_>>,
) -> Summary {
    let mut sum = Summary::default();
    for (_, site) in hits.sites.iter().filter(|(id, _)| only.is_none_or(|only| only.sites.contains(id.as_str()))) {
        sum.hits += site.hits;
        sum.unmapped += site.unmapped;
        sum.bots += site.bots;
    }
    let (mut millis, mut slow) = (0, 0);
    for page in pages.iter().filter(|page| only.is_none_or(|only| only.homes.contains(page.url.as_str()))) {
        let tally = page.tally();
        sum.visits += tally.made;
        sum.failed += tally.failed;
        sum.pages += 1;
        sum.vetoes += u64::from(page.is_vetoed());
        sum.ipv6 += u64::from(page.v6.made > page.v6.failed);
        millis += page.v4.millis + page.v6.millis;
        slow += page.v4.slow + page.v6.slow;
    }
    let opened = sum.visits - sum.failed;
    for host in hosts.iter().filter(|host| only.is_none_or(|only| only.sites.contains(host.site.as_str()))) {
        sum.hosts += 1;
        sum.covered_hosts += u64::from(host.until.is_some());
    }
    for (_, (all, dead)) in links.iter().filter(|(id, _)| only.is_none_or(|only| only.sites.contains(id.as_str()))) {
        sum.links += all;
        sum.dead_links += dead;
    }
    let tally = match only {
        None => Some(&status.all),
        Some(only) => status
            .owners
            .iter()
            .find(|group| group.of.as_deref().unwrap_or_default() == only.owner)
            .map(|group| &group.tally),
    };
    if let Some(tally) = tally {
        sum.sites = tally.sites as u64;
        sum.to_close = tally.to_close as u64;
        sum.closed = tally.closed as u64;
        sum.rate = rate(tally);
    }
    Summary {
        unknown: if only.is_none() { hits.unknown } else { 0 },
        coverage: share(sum.hits - sum.unmapped, sum.hits),
        availability: share(opened, sum.visits),
        mean_millis: u64::checked_div(millis, opened),
        slow: share(slow, opened),
        ..sum
    }
}

/// What an owner has.
struct Owned<'a> {
    owner: &'a str,
    sites: BTreeSet<&'a str>,
    homes: BTreeSet<&'a str>,
}

struct Owners<'a>(BTreeMap<&'a str, Owned<'a>>);

impl<'a> Owners<'a> {
    fn new(sites: &[&'a Site]) -> Self {
        let mut owners: BTreeMap<&str, Owned<'_>> = BTreeMap::new();
        for site in sites {
            let owner = site.owner.as_deref().unwrap_or_default();
            let owned =
                owners.entry(owner).or_insert_with(|| Owned { owner, sites: BTreeSet::new(), homes: BTreeSet::new() });
            owned.sites.insert(&site.id);
            owned.homes.extend(site.home.as_ref().map(|(home, _)| home.as_str()));
        }
        Owners(owners)
    }

    fn rows(
        &self,
        hits: &Hits,
        pages: &[PageRow],
        hosts: &[HostRow],
        links: &Links,
        status: &Consolidation,
    ) -> Vec<OwnerRow> {
        let row = |owned: &Owned<'_>| OwnerRow {
            owner: owned.owner.to_owned(),
            summary: summary(hits, pages, hosts, links, status, Some(owned)),
            ..OwnerRow::default()
        };
        self.0.values().map(row).collect()
    }
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
