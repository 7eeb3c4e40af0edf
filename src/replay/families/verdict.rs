//! What a host's counts say of its system.

use std::cmp::Reverse;

use serde::Serialize;

use super::signs::Signs;
use super::{Pair, Site};
use crate::packs::{Kind, Pack, Strength};

/// What is told of a host.
#[derive(Clone, Debug, Serialize)]
pub struct SiteFamilies {
    /// The host; where nothing named one, the file.
    pub host: String,
    /// The pack of the system that it ran, above all; `unknown` if that can't be said.
    pub family: String,
    /// How sure that is, from 0 to 1.
    pub confidence: f64,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Different pages that were asked for.
    pub pages: u64,
    /// Requests for them.
    pub hits: u64,
    /// All packs of which the site had enough, the surest first.
    pub families: Vec<Family>,
    /// Packs of which there were signs, but not enough.
    pub traces: Vec<Family>,
}

/// What a host has of a pack.
#[derive(Clone, Debug, Serialize)]
pub struct Family {
    /// The pack.
    pub pack: String,
    /// Its title.
    pub title: String,
    /// What kind it is.
    pub kind: Kind,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// Different pages with its signs.
    pub urls: u64,
    /// Requests for them.
    pub hits: u64,
    /// Their share of all different pages.
    pub share: f64,
    /// The signs.
    pub signs: Vec<SignFound>,
    #[serde(skip)]
    weight: f64,
    #[serde(skip)]
    certain: u64,
}

/// A sign that was seen.
#[derive(Clone, Debug, Serialize)]
pub struct SignFound {
    /// What it is.
    pub sign: String,
    /// How sure it is.
    pub strength: Strength,
    /// Different pages that have it.
    pub urls: u64,
    /// Requests for them.
    pub hits: u64,
    /// Some of them.
    pub samples: Vec<String>,
}

/// What is called a system that nobody knows.
pub(super) const UNKNOWN: &str = "unknown";

/// Says which systems a host ran.
pub(super) fn judge(site: &Site, signs: &Signs) -> SiteFamilies {
    // What the old server did not have says nothing, unless it had nothing any more.
    let has_found = site.pages.found >= FEW.min(site.pages.all) && site.pages.found > 0;
    let of = |pair: Pair| if has_found { pair.found } else { pair.all };
    let pages = of(site.pages);
    let mut seen: Vec<Family> = Vec::new();
    for (&number, count) in &site.signs {
        let sign = &signs.list[usize::from(number)];
        let urls = of(count.urls);
        if urls == 0 {
            continue;
        }
        let place = seen.iter().position(|family| family.pack == sign.pack.name).unwrap_or_else(|| {
            seen.push(Family::new(sign.pack));
            seen.len() - 1
        });
        let family = &mut seen[place];
        family.urls += urls;
        family.hits += count.hits;
        family.weight += weight(sign.strength) * urls as f64;
        if sign.strength == Strength::Certain {
            family.certain += urls;
        }
        family.signs.push(SignFound {
            sign: sign.doc.to_owned(),
            strength: sign.strength,
            urls,
            hits: count.hits,
            samples: count.samples.clone(),
        });
    }
    for family in &mut seen {
        family.share = family.urls as f64 / pages.max(1) as f64;
        family.confidence = confidence(family);
        family.signs.sort_by_key(|sign| Reverse((sign.strength, sign.urls)));
    }
    seen.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| a.pack.cmp(&b.pack)));
    let (mut families, mut traces): (Vec<Family>, Vec<Family>) = seen.into_iter().partition(is_enough);
    // A habit of many says nothing beside a system, and not enough where there are signs of one.
    let is_sign_of_system = |family: &Family| family.kind == Kind::System && family.certain > 0;
    if families.iter().chain(&traces).any(is_sign_of_system) {
        let (generic, others) = families.into_iter().partition(|family| family.kind == Kind::Generic);
        families = others;
        traces.extend::<Vec<Family>>(generic);
    }
    let (family, confidence, reason) = match principal(&families) {
        Ok(Some(family)) => (family.pack.clone(), family.confidence, None),
        Ok(None) => (UNKNOWN.to_owned(), 0.0, Some(why_not(pages, &traces))),
        Err(reason) => (UNKNOWN.to_owned(), 0.0, Some(reason)),
    };
    SiteFamilies { host: site.name.clone(), family, confidence, reason, pages, hits: site.hits, families, traces }
}

impl Family {
    fn new(pack: &Pack) -> Self {
        Family {
            pack: pack.name.clone(),
            title: pack.zh.clone(),
            kind: pack.kind,
            confidence: 0.0,
            urls: 0,
            hits: 0,
            share: 0.0,
            signs: Vec::new(),
            weight: 0.0,
            certain: 0,
        }
    }
}

/// How much a page counts that has a sign of that strength.
fn weight(strength: Strength) -> f64 {
    match strength {
        Strength::None => 0.0,
        Strength::Weak => 0.1,
        Strength::Generic => 0.4,
        Strength::Strong => 0.5,
        Strength::Certain => 1.0,
    }
}

/// Whether there is enough of a pack to name it.
fn is_enough(family: &Family) -> bool {
    let Family { urls, share, certain, .. } = *family;
    let strong: u64 = family.signs.iter().filter(|sign| sign.strength >= Strength::Strong).map(|sign| sign.urls).sum();
    match family.kind {
        // One URL that only this system makes may be a slip; it is enough where there is hardly anything else.
        Kind::System => {
            certain >= 3 && share >= 0.05
                || certain >= 20 && share >= 0.02
                || certain >= 2 && share >= 0.25
                || certain >= 1 && share >= 0.5
                || strong >= 6 && share >= 0.4
        }
        Kind::Generic => urls >= 4 && share >= 0.3 || urls >= 2 && share >= 0.6,
        Kind::Wrapper if certain > 0 => certain >= 2 || share >= 0.5,
        Kind::Wrapper => urls >= 3,
    }
}

/// How sure a pack is: by how many pages say it, and how many of all.
fn confidence(family: &Family) -> f64 {
    let sure = 1.0 - 0.5_f64.powf(family.weight * 1.5);
    let share = 0.6 + 0.4 * (family.share / 0.5).min(1.0);
    ((sure * share).min(0.99) * 100.0).round() / 100.0
}

/// The family that stands for a host; or why there are too many.
fn principal(families: &[Family]) -> Result<Option<&Family>, String> {
    // A search is beside a system, if there is one.
    let systems: Vec<&Family> = families.iter().filter(|family| family.kind == Kind::System).collect();
    let content = systems.iter().filter(|family| family.pack != SEARCH);
    let mut ranked: Vec<&Family> = content.copied().collect();
    ranked.extend(systems.iter().filter(|family| family.pack == SEARCH));
    if let [first, second, ..] = ranked.as_slice()
        && second.pack != SEARCH
        && first.share < 0.2
        && second.weight >= first.weight * 0.5
    {
        return Err(format!("a few pages each look like {} and {}, and most like neither", first.pack, second.pack));
    }
    if let Some(first) = ranked.first() {
        return Ok(Some(first));
    }
    let rest = |kind| families.iter().find(move |family| family.kind == kind);
    Ok(rest(Kind::Generic).or_else(|| rest(Kind::Wrapper).filter(|family| family.share >= 0.6)))
}

fn why_not(pages: u64, traces: &[Family]) -> String {
    match traces.iter().find(|family| family.kind == Kind::System).or(traces.first()) {
        _ if pages == 0 => "no page was asked for".to_owned(),
        Some(family) => format!("only {} of {pages} pages look like {}", family.urls, family.pack),
        None => format!("none of {pages} pages has a shape that is known here"),
    }
}

/// The pack of a search that stands beside systems.
const SEARCH: &str = "trs-was";

/// From so many pages that the old server had, those that it didn't have are left out.
const FEW: u64 = 3;
