//! What operators have set for a site, ready for use.

use super::rates::RateLimits;
use crate::config::{GuardSettings, RateSettings};
use crate::model::Methods;

/// What a site admits.
#[derive(Debug, Default)]
pub struct Policy {
    /// Methods.
    pub(super) methods: Methods,
    /// How many requests may come.
    pub(super) rates: RateLimits,
    /// How many requests of one client may be worked on at once; 0 is no bound.
    pub(super) client_concurrency: u32,
}

impl Policy {
    /// What a site's own files say, else gateway.toml.
    pub fn new(site: &GuardSettings, gateway: &GuardSettings) -> Self {
        Policy {
            methods: site.methods.or(gateway.methods).unwrap_or_default(),
            rates: RateLimits::compile(&RateSettings::merge([&*site.rates, &*gateway.rates])),
            client_concurrency: site.client_concurrency.or(gateway.client_concurrency).unwrap_or_default(),
        }
    }
}
