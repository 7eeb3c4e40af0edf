//! Certificates of hosts, and dead links.

use std::collections::{BTreeMap, HashMap};

use super::super::{HostRow, LinkRow, Missing, Report};
use super::{MOST_URLS, Selected};
use crate::config::{Gateway, Site};
use crate::hits::HitsError;
use crate::monitor::DAY;
use crate::tls::inventory;
use crate::verify::{self, Kind, Results};

pub(super) fn hosts(gateway: &Gateway, sites: &[&Site], now: i64, report: &mut Report) {
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
pub(super) type Links = BTreeMap<String, (u64, u64)>;

pub(super) fn links(gateway: &Gateway, selected: &Selected<'_>, report: &mut Report) -> Result<Links, HitsError> {
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
