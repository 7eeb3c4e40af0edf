//! A site as traffic sees it.

use std::sync::Arc;

use crate::config::template::Template;
use crate::config::{GuardSettings, Protection, Serving};
use crate::model::{HostPattern, Https, Lifecycle, RedirectStatus, Rewriting, Source, Target};
use crate::url::{Canonical, Canonicalizer, Form};

use super::hosts::HostSet;
use super::mappings::{HitAction, MappingTable};
use super::rules::RuleSet;

/// Everything that decides a site's requests. Immutable; shared by every snapshot in which its files are the same.
///
/// The layout is fixed so that what each request reads stands together: with thousands of sites every cache line
/// counts (a look-up is mostly waiting for memory).
#[derive(Debug)]
#[repr(C)]
pub struct SiteTable {
    /// Turns request targets into keys; shared by sites of the same habits.
    pub canonicalizer: Arc<Canonicalizer>,
    /// When each phase begins.
    pub lifecycle: Lifecycle,
    pub(super) https: Https,
    /// How many rules come before the mappings.
    pub(super) first_rules: u32,
    pub(super) rules: RuleSet,
    /// Exact mappings.
    pub mappings: MappingTable,
    /// Names of its files: the site file, the defaults, and last the mapping table.
    pub(super) files: Vec<Arc<str>>,
    /// Path of the site file without `.toml`.
    pub id: String,
    /// Name of the site.
    pub name: String,
    /// Its hosts.
    pub hosts: Vec<HostPattern>,
    /// Where its content went.
    pub home: Option<Target>,
    /// The server that answers in phase `proxy`, by the name that `relay` knows it by; empty if there is none.
    pub origin: Box<str>,
    /// Who may edit its files.
    pub owner: Option<String>,
    /// Site identification code.
    pub code: Option<String>,
    /// Wave of the consolidation.
    pub wave: Option<u16>,
    /// Cache-Control of its answers, if not the gateway's.
    pub cache_control: Option<String>,
    /// Strict-Transport-Security of its answers over HTTPS.
    pub hsts: Option<String>,
    /// Template of the report-an-error link.
    pub report: String,
    /// Whether `aka` previews answer.
    pub previews: bool,
    /// Whether certificates for its hosts are ordered.
    pub acme: bool,
    /// How answers that come from elsewhere are served.
    pub serving: Arc<Serving>,
    /// What browsers are told of its pages.
    pub protection: Protection,
    /// Where it may send anybody, if its files say.
    pub(super) targets: Option<HostSet>,
    /// What it admits, as far as its files say.
    pub guard: GuardSettings,
    pub(super) status: RedirectStatus,
    pub(super) home_refused: bool,
    pub(super) home_line: Line,
    pub(super) hosts_line: Line,
    pub(super) lifecycle_line: Line,
    pub(super) https_line: Line,
    pub(super) archive: Option<Template>,
    pub(super) timestamp: String,
    pub(super) rule_actions: Vec<RuleAction>,
    /// Where the old origin answers.
    pub(super) rewriting: Option<Rewriting>,
    pub(super) fallback: FallbackAction,
    pub(super) fallback_line: Line,
}

/// A file of the site, by number, and a line in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub file: u16,
    pub line: u32,
}

/// A redirect of a rule or fallback.
#[derive(Debug)]
pub(super) struct Redirect {
    pub to: Template,
    pub status: RedirectStatus,
    pub keep_query: bool,
    /// The target's text, if the policy doesn't allow its host.
    pub refused: Option<String>,
    /// Whether a page stands before it.
    pub leaving: bool,
}

/// What a page of a gone URL offers.
#[derive(Debug, Default)]
pub(super) struct LinkTemplates {
    pub suggest: Option<Template>,
    pub archive: Option<Template>,
}

#[derive(Debug)]
pub(super) struct RuleAction {
    pub action: Action,
    pub line: Line,
    /// The pattern as the file has it, for `explain`.
    pub label: String,
    pub note: Option<String>,
}

#[derive(Debug)]
pub(super) enum Action {
    Redirect(Redirect),
    Gone(LinkTemplates),
    Missing(LinkTemplates),
    Text { body: String, content_type: String },
    Serve { platform: String, path: Option<Template>, keep_query: bool, rewriting: Option<Rewriting> },
}

#[derive(Debug)]
pub(super) enum FallbackAction {
    Page,
    Home(RedirectStatus),
    Gone,
    Redirect(Redirect),
    Serve { platform: String, path: Option<Template>, rewriting: Option<Rewriting> },
}

impl SiteTable {
    /// Whether a mapping is for a request target.
    pub fn has_mapping(&self, target: &[u8]) -> bool {
        let mut url = Canonical::default();
        self.canonicalizer.canonicalize(target, Form::Wire, &mut url).is_ok() && self.mappings.get(url.key()).is_some()
    }

    /// Its rules by number: where each stands, and its pattern as the file has it.
    pub fn rules(&self) -> impl Iterator<Item = (Option<Source<'_>>, &str)> {
        self.rule_actions.iter().map(|rule| (self.source(rule.line), rule.label.as_str()))
    }

    /// How many rules it has.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Each target that does not depend on what is asked, with the line that names it; some more than once: home, mappings with
    /// what they suggest where a page is gone, rules and the fallback.
    pub fn each_target<'s>(&'s self, mut tell: impl FnMut(&'s str, Option<Source<'s>>)) {
        if let Some(home) = self.home.as_ref().filter(|_| !self.home_refused) {
            tell(home.as_str(), self.source(self.home_line));
        }
        for (_, line, action) in self.mappings.iter() {
            match action {
                HitAction::Redirect { to, .. } | HitAction::Gone { suggest: Some(to), .. } => {
                    tell(to, self.mapping_source(line));
                }
                HitAction::Refused { .. } | HitAction::Gone { suggest: None, .. } => {}
            }
        }
        for (template, line) in self.redirects() {
            if let Some(to) = template.literal() {
                tell(to, self.source(line));
            }
        }
    }

    /// Whether it has targets that depend on what is asked.
    pub fn makes_targets(&self) -> bool {
        self.redirects().any(|(template, _)| template.literal().is_none())
    }

    /// Templates of what rules and the fallback redirect to, as far as the policy allows it.
    fn redirects(&self) -> impl Iterator<Item = (&Template, Line)> {
        let rules = self.rule_actions.iter().map(|rule| match &rule.action {
            Action::Redirect(redirect) => Some((redirect, rule.line)),
            _ => None,
        });
        let fallback = match &self.fallback {
            FallbackAction::Redirect(redirect) => Some((redirect, self.fallback_line)),
            _ => None,
        };
        let all = rules.chain([fallback]).flatten();
        all.filter(|(redirect, _)| redirect.refused.is_none()).map(|(redirect, line)| (&redirect.to, line))
    }

    /// The host that stands for the site: its first exact one.
    pub fn main_host(&self) -> Option<&str> {
        self.hosts.iter().find_map(|host| match host {
            HostPattern::Exact(host) => Some(host.as_str()),
            HostPattern::Below(_) => None,
        })
    }

    pub(super) fn source(&self, line: Line) -> Option<Source<'_>> {
        let file = self.files.get(usize::from(line.file))?;
        Some(Source { file, line: line.line })
    }

    /// Where a mapping's row stands.
    pub fn mapping_source(&self, line: u32) -> Option<Source<'_>> {
        Some(Source { file: self.files.last()?, line })
    }
}
