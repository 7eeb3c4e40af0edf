//! What a replay found, for people and programs.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::model::Reason;

use super::changes::{Changes, Kind};
use super::coverage::Fate;
use super::seen::{Seen, cut};
use super::worker::{FOUND, NO_SITE, Shared, Worker};

/// What a replay found. Its JSON form is stable: fields are only added.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The logs.
    pub files: Vec<FileReport>,
    /// Lines of all logs.
    pub lines: u64,
    /// Comments and empty lines.
    pub comments: u64,
    /// Lines that can't be read, those that are too long included.
    pub unreadable: u64,
    /// Lines of connections on which nothing came that is a request.
    pub no_request: u64,
    /// Requests outside of `--since` and `--until`, or of other sites than `--site`.
    pub left_out: u64,
    /// Requests that are counted.
    pub requests: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The first lines that can't be read.
    pub unreadable_lines: Vec<UnreadableLine>,
    /// Whether numbers of different URLs are exact; if not, they are estimates.
    pub urls_exact: bool,
    /// All requests.
    pub total: Coverage,
    /// Requests by what the gateway would answer (as `waypost_requests_total` has them); a request that is sent to HTTPS first is
    /// a `redirect` here, whatever comes of its URL there.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Requests that would be answered by a site's fallback (as `waypost_unmapped_total` counts).
    pub unmapped_answers: u64,
    /// Refused requests by reason (as `waypost_guard_refused_total`).
    pub denied: BTreeMap<&'static str, u64>,
    /// The sites that were asked for.
    pub sites: Vec<SiteCoverage>,
    /// URLs of which nothing says where they went, the most asked for first.
    pub unmapped: Vec<Unmapped>,
    /// By how much hits in that list may be too low, and URLs with fewer may be missing; 0 if they are exact.
    pub unmapped_missed: u64,
    /// Hosts that no site has, the most asked for first.
    pub unknown_hosts: Vec<UnknownHost>,
    /// As for unmapped URLs.
    pub unknown_hosts_missed: u64,
    /// What would be another way by the other routes, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

/// One log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileReport {
    /// Its path.
    pub path: String,
    /// Its format: `combined`, `common`, `vhost`, `vhost-last`, `nginx`, `iis` or `json`; or `urls`, a list of URLs.
    pub format: Option<String>,
    /// The host of lines that name none.
    pub host: Option<String>,
    /// Its lines.
    pub lines: u64,
    /// Lines that were longer than a megabyte.
    pub too_long: u64,
    /// Why it was not read, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A line that can't be read.
#[derive(Clone, Debug, Serialize)]
pub struct UnreadableLine {
    /// The log.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// How it begins.
    pub text: String,
    /// What is wrong.
    pub why: &'static str,
}

/// Hits and URLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Share {
    /// Requests.
    pub hits: u64,
    /// Part of all requests, from 0 to 1.
    pub hits_share: f64,
    /// Different URLs.
    pub urls: u64,
    /// Part of all different URLs.
    pub urls_share: f64,
    /// Requests that the old server had answered 2xx or 3xx.
    pub found_hits: u64,
    /// Part of all such requests.
    pub found_hits_share: f64,
    /// Different URLs that the old server had answered so.
    pub found_urls: u64,
    /// Part of all such URLs.
    pub found_urls_share: f64,
}

/// What becomes of requests.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Coverage {
    /// All.
    pub all: Share,
    /// Those of sites, that the guard admits: what is to be covered.
    pub asked: Share,
    /// Those of them for which something says where the URL went: all but the unmapped. Shares are parts of `asked`.
    pub covered: Share,
    /// By what becomes of them; shares are parts of all.
    #[serde(flatten)]
    pub fates: BTreeMap<&'static str, Share>,
}

/// A site's coverage.
#[derive(Clone, Debug, Serialize)]
pub struct SiteCoverage {
    /// Its id.
    pub site: String,
    /// Its name.
    pub name: String,
    /// Who may edit its files.
    pub owner: Option<String>,
    /// The wave in which it moves.
    pub wave: Option<u16>,
    /// What becomes of requests for it.
    #[serde(flatten)]
    pub coverage: Coverage,
    /// Its requests by what the gateway would answer.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// Hits by the status of the old server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OldStatuses {
    /// The log doesn't say.
    pub unknown: u64,
    /// 1xx.
    pub informational: u64,
    /// 2xx.
    pub success: u64,
    /// 3xx.
    pub redirection: u64,
    /// 4xx: it was no page there either.
    pub client_error: u64,
    /// 5xx and others.
    pub server_error: u64,
}

/// A URL of which nothing says where it went.
#[derive(Clone, Debug, Serialize)]
pub struct Unmapped {
    /// Hits.
    pub hits: u64,
    /// Hits that the old server had answered 2xx or 3xx.
    pub found_hits: u64,
    /// The site.
    pub site: String,
    /// The canonical URL: what a row of its mappings would have as `old`.
    pub key: String,
    /// The URL as it was first asked for.
    pub example: String,
    /// Where that stands: file and line.
    pub seen: String,
    /// By the status of the old server.
    pub old: OldStatuses,
}

/// A host that no site has.
#[derive(Clone, Debug, Serialize)]
pub struct UnknownHost {
    /// Hits.
    pub hits: u64,
    /// The host, in lower case; empty where nobody knows it.
    pub host: String,
    /// The URL as it was first asked for.
    pub example: String,
    /// Where that stands: file and line.
    pub seen: String,
}

/// Puts it together.
pub(super) fn report(shared: &Shared<'_>, all: Worker<'_>, files: Vec<FileReport>, took: Duration) -> Report {
    let snapshot = shared.job.judge.snapshot();
    let sites = snapshot.sites();
    let (mut total, mut by_site) = (Sums::default(), vec![Sums::default(); sites.len()]);
    for count in all.counts.each() {
        let site = count.site.and_then(|site| by_site.get_mut(site));
        for sums in [Some(&mut total), site].into_iter().flatten() {
            sums.hits[count.fate as usize] += count.hits;
            sums.found_hits[count.fate as usize] += if count.found { count.hits } else { 0 };
            *sums.outcomes.entry(count.outcome.name()).or_default() += count.hits;
            sums.unmapped += if count.unmapped { count.hits } else { 0 };
        }
    }
    shared.urls.each(|kind, marks, times| {
        let site = Some(kind >> 3).filter(|site| *site != NO_SITE).and_then(|site| by_site.get_mut(site as usize));
        for sums in [Some(&mut total), site].into_iter().flatten() {
            sums.urls[(kind & 7) as usize] += times;
            sums.found_urls[(kind & 7) as usize] += if marks & FOUND == 0 { 0 } else { times };
        }
    });
    let place = |(file, line): (usize, u64)| format!("{}:{line}", files.get(file).map_or("", |file| &file.path));
    let top = if shared.job.top == 0 { usize::MAX } else { shared.job.top };
    let changes = shared.job.against.is_some().then(|| {
        let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
        let name = |before: usize, after: usize| format!("{} → {}", Fate::ALL[before].name(), Fate::ALL[after].name());
        for (before, row) in all.changed.iter().enumerate() {
            for (after, &hits) in row.iter().enumerate().filter(|(_, hits)| **hits > 0) {
                kinds.entry(name(before, after)).or_default().hits += hits;
            }
        }
        shared.changed.each(|kind, _, times| {
            kinds.entry(name((kind >> 3) as usize, (kind & 7) as usize)).or_default().urls += times;
        });
        let missed = all.changes.missed();
        let mut list: Vec<_> = all.changes.into_values().collect();
        list.sort_by(|one, other| other.hits.cmp(&one.hits).then(one.place.cmp(&other.place)));
        list.truncate(top);
        list.iter_mut().for_each(|change| change.seen = place(change.place));
        let sum = |of: fn(&Kind) -> u64| kinds.values().map(of).sum();
        Changes { hits: sum(|kind| kind.hits), urls: sum(|kind| kind.urls), kinds, list, missed }
    });
    let unmapped_missed = all.unmapped.missed();
    let unmapped = most(all.unmapped.into_values(), top).map(|seen| Unmapped {
        hits: seen.hits(),
        found_hits: seen.statuses[2] + seen.statuses[3],
        site: seen.site.and_then(|site| sites.get(site)).map_or_else(String::new, |site| site.id.clone()),
        key: text(&seen.key),
        example: seen.example,
        seen: place(seen.place),
        old: OldStatuses::of(seen.statuses),
    });
    let unknown_hosts_missed = all.unknown.missed();
    let unknown_hosts = most(all.unknown.into_values(), top).map(|seen| UnknownHost {
        hits: seen.hits(),
        host: text(&seen.key),
        example: seen.example,
        seen: place(seen.place),
    });
    let mut unreadable: Vec<UnreadableLine> = Vec::new();
    for (file, line, text, why) in all.unreadable {
        let file = files.get(file).map_or_else(String::new, |file| file.path.clone());
        unreadable.push(UnreadableLine { file, line, text, why });
    }
    let too_long: u64 = files.iter().map(|file| file.too_long).sum();
    let asked_for = by_site.into_iter().zip(sites).filter(|(sums, _)| sums.hits.iter().any(|hits| *hits > 0));
    Report {
        lines: all.tally.lines + too_long,
        comments: all.tally.comments,
        unreadable: all.tally.unreadable + too_long,
        no_request: all.tally.no_request,
        left_out: all.tally.left_out,
        requests: all.tally.requests,
        seconds: took.as_secs_f64(),
        unreadable_lines: unreadable,
        urls_exact: shared.urls.is_exact(),
        total: total.coverage(),
        outcomes: total.outcomes,
        unmapped_answers: total.unmapped,
        denied: Reason::ALL
            .iter()
            .zip(all.reasons)
            .filter(|(_, hits)| *hits > 0)
            .map(|(r, hits)| (r.name(), hits))
            .collect(),
        sites: asked_for
            .map(|(sums, site)| SiteCoverage {
                site: site.id.clone(),
                name: site.name.clone(),
                owner: site.owner.clone(),
                wave: site.wave,
                coverage: sums.coverage(),
                outcomes: sums.outcomes,
            })
            .collect(),
        unmapped: unmapped.collect(),
        unmapped_missed,
        unknown_hosts: unknown_hosts.collect(),
        unknown_hosts_missed,
        changes,
        files,
    }
}

/// Those that were seen most often.
fn most(seen: impl Iterator<Item = Seen>, top: usize) -> impl Iterator<Item = Seen> {
    let mut seen: Vec<Seen> = seen.collect();
    seen.sort_by(|one, other| other.hits().cmp(&one.hits()).then(one.place.cmp(&other.place)));
    seen.truncate(top);
    seen.into_iter()
}

fn text(bytes: &[u8]) -> String {
    cut(bytes, usize::MAX)
}

/// Sums of a site, or of all, by fate.
#[derive(Clone, Debug, Default)]
struct Sums {
    hits: [u64; FATES],
    found_hits: [u64; FATES],
    urls: [u64; FATES],
    found_urls: [u64; FATES],
    outcomes: BTreeMap<&'static str, u64>,
    unmapped: u64,
}

impl Sums {
    fn coverage(&self) -> Coverage {
        let of = |is_in: &dyn Fn(Fate) -> bool| {
            let sum = |sums: &[u64; FATES]| {
                Fate::ALL.iter().zip(sums).filter(|(fate, _)| is_in(**fate)).map(|(_, n)| n).sum()
            };
            [sum(&self.hits), sum(&self.urls), sum(&self.found_hits), sum(&self.found_urls)]
        };
        let is_asked = |fate: Fate| !matches!(fate, Fate::Denied | Fate::UnknownHost);
        let all = of(&|_| true);
        let asked = of(&is_asked);
        let covered = of(&|fate| is_asked(fate) && fate != Fate::Unmapped);
        let fates = Fate::ALL.iter().map(|&fate| (fate.name(), Share::new(of(&|other| other == fate), all)));
        Coverage {
            all: Share::new(all, all),
            asked: Share::new(asked, all),
            covered: Share::new(covered, asked),
            fates: fates.collect(),
        }
    }
}

impl Share {
    fn new([hits, urls, found_hits, found_urls]: [u64; 4], of: [u64; 4]) -> Self {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        Share {
            hits,
            hits_share: share(hits, of[0]),
            urls,
            urls_share: share(urls, of[1]),
            found_hits,
            found_hits_share: share(found_hits, of[2]),
            found_urls,
            found_urls_share: share(found_urls, of[3]),
        }
    }
}

impl OldStatuses {
    fn of([unknown, informational, success, redirection, client_error, server_error]: [u64; 6]) -> Self {
        OldStatuses { unknown, informational, success, redirection, client_error, server_error }
    }
}

const FATES: usize = Fate::ALL.len();
