//! What operators have set for a site, ready for use.

use crate::config::GuardSettings;
use crate::model::Methods;

/// What a site admits.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Methods.
    pub(super) methods: Methods,
}

impl Policy {
    /// What a site's own files say, else gateway.toml.
    pub fn new(site: &GuardSettings, gateway: &GuardSettings) -> Self {
        Policy { methods: site.methods.or(gateway.methods).unwrap_or_default() }
    }
}
