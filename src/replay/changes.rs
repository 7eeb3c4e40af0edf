//! URLs whose verdict is another one by other routes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::Outcome;

use super::coverage::{Fate, leads_to};
use super::frequent::Merge;
use super::judge::Judged;

/// A URL whose verdict changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How often it was asked for.
    pub hits: u64,
    /// The method.
    pub method: String,
    /// The URL, as it was first asked for.
    pub url: String,
    /// Where in the logs: file and line.
    pub seen: String,
    /// What the routes say.
    pub before: Said,
    /// What the others say.
    pub after: Said,
    /// The place of the first request, by which the examples are chosen.
    #[serde(skip)]
    pub(super) place: (usize, u64),
}

/// What routes say of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// What becomes of it.
    pub fate: Fate,
    /// Whether, and how, the site insists on HTTPS before that: `redirect` or `https_required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<&'static str>,
    /// The kind of answer, one of [`crate::model::Outcome`].
    pub outcome: &'static str,
    /// The status.
    pub status: u16,
    /// Where it leads, if anywhere: a URL, or the path that a platform is asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// The platform that is asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// The site.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub site: String,
    /// The line that says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// Changes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// Hits.
    pub hits: u64,
    /// Different URLs.
    pub urls: u64,
}

/// All that changes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Changes {
    /// Hits whose verdict changes.
    pub hits: u64,
    /// Different URLs whose verdict changes.
    pub urls: u64,
    /// By what becomes of the URLs: `redirected → unmapped`. Both may be the same, where only the target or the status is another.
    pub kinds: BTreeMap<String, Kind>,
    /// The URLs, the most asked for first.
    pub list: Vec<Change>,
    /// By how much hits in the list may be too low, and URLs with fewer may be missing; 0 if every URL is in it.
    pub missed: u64,
}

impl Said {
    /// What came of a request.
    pub(super) fn of(judged: &Judged<'_>) -> Self {
        let decision = &judged.decision;
        let (platform, to) = leads_to(&decision.verdict);
        Said {
            fate: Fate::of(decision),
            first: judged.insists.outcome().map(Outcome::name),
            outcome: decision.verdict.outcome().name(),
            status: decision.verdict.status(),
            to: to.to_owned(),
            platform: platform.to_owned(),
            site: decision.site.map_or_else(String::new, |(_, site)| site.id.clone()),
            source: decision.source.map_or_else(String::new, |source| source.to_string()),
        }
    }
}

impl Merge for Change {
    fn merge(&mut self, other: Self) {
        self.hits += other.hits;
        if other.place < self.place {
            *self = Change { hits: self.hits, ..other };
        }
    }
}
