//! How far the consolidation has come.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::config::{Diagnostic, Severity, Site, readable_host};
use crate::model::{Disposition, HostPattern, Lifecycle, Phase};

/// How long a notice may stand, in seconds: a site whose address changes announces it for three months.
const NOTICE: i64 = 92 * DAY;

const DAY: i64 = 86_400;

/// How many sites there are, and where they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub sites: usize,
    /// Those that are to be closed, or are.
    pub to_close: usize,
    /// Those that are: in the phase `redirect` or a later one, so that nobody needs their old servers.
    pub closed: usize,
    /// Those that stay.
    pub kept: usize,
    /// Those that stay and don't count.
    pub exempt: usize,
    /// Of those to close, how many are in each phase, as [`Phase::ALL`] has them.
    pub phases: [usize; 5],
}

impl Tally {
    /// The share of closed sites among those that count: all but the exempt. 0 where there are none.
    pub fn rate(&self) -> f64 {
        share(self.closed, self.sites - self.exempt)
    }

    /// The share that will be closed once all is done.
    pub fn planned_rate(&self) -> f64 {
        share(self.to_close, self.sites - self.exempt)
    }

    /// How many of those to close are in a phase.
    pub fn in_phase(&self, phase: Phase) -> usize {
        self.phases[phase as usize]
    }

    fn add(&mut self, site: &Site, now: i64) {
        self.sites += 1;
        match site.disposition {
            Disposition::Keep => self.kept += 1,
            Disposition::Exempt => self.exempt += 1,
            Disposition::Close => {
                let phase = site.lifecycle.at(now);
                self.to_close += 1;
                self.closed += usize::from(phase >= Phase::Redirect);
                self.phases[phase as usize] += 1;
            }
        }
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Sites of one wave, or of one owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group<K> {
    /// The wave, or the owner; `None` of sites that say none.
    pub of: Option<K>,
    /// How many.
    pub tally: Tally,
    /// What begins next of the sites to close, when (Unix seconds), and for how many of them.
    pub next: Option<(Phase, i64, usize)>,
}

/// A phase that begins soon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Due {
    /// The site.
    pub site: String,
    /// Its name.
    pub name: String,
    /// Its wave.
    pub wave: Option<u16>,
    /// What begins.
    #[serde(serialize_with = "phase_name")]
    pub phase: Phase,
    /// When, in Unix seconds.
    pub at: i64,
}

/// A site that should be further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overdue {
    /// The site.
    pub site: String,
    /// Its name.
    pub name: String,
    /// Its wave.
    pub wave: Option<u16>,
    /// Since when, in Unix seconds.
    pub since: i64,
    /// What is late.
    pub why: String,
    /// What to do.
    pub hint: String,
}

/// A site that can't be closed as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// The site.
    pub site: String,
    /// Its name.
    pub name: String,
    /// Its wave.
    pub wave: Option<u16>,
    /// What stands in the way, and what to do about it.
    pub why: String,
}

/// How far the consolidation has come at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consolidation {
    /// The moment, in Unix seconds.
    pub now: i64,
    /// All sites.
    pub all: Tally,
    /// By wave; those without one last.
    pub waves: Vec<Group<u16>>,
    /// By owner; those without one last.
    pub owners: Vec<Group<String>>,
    /// What begins within the days that were asked for, soonest first.
    pub due: Vec<Due>,
    /// What is late, longest first.
    pub overdue: Vec<Overdue>,
    /// What can't go on, by site.
    pub blocked: Vec<Blocked>,
}

/// What the files of all sites say at `now` (Unix seconds): `sites` as [`crate::routing::Loader::checked_sites`] has them,
/// `findings` what is wrong with them. What begins within `days` is due.
pub fn status<'a>(
    sites: impl IntoIterator<Item = &'a Site>,
    findings: &[Diagnostic],
    now: i64,
    days: u32,
) -> Consolidation {
    let sites: Vec<&Site> = sites.into_iter().collect();
    let mut all = Tally::default();
    sites.iter().for_each(|site| all.add(site, now));
    let closing: Vec<&Site> = sites.iter().copied().filter(|site| site.disposition == Disposition::Close).collect();
    let until = now.saturating_add(i64::from(days) * DAY);
    let mut due: Vec<Due> = closing
        .iter()
        .flat_map(|site| {
            let starts = site.lifecycle.starts().iter().filter(|(at, _)| (now + 1..=until).contains(at));
            starts.map(|&(at, phase)| Due {
                site: site.id.clone(),
                name: site.name.clone(),
                wave: site.wave,
                phase,
                at,
            })
        })
        .collect();
    due.sort_by(|a, b| (a.at, a.wave, &a.site).cmp(&(b.at, b.wave, &b.site)));
    Consolidation {
        now,
        all,
        waves: groups(&sites, now, |site| site.wave),
        owners: groups(&sites, now, |site| site.owner.clone()),
        due,
        overdue: overdue(&closing, now),
        blocked: blocked(&closing, findings, now),
    }
}

fn groups<K: Ord + Clone>(sites: &[&Site], now: i64, of: impl Fn(&Site) -> Option<K>) -> Vec<Group<K>> {
    let mut groups: BTreeMap<Option<K>, Vec<&Site>> = BTreeMap::new();
    for site in sites {
        groups.entry(of(site)).or_default().push(site);
    }
    let nobody = groups.remove(&None);
    let in_order = groups.into_iter().chain(nobody.map(|sites| (None, sites)));
    in_order
        .map(|(of, sites)| {
            let mut tally = Tally::default();
            sites.iter().for_each(|site| tally.add(site, now));
            let closing = sites.iter().filter(|site| site.disposition == Disposition::Close);
            let coming: Vec<(i64, Phase)> = closing.filter_map(|site| next(&site.lifecycle, now)).collect();
            let next = coming
                .iter()
                .min()
                .map(|&(at, phase)| (phase, at, coming.iter().filter(|&&other| other == (at, phase)).count()));
            Group { of, tally, next }
        })
        .collect()
}

fn next(lifecycle: &Lifecycle, now: i64) -> Option<(i64, Phase)> {
    lifecycle.starts().iter().copied().find(|&(at, _)| at > now)
}

/// When a phase begins.
fn start(site: &Site, phase: Phase) -> Option<i64> {
    site.lifecycle.starts().iter().find(|(_, known)| *known == phase).map(|&(at, _)| at)
}

fn overdue(closing: &[&Site], now: i64) -> Vec<Overdue> {
    // When the first site of each wave began to move.
    let mut began: HashMap<u16, i64> = HashMap::new();
    for site in closing {
        let moves = [Phase::Notice, Phase::Redirect].into_iter().filter_map(|phase| start(site, phase)).min();
        if let (Some(wave), Some(at)) = (site.wave, moves) {
            began.entry(wave).and_modify(|known| *known = at.min(*known)).or_insert(at);
        }
    }
    let mut out: Vec<Overdue> = Vec::new();
    for site in closing {
        let late = |since: i64, why: String, hint: String| Overdue {
            site: site.id.clone(),
            name: site.name.clone(),
            wave: site.wave,
            since,
            why,
            hint,
        };
        let next = next(&site.lifecycle, now);
        match site.lifecycle.at(now) {
            Phase::Proxy if next.is_none() => match site.wave.and_then(|wave| Some((wave, *began.get(&wave)?))) {
                Some((wave, at)) if at <= now => out.push(late(
                    at,
                    "its wave has begun, and it has no date".to_owned(),
                    format!("waypost wave {wave} --phase redirect --at DATE"),
                )),
                _ => {}
            },
            Phase::Notice if next.is_none() => {
                let since = start(site, Phase::Notice).unwrap_or(now);
                if now - since > NOTICE {
                    let hint = match site.wave {
                        Some(wave) => format!("waypost wave {wave} --phase redirect --at DATE"),
                        None => format!("say when `redirect` begins, under [lifecycle] in {}.toml", site.id),
                    };
                    let why = "its notice has stood for more than three months, and nothing follows".to_owned();
                    out.push(late(since + NOTICE, why, hint));
                }
            }
            _ => {}
        }
    }
    out.sort_by(|a, b| (a.since, &a.site).cmp(&(b.since, &b.site)));
    out
}

fn blocked(closing: &[&Site], findings: &[Diagnostic], now: i64) -> Vec<Blocked> {
    let mut faults: HashMap<&str, Vec<&Diagnostic>> = HashMap::new();
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Error) {
        let id = finding.file.strip_suffix(".toml").or_else(|| finding.file.strip_suffix(".csv"));
        faults.entry(id.unwrap_or(&finding.file)).or_default().push(finding);
    }
    let mut closed_hosts: HashMap<&str, &Site> = HashMap::new();
    for site in closing {
        for (host, _) in &site.hosts {
            if let HostPattern::Exact(host) = host {
                closed_hosts.entry(host.as_str()).or_insert(site);
            }
        }
    }
    let mut out = Vec::new();
    for site in closing.iter().filter(|site| site.lifecycle.at(now) < Phase::Archive) {
        let mut why: Vec<String> = Vec::new();
        let faults = faults.get(site.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let no_home = |fault: &Diagnostic| site.home.is_none() && fault.code == "missing-key";
        match &site.home {
            None => why.push("nobody has said where its content went: `home`".to_owned()),
            Some((home, _)) => {
                // A site that moves within itself (its old URLs to its new ones on the same host) would be one of its own.
                if let Some(other) = closed_hosts.get(home.host().as_str()).filter(|other| other.id != site.id) {
                    let host = readable_host(home.host().as_str());
                    why.push(format!("its home is on {host}, which is to be closed itself ({}.toml)", other.id));
                }
            }
        }
        if let Some(fault) = faults.iter().find(|fault| !no_home(fault)) {
            let more = faults.iter().filter(|fault| !no_home(fault)).count() - 1;
            let more = if more > 0 { format!(", and {more} more: `waypost check`") } else { String::new() };
            why.push(format!("{}:{}: {}{more}", fault.file, fault.line, fault.message));
        }
        let entry = |why| Blocked { site: site.id.clone(), name: site.name.clone(), wave: site.wave, why };
        out.extend(why.into_iter().map(entry));
    }
    out
}

fn phase_name<S: serde::Serializer>(phase: &Phase, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(phase.name())
}
