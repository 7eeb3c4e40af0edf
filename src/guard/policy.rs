//! What operators have set for a site, ready for use.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use super::crawlers::Declared;
use super::probes::Probes;
use super::rates::RateLimits;
use super::rules::RuleSet;
use super::{Access, Sources};
use crate::config::{GuardSettings, RateSettings, Strictness};
use crate::model::{Host, Methods};

/// What a site admits.
#[derive(Debug, Default)]
pub struct Policy {
    /// Addresses and countries.
    pub(super) access: Access,
    /// Methods.
    pub(super) methods: Methods,
    /// What is refused of targets beyond what always is.
    pub(super) strict: Strictness,
    /// What only scanners ask for.
    pub(super) probes: Probes,
    /// What is done with requests that are like this or that; the nearest file's rules come first.
    pub(super) rules: Vec<Arc<RuleSet>>,
    /// Crawlers that rules can ask for.
    pub(super) crawlers: Declared,
    /// Hosts that rules may not send clients to.
    pub(super) refused_targets: HashSet<Host>,
    /// How many requests may come.
    pub(super) rates: RateLimits,
    /// How many requests of one client may be worked on at once; 0 is no bound.
    pub(super) client_concurrency: u32,
    any_redirect: bool,
    /// What the firewall does with what goes to platforms.
    pub waf: super::waf::Policy,
}

/// What a policy wants to know of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// The address, for [`Policy::lets_in`] and nothing else.
    Address,
    /// The address or header fields, for rules.
    Anything,
}

impl Policy {
    /// What a site's own files say, else gateway.toml.
    pub fn new(site: &GuardSettings, gateway: &GuardSettings, sources: &Sources) -> Self {
        Policy {
            access: Access::new(site, gateway, sources),
            methods: site.methods.or(gateway.methods).unwrap_or_default(),
            strict: site.strict.or(gateway.strict).unwrap_or_default(),
            probes: Probes::of(site, gateway),
            rules: site.rules.iter().chain(&gateway.rules).map(|file| RuleSet::of(file)).collect(),
            crawlers: Declared::new(&gateway.crawlers),
            refused_targets: (site.refused_targets.iter().chain(&gateway.refused_targets).next())
                .map_or_else(HashSet::new, |hosts| hosts.iter().cloned().collect()),
            rates: RateLimits::compile(&RateSettings::merge([&*site.rates, &*gateway.rates])),
            client_concurrency: site.client_concurrency.or(gateway.client_concurrency).unwrap_or_default(),
            any_redirect: site.any_redirect.or(gateway.any_redirect).unwrap_or_default(),
            waf: super::waf::Policy::new(&site.waf, &gateway.waf),
        }
    }

    /// Whether a client is let in by its address and country alone, which is what is asked first.
    pub fn lets_in(&self, client: Option<IpAddr>) -> bool {
        self.access.check(client).is_ok()
    }

    /// What of a request its ruling depends on besides method, host and target, where no rates are set.
    pub fn asks(&self) -> Asks {
        if self.rules.iter().any(|rules| rules.asks_who()) {
            Asks::Anything
        } else if self.access.is_open() {
            Asks::Nothing
        } else {
            Asks::Address
        }
    }

    /// Whether platforms may send visitors to any host.
    pub fn any_redirect(&self) -> bool {
        self.any_redirect
    }
}
