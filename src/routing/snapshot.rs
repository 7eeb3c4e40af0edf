//! All sites at one moment.

use std::{collections::HashMap, sync::Arc};

use compact_str::CompactString;

use crate::config::GuardSettings;
use crate::guard::Sources;
use crate::model::{Host, HostBuf, HostError, HostPattern, Method, challenge_token, has_trailing_dot};

use super::hosts::{HostSet, parents, previewed};
use super::site::SiteTable;

/// Every site, and which host belongs to which. Immutable; a reload makes a new one.
#[derive(Debug, Default)]
pub struct Snapshot {
    sites: Vec<Arc<SiteTable>>,
    exact: HashMap<CompactString, u32, foldhash::fast::RandomState>,
    below: HashMap<CompactString, u32, foldhash::fast::RandomState>,
    health_paths: Vec<String>,
    /// Whether authorities that ask for a challenge are answered here.
    challenges: bool,
    guard: GuardSettings,
    sources: Arc<Sources>,
    allowed: Arc<HostSet>,
    frozen: Arc<HostSet>,
    /// What follows the host in a URL of ours with https: nothing, or `:8443`.
    pub(super) https_port: String,
}

/// A host that two sites claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConflict {
    /// The site that doesn't get it.
    pub site: usize,
    /// Number of the host in that site's list.
    pub host: usize,
    /// The site that has it.
    pub owner: usize,
}

/// The site of a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub number: usize,
    pub site: &'a Arc<SiteTable>,
    /// The host that was asked for, in canonical spelling.
    pub asked: &'a str,
    /// The host that the request is for: the one that was asked for, or the one that a preview stands for.
    pub host: &'a str,
    pub preview: bool,
}

impl Snapshot {
    /// Puts sites together. `incumbent` says which of them were live before: a host that two sites claim stays with
    /// the incumbent, else with the one that comes first. `https_port` is the port that redirects to https go to,
    /// `guard` what gateway.toml admits, and `sources` what settings of
    /// the guard refer to.
    pub fn new(
        sites: Vec<Arc<SiteTable>>,
        incumbent: impl Fn(&SiteTable) -> bool,
        health_paths: Vec<String>,
        https_port: u16,
        guard: GuardSettings,
        sources: Arc<Sources>,
    ) -> (Self, Vec<HostConflict>) {
        let https_port = if https_port == 443 { String::new() } else { format!(":{https_port}") };
        let mut snapshot = Snapshot { health_paths, https_port, guard, sources, ..Snapshot::default() };
        let mut conflicts = Vec::new();
        let (old, new): (Vec<usize>, Vec<usize>) = (0..sites.len()).partition(|&number| incumbent(&sites[number]));
        for number in old.into_iter().chain(new) {
            for (host_number, pattern) in sites[number].hosts.iter().enumerate() {
                let (map, host) = match pattern {
                    HostPattern::Exact(host) => (&mut snapshot.exact, host),
                    HostPattern::Below(host) => (&mut snapshot.below, host),
                };
                let owner = *map.entry(host.as_str().into()).or_insert(number as u32) as usize;
                if owner != number {
                    conflicts.push(HostConflict { site: number, host: host_number, owner });
                }
            }
        }
        snapshot.sites = sites;
        (snapshot, conflicts)
    }

    /// The same sites, where nobody may be sent but to `allowed` hosts (if a site's files don't say), and to `frozen` ones
    /// in no case.
    pub(super) fn with_targets(self, allowed: Arc<HostSet>, frozen: Arc<HostSet>) -> Self {
        Snapshot { allowed, frozen, ..self }
    }

    /// The same sites, where challenges of an authority are answered, or not.
    pub(super) fn with_challenges(self, challenges: bool) -> Self {
        Snapshot { challenges, ..self }
    }

    /// Whether it lets its sites send visitors to the same hosts as another does.
    pub fn sends_as(&self, other: &Snapshot) -> bool {
        self.allowed == other.allowed && self.frozen == other.frozen
    }

    /// Hosts to which nobody is sent or linked.
    pub fn frozen(&self) -> &HostSet {
        &self.frozen
    }

    /// Whether visitors of a site may be sent to a host in canonical spelling.
    pub fn allows(&self, site: Option<&SiteTable>, host: &str) -> bool {
        let allowed = site.and_then(|site| site.targets.as_ref()).unwrap_or(&self.allowed);
        allowed.contains(host) && !self.frozen.contains(host)
    }

    /// What gateway.toml admits.
    pub fn guard(&self) -> &GuardSettings {
        &self.guard
    }

    /// What the guard reads besides settings.
    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// The sites, by number.
    pub fn sites(&self) -> &[Arc<SiteTable>] {
        &self.sites
    }

    /// How many host names (and domains, for wildcards) are known; previews not counted.
    pub fn host_count(&self) -> usize {
        self.exact.len() + self.below.len()
    }

    /// How many mappings all sites have.
    pub fn mapping_count(&self) -> usize {
        self.sites.iter().map(|site| site.mappings.len()).sum()
    }

    /// How many rules all sites have.
    pub fn rule_count(&self) -> usize {
        self.sites.iter().map(|site| site.rule_count()).sum()
    }

    /// Bytes of memory that the mapping tables take.
    pub fn mapping_bytes(&self) -> usize {
        self.sites.iter().map(|site| site.mappings.bytes()).sum()
    }

    /// Whether a canonical host belongs to a site (previews aside).
    pub fn knows_host(&self, host: &Host) -> bool {
        self.exact(host.as_str()).is_some() || self.below(host.as_str()).is_some()
    }

    /// Whether requests for a canonical host are answered by a site, as itself or as a preview of another.
    pub fn answers_host(&self, host: &Host) -> bool {
        self.knows_host(host) || self.preview(host.as_str(), &mut String::new()).is_some()
    }

    /// Whether a target asks for the gateway's own health.
    pub fn is_health(&self, target: &[u8]) -> bool {
        if self.health_paths.is_empty() {
            return false;
        }
        let path = target.split(|&b| b == b'?').next().unwrap_or_default();
        self.health_paths.iter().any(|health| health.as_bytes() == path)
    }

    /// The token, if an authority asks whether a host of this site leads here (ACME's `http-01`): answered by the gateway
    /// where it gets certificates by itself, else a URL as any other.
    ///
    /// The guard is not asked about it. Authorities look from several countries, from addresses that they don't tell and
    /// change, and all of them at once: a list of addresses or countries, a rate or a rule of a site would now and then
    /// keep a certificate from being renewed, and nobody would know why. What the guard looks at of a URL, a token has
    /// been looked at already (it is letters, digits, `-` and `_`), and its answer costs less than a refusal.
    pub fn challenge<'r>(&self, site: Option<&SiteTable>, method: Method, target: &'r [u8]) -> Option<&'r str> {
        let is_answered = self.challenges && site.is_some_and(|site| site.acme) && method != Method::Other;
        is_answered.then(|| challenge_token(target)).flatten()
    }

    /// The site for the value of a `Host` header.
    ///
    /// # Errors
    /// When the value is no host at all.
    pub(super) fn find<'a>(
        &'a self,
        raw: &[u8],
        buf: &'a mut HostBuf,
        preview_buf: &'a mut String,
    ) -> Result<Option<Found<'a>>, HostError> {
        let host = Host::canonical(raw, buf)?;
        Ok(self.find_canonical(raw, host, preview_buf))
    }

    fn find_canonical<'a>(&'a self, raw: &[u8], asked: &'a str, preview_buf: &'a mut String) -> Option<Found<'a>> {
        let (number, host, preview) = match self.exact(asked) {
            Some(number) => (number, asked, false),
            // A preview is asked before a wildcard: `*.example.org` would swallow `aka.example.org`.
            None => match self.preview(asked, preview_buf) {
                Some(number) => (number, preview_buf.as_str(), true),
                None => (self.below(asked)?, asked, false),
            },
        };
        let site = self.sites.get(number)?;
        if !site.canonicalizer.settings().accept_trailing_dot && has_trailing_dot(raw) {
            return None;
        }
        Some(Found { number, site, asked, host, preview })
    }

    fn exact(&self, host: &str) -> Option<usize> {
        self.exact.get(host).map(|&number| number as usize)
    }

    fn below(&self, host: &str) -> Option<usize> {
        if self.below.is_empty() {
            return None;
        }
        parents(host).find_map(|parent| self.below.get(parent)).map(|&number| number as usize)
    }

    /// The site whose host `aka-HOST`, or `aka.REST` for `www.REST`, stands for; that host is in `buf` then.
    fn preview(&self, host: &str, buf: &mut String) -> Option<usize> {
        previewed(host, buf)?;
        let number = self.exact(buf).or_else(|| self.below(buf))?;
        self.sites[number].previews.then_some(number)
    }
}
