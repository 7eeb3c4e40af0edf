//! What a site makes of the rules' findings.

use std::fmt::Write as _;

use super::{AtBound, Exclusion, Hit, Inspection, Mode};
use crate::config::WafSettings;

/// A site's settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Whether the rules run.
    pub mode: Mode,
    /// Their paranoia level, 1 to 4.
    pub paranoia: u8,
    /// The score from which on a request is an attack: 5 is one critical rule.
    pub threshold: u32,
    /// What does not count.
    pub exclusions: Vec<Exclusion>,
    /// What happens at the bounds.
    pub at_bound: AtBound,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { mode: Mode::Off, paranoia: 1, threshold: 5, exclusions: Vec::new(), at_bound: AtBound::Pass }
    }
}

/// What the rules found, less what the site does without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The hits that count.
    pub hits: Vec<Hit>,
    /// What they come to.
    pub score: u32,
}

impl Policy {
    /// What a site's own files say, else gateway.toml.
    pub fn new(site: &WafSettings, gateway: &WafSettings) -> Self {
        let usual = Policy::default();
        let exclusions = site.exclusions.as_ref().or(gateway.exclusions.as_ref());
        Policy {
            mode: site.mode.or(gateway.mode).unwrap_or(usual.mode),
            paranoia: site.paranoia.or(gateway.paranoia).unwrap_or(usual.paranoia),
            threshold: site.threshold.or(gateway.threshold).unwrap_or(usual.threshold),
            exclusions: exclusions.cloned().unwrap_or_default(),
            at_bound: site.at_bound.or(gateway.at_bound).unwrap_or(usual.at_bound),
        }
    }

    /// Whether a request is refused for what came of its inspection.
    pub fn refuses(&self, inspection: &Inspection) -> bool {
        self.mode == Mode::Block
            && match inspection {
                Inspection::Skipped | Inspection::Clean => false,
                Inspection::Found(findings) => self.is_attack(findings),
                Inspection::Bound(_) => self.at_bound == AtBound::Refuse,
            }
    }

    /// What counts of `hits` on a request for `target`.
    pub fn weigh(&self, mut hits: Vec<Hit>, target: &[u8]) -> Findings {
        hits.retain(|hit| {
            hit.paranoia <= self.paranoia
                && !self.exclusions.iter().any(|exclusion| exclusion.covers(hit.id, &hit.tags, target))
        });
        let score = hits.iter().map(|hit| hit.severity.score()).fold(0, u32::saturating_add);
        Findings { hits, score }
    }

    /// Whether findings make a request an attack.
    pub fn is_attack(&self, findings: &Findings) -> bool {
        findings.score >= self.threshold || findings.hits.iter().any(|hit| hit.denies)
    }
}

impl Findings {
    /// The numbers of the rules, each once: `941100,942100`.
    pub fn rules(&self) -> String {
        let mut ids: Vec<u32> = self.hits.iter().map(|hit| hit.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut out = String::new();
        for id in ids {
            // Writing to a string can't fail.
            let _ = write!(out, "{}{id}", if out.is_empty() { "" } else { "," });
        }
        out
    }
}
