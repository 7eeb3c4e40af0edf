//! What operators have set for a site, ready for use.

use super::{Access, Sources};
use crate::config::GuardSettings;
use crate::model::Methods;

/// What a site admits.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Addresses and countries.
    pub(super) access: Access,
    /// Methods.
    pub(super) methods: Methods,
}

impl Policy {
    /// What a site's own files say, else gateway.toml.
    pub fn new(site: &GuardSettings, gateway: &GuardSettings, sources: &Sources) -> Self {
        Policy {
            access: Access::new(site, gateway, sources),
            methods: site.methods.or(gateway.methods).unwrap_or_default(),
        }
    }
}
