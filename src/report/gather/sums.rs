//! The sums of all, and of each owner.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{HostRow, OwnerRow, PageRow, Summary, share};
use super::checks::Links;
use super::{Hits, rate};
use crate::config::Site;
use crate::waves::Consolidation;

/// The sums, of all or of what `only` has.
pub(super) fn summary(
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
        sum.kept = tally.kept as u64;
        sum.exempt = tally.exempt as u64;
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
pub(super) struct Owned<'a> {
    owner: &'a str,
    sites: BTreeSet<&'a str>,
    homes: BTreeSet<&'a str>,
}

pub(super) struct Owners<'a>(BTreeMap<&'a str, Owned<'a>>);

impl<'a> Owners<'a> {
    pub fn new(sites: &[&'a Site]) -> Self {
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

    pub fn rows(
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
