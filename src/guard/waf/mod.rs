//! The web application firewall: the OWASP Core Rule Set on what goes to platforms.
//!
//! Owns: the rules of a folder that the operator names (`folder`, `directives`), the [`Engine`] that runs them
//! (libmodsecurity, with the cargo feature `waf`), the [`Prefilter`] that spares plain page views the engine, the threads
//! on which it runs ([`Waf`]), and what a site makes of its findings ([`Policy`]).
//!
//! Never does: reading requests (`relay` brings their parts), answering, looking at answers of platforms.
//!
//! Invariants: no engine runs on a thread that serves connections; nobody waits longer for one than `waf-time`, and no
//! more requests wait than the queue holds. Findings are those of the rules; which of them count (exclusions, paranoia)
//! and when they are too many (threshold) is each site's, so that no site costs a second copy of the rules.
//!
//! Called by: `relay`, once per request that a platform shall answer.

#[cfg_attr(not(feature = "waf"), allow(dead_code, reason = "what engines and the prefilter need of rules"))]
mod directives;
mod engine;
mod folder;
#[cfg(feature = "waf")]
mod modsecurity;
mod policy;
mod pool;
#[cfg_attr(not(feature = "waf"), allow(dead_code, reason = "without an engine there are no rules"))]
mod prefilter;

use std::path::Path;
use std::sync::Arc;

pub use crate::config::{AtBound, Exclusion, Mode};
pub use directives::Severity;
pub use engine::{Engine, Hit, Request, Stuck};
pub use folder::Fault;
pub use policy::{Findings, Policy};
pub use pool::{Bound, Inspection, Waf};

pub use prefilter::Prefilter;
use prefilter::{Head, Judgement};

/// Rules, ready to run.
#[derive(Debug)]
pub struct Rules {
    /// What runs them.
    pub engine: Arc<dyn Engine>,
    /// What tells which requests they have nothing to say of.
    pub prefilter: Prefilter,
    /// How many there are.
    pub count: usize,
    /// What could not be loaded, and was left out.
    pub faults: Vec<Fault>,
}

impl Rules {
    /// Whether the engine is spared a request. If nobody has looked at a head like its own yet, it looks now.
    pub fn spares(&self, request: &Request) -> bool {
        match self.prefilter.judge(request) {
            Judgement::Plain => true,
            Judgement::Suspect => false,
            Judgement::Unknown(head) => self.learn(head),
        }
    }

    /// Lets the engine look at a head; whether it is clean, and remembered.
    fn learn(&self, head: Head) -> bool {
        let is_clean = self.engine.inspect(&head.probe()).is_ok_and(|hits| hits.is_empty());
        if is_clean {
            self.prefilter.learn(head);
        }
        is_clean
    }
}

/// Loads the rules of a folder: Debian's `/usr/share/modsecurity-crs`, or a release of the rule set.
///
/// # Errors
/// If the gateway was built without the feature `waf`, or the folder has no rules. A rule that can't be loaded is no
/// error: it is among the [`faults`](Rules::faults), and the others work.
pub fn load(folder: &Path) -> Result<Rules, Fault> {
    let (rules, faults) = folder::read(folder)?;
    build(rules, faults)
}

#[cfg(feature = "waf")]
fn build(mut rules: directives::RuleSet, mut faults: Vec<Fault>) -> Result<Rules, Fault> {
    let engine = modsecurity::ModSecurity::new(&mut rules, &mut faults)?;
    Ok(Rules { count: rules.count(), prefilter: Prefilter::new(rules), engine: Arc::new(engine), faults })
}

#[cfg(not(feature = "waf"))]
fn build(_rules: directives::RuleSet, _faults: Vec<Fault>) -> Result<Rules, Fault> {
    Err(Fault::in_general(
        "this waypost was built without the feature `waf`; use a package, or build with `--features waf`",
    ))
}
