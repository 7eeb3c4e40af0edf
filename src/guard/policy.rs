//! What operators have set for a site, ready for use.

use super::probes::Probes;
use crate::config::{GuardSettings, Strictness};
use crate::model::Methods;

/// What a site admits.
#[derive(Debug)]
pub struct Policy {
    /// Methods.
    pub(super) methods: Methods,
    /// What is refused of targets beyond what always is.
    pub(super) strict: Strictness,
    /// What only scanners ask for.
    pub(super) probes: Probes,
    any_redirect: bool,
}

impl Policy {
    /// What a site's own files say, else gateway.toml.
    pub fn new(site: &GuardSettings, gateway: &GuardSettings) -> Self {
        Policy {
            methods: site.methods.or(gateway.methods).unwrap_or_default(),
            strict: site.strict.or(gateway.strict).unwrap_or_default(),
            any_redirect: site.any_redirect.or(gateway.any_redirect).unwrap_or_default(),
            probes: Probes::of(site, gateway),
        }
    }

    /// Whether platforms may send visitors to any host.
    pub fn any_redirect(&self) -> bool {
        self.any_redirect
    }
}

/// What is admitted where nobody says anything.
impl Default for Policy {
    fn default() -> Self {
        Policy::new(&GuardSettings::default(), &GuardSettings::default())
    }
}
