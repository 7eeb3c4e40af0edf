//! The decision: one function for traffic, `explain`, `check` and the tests.

use std::sync::Arc;

use crate::model::{Agent, Gone, HostBuf, Https, Method, Phase, RedirectStatus, Rewriting, Source, Verdict};
use crate::url::{Canonical, Form, TargetError};

use super::hosts::HostSet;
use super::mappings::{Hit, HitAction};
use super::render::{Values, https_url, own_path, render};
use super::rules::{RuleScratch, RuleSet};
use super::site::{Action, FallbackAction, LinkTemplates, Redirect, SiteTable};
use super::snapshot::{Found, Snapshot};
use super::trace::{NoTrace, Trace};

/// What the decision looks at of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The host it is for, as sent; `None` where HTTP/1.0 has none.
    pub host: Option<&'a [u8]>,
    /// The request target, as sent.
    pub target: &'a [u8],
    /// Whether the client came by HTTPS.
    pub secure: bool,
    /// What the client says it is (`User-Agent`); empty if nothing. Only a site in phase `notice` looks at it.
    pub user_agent: &'a [u8],
}

/// A verdict, and why.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// What to do.
    pub verdict: Verdict<'a>,
    /// The site, and its number in the snapshot; none for unknown hosts.
    pub site: Option<(usize, &'a Arc<SiteTable>)>,
    /// The canonical host that the request is for; empty if it has none.
    pub host: &'a str,
    /// The site's phase.
    pub phase: Option<Phase>,
    /// The line that said so; none for built-ins.
    pub source: Option<Source<'a>>,
    /// What of the site said so.
    pub by: By,
    /// The canonical URL that was looked up: the path, and what of the query names a page. Empty if nothing was.
    pub key: &'a [u8],
    /// Hosts to which the answer may not link.
    pub frozen: &'a HostSet,
}

impl Decision<'_> {
    /// Whether another client would be answered otherwise, by its `User-Agent`: in phase `notice` crawlers are redirected,
    /// and people see a page first.
    pub fn is_by_agent(&self) -> bool {
        self.phase == Some(Phase::Notice)
            && self.by != By::Site
            && matches!(self.verdict, Verdict::Redirect { .. } | Verdict::Notice { .. })
    }
}

/// What says which verdict it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// No site: the gateway itself.
    #[default]
    Gateway,
    /// The site's settings, and no page of it: its lifecycle, that it wants HTTPS, its robots.txt and sitemap.
    Site,
    /// A mapping, by its place in the table ([`super::MappingTable::places`]).
    Mapping(u32),
    /// A rule, by its number.
    Rule(u32),
    /// The way home of `/`.
    Home,
    /// The fallback: nothing says where this URL went. It is *unmapped*.
    Fallback,
}

/// Working space of decisions, used again for every request of a connection or thread.
#[derive(Debug, Default)]
pub struct Scratch {
    host: HostBuf,
    preview: String,
    url: Canonical,
    rules: RuleScratch,
    location: String,
    archive: String,
    suggest: String,
}

impl Snapshot {
    /// The number of the site that decides what is asked of `host`, the value of a Host header; none if no site does.
    pub fn site_of(&self, host: &[u8], scratch: &mut Scratch) -> Option<usize> {
        let found = self.find(host, &mut scratch.host, &mut scratch.preview).ok()?;
        found.map(|found| found.number)
    }

    /// Decides what to do with a request at `now` (Unix seconds).
    pub fn decide<'a>(&'a self, request: &Request<'a>, now: i64, scratch: &'a mut Scratch) -> Decision<'a> {
        self.decide_traced(request, now, scratch, &mut NoTrace)
    }

    /// As [`Snapshot::decide`], and tells each step to `trace`.
    pub fn decide_traced<'a>(
        &'a self,
        request: &Request<'a>,
        now: i64,
        scratch: &'a mut Scratch,
        trace: &mut impl Trace,
    ) -> Decision<'a> {
        let Scratch { host: host_buf, preview, url, rules, location, archive, suggest } = scratch;
        let decision = |verdict| self.undecided(verdict);
        if self.is_health(request.target) {
            trace.step("health", None, || "a health path of the gateway".to_owned());
            return decision(Verdict::Health);
        }
        let found = match request.host.map(|raw| self.find(raw, host_buf, preview)) {
            None => None,
            Some(Ok(found)) => found,
            // RFC 9112, 3.2: such a request is malformed, not one for a host that nobody knows.
            Some(Err(error)) => {
                trace.step("host", None, || error.to_string());
                return decision(Verdict::BadRequest("the Host header is not a host name"));
            }
        };
        let Some(Found { number, site, asked, host, preview }) = found else {
            trace.step("host", None, || "no site has this host".to_owned());
            return decision(Verdict::UnknownHost);
        };
        trace.step("host", site.source(site.hosts_line), || {
            format!("{}{}", site.name, if preview { format!(", preview of {host}") } else { String::new() })
        });
        let phase = site.lifecycle.at(now);
        trace.step("phase", None, || phase.to_string());
        let decision = |(verdict, source, by): Answer<'a>| Decision {
            verdict,
            site: Some((number, site)),
            host,
            phase: Some(phase),
            source,
            by,
            key: b"",
            frozen: self.frozen(),
        };
        // By plain HTTP (RFC 8555, 8.3), and in every phase: a host needs a certificate as long as it answers.
        if let Some(token) = self.challenge(Some(site), request.method, request.target) {
            trace.step("built-in", None, || "an authority asks whether the host leads here (ACME)".to_owned());
            return decision((Verdict::Challenge { token }, None, By::Site));
        }
        // In every phase, and before anything of the site is looked up.
        if site.https != Https::Allow && !request.secure {
            let source = site.source(site.https_line);
            trace.step("https", source, || format!("plain HTTP: {}", site.https));
            let fits = https_url(asked, &self.https_port, request.target, location);
            return decision((insist(site.https, fits.then_some(location), request.method), source, By::Site));
        }
        if request.target == REFUSED_PATH.as_bytes() {
            trace.step("built-in", None, || REFUSED_PATH.to_owned());
            return decision((Verdict::Refused { target: "" }, None, By::Site));
        }
        if let Err(error) = site.canonicalizer.canonicalize(request.target, Form::Wire, url) {
            trace.step("url", None, || error.to_string());
            return decision((Verdict::BadRequest(error.message()), None, By::Site));
        }
        let url: &'a Canonical = url;
        trace.step("url", None, || String::from_utf8_lossy(url.key()).into_owned());
        let walk = Walk { site, request, host, url, trace, rules, location, archive, suggest };
        let (mut verdict, source, by) = walk.run(phase);
        if !self.frozen().is_empty() {
            let thawed = without_frozen(verdict, self.frozen());
            if thawed != verdict {
                trace.step("frozen", None, || "the target's host is frozen".to_owned());
            }
            verdict = thawed;
        }
        Decision { key: url.key(), ..decision((verdict, source, by)) }
    }

    /// The verdict, or what becomes of it if its target is frozen.
    pub fn unless_frozen<'a>(&self, verdict: Verdict<'a>) -> Verdict<'a> {
        without_frozen(verdict, self.frozen())
    }

    /// A decision about no site.
    pub fn undecided<'a>(&'a self, verdict: Verdict<'a>) -> Decision<'a> {
        Decision {
            verdict,
            site: None,
            host: "",
            phase: None,
            source: None,
            by: By::Gateway,
            key: b"",
            frozen: self.frozen(),
        }
    }
}

/// A page of the gateway under every old host: it says that an answer would have led to a host that is not allowed.
pub const REFUSED_PATH: &str = "/.well-known/waypost/refused";

/// The verdict without what leads to frozen hosts.
fn without_frozen<'a>(verdict: Verdict<'a>, frozen: &HostSet) -> Verdict<'a> {
    let links = |links: Gone<'a>| Gone {
        suggest: links.suggest.filter(|link| !frozen.contains_url(link)),
        archive: links.archive.filter(|link| !frozen.contains_url(link)),
    };
    match verdict {
        Verdict::Redirect { location: target, .. }
        | Verdict::Notice { location: target }
        | Verdict::Leaving { location: target }
            if frozen.contains_url(target) =>
        {
            Verdict::Frozen { target }
        }
        Verdict::Gone(gone) => Verdict::Gone(links(gone)),
        Verdict::NotFound(missing) => Verdict::NotFound(links(missing)),
        verdict => verdict,
    }
}

type Answer<'a> = (Verdict<'a>, Option<Source<'a>>, By);

/// The steps on one site.
struct Walk<'a, 't, T: Trace> {
    site: &'a SiteTable,
    request: &'t Request<'a>,
    host: &'a str,
    url: &'a Canonical,
    trace: &'t mut T,
    rules: &'a mut RuleScratch,
    location: &'a mut String,
    archive: &'a mut String,
    suggest: &'a mut String,
}

impl<'a, T: Trace> Walk<'a, '_, T> {
    fn run(mut self, phase: Phase) -> Answer<'a> {
        let (site, request) = (self.site, self.request);
        if !site.rules.is_empty() {
            site.rules.begin(self.url, self.rules);
        }
        let rules = site.rules.len();
        // Rules that come first hold in every phase: the files by which search engines verify a site must outlive it.
        if let Some(number) = self.matching_rule("first rules", 0..site.first_rules as usize) {
            return self.answer_rule(number, phase);
        }
        match phase {
            Phase::Proxy => {
                self.trace.step("phase", None, || "the old origin answers".to_owned());
                (self.serve(&site.origin, site.rewriting.as_ref()), site.source(site.lifecycle_line), By::Site)
            }
            Phase::Archive | Phase::Retired => {
                if let Some(built_in) = self.built_in() {
                    return (built_in, None, By::Site);
                }
                // A page's own links are better than the site's.
                if let Some(Hit { line, place, action: HitAction::Gone { suggest, archive } }) =
                    site.mappings.get(self.url.key())
                {
                    return (self.gone(suggest, archive), site.mapping_source(line), By::Mapping(place));
                }
                (self.gone(None, None), site.source(site.lifecycle_line), By::Site)
            }
            Phase::Notice | Phase::Redirect => {
                if let Some(hit) = self.mapping() {
                    let source = site.mapping_source(hit.line);
                    let verdict = self.answer_mapping(hit.action);
                    return (notice(verdict, phase, request), source, By::Mapping(hit.place));
                }
                if self.url.is_root()
                    && let Some(home) = self.home(site.status)
                {
                    return (notice(home, phase, request), site.source(site.home_line), By::Home);
                }
                if let Some(number) = self.matching_rule("rules", site.first_rules as usize..rules) {
                    return self.answer_rule(number, phase);
                }
                if let Some(built_in) = self.built_in() {
                    return (built_in, None, By::Site);
                }
                let source = site.source(site.fallback_line);
                (notice(self.fallback(), phase, request), source, By::Fallback)
            }
        }
    }

    fn mapping(&mut self) -> Option<Hit<'a>> {
        let site = self.site;
        let hit = site.mappings.get(self.url.key());
        let (count, source) = (site.mappings.len(), hit.and_then(|hit| site.mapping_source(hit.line)));
        self.trace.step("mapping", source, || match hit {
            Some(_) => "found".to_owned(),
            None => format!("none of {count} fits"),
        });
        hit
    }

    fn answer_mapping(self, action: HitAction<'a>) -> Verdict<'a> {
        match action {
            HitAction::Redirect { to, status } => {
                Verdict::Redirect { status: status.code(self.request.method), location: to }
            }
            HitAction::Refused { to } => Verdict::Refused { target: to },
            HitAction::Gone { suggest, archive } => self.gone(suggest, archive),
        }
    }

    fn home(&mut self, status: RedirectStatus) -> Option<Verdict<'a>> {
        let site = self.site;
        let home = site.home.as_ref()?;
        self.trace.step("home", site.source(site.home_line), || "`/` goes home".to_owned());
        Some(if site.home_refused {
            Verdict::Refused { target: home.as_str() }
        } else {
            Verdict::Redirect { status: status.code(self.request.method), location: home.as_str() }
        })
    }

    /// The first rule of `range` that matches and whose target can be rendered; the target is in `location` then.
    fn matching_rule(&mut self, name: &'static str, range: std::ops::Range<usize>) -> Option<usize> {
        if range.is_empty() {
            return None;
        }
        let site = self.site;
        let mut tried = range.start;
        let mut found = None;
        while let Some(number) = site.rules.next_match(tried..range.end, self.url, self.rules) {
            let rule = &site.rule_actions[number];
            if self.renders(&rule.action) {
                found = Some(number);
                break;
            }
            self.trace.step(name, site.source(rule.line), || {
                format!("{}: matches, but a filter can't take what it captured", rule.label)
            });
            tried = number + 1;
        }
        if T::KEEPS {
            for number in RuleSet::candidates(range.start..found.unwrap_or(range.end), self.rules) {
                let rule = &site.rule_actions[number];
                self.trace.step(name, site.source(rule.line), || format!("{}: doesn't match", rule.label));
            }
        }
        match found {
            Some(number) => {
                let rule = &site.rule_actions[number];
                self.trace.step(name, site.source(rule.line), || match &rule.note {
                    Some(note) => format!("{}: matches (note: {note})", rule.label),
                    None => format!("{}: matches", rule.label),
                });
            }
            None => self.trace.step(name, None, || format!("none of {} fits", range.len())),
        }
        found
    }

    /// Renders the targets of an action into the buffers; false if that fails.
    fn renders(&mut self, action: &'a Action) -> bool {
        let values = Values {
            captures: &self.rules.captures,
            host: self.host,
            target: self.request.target,
            secure: self.request.secure,
            timestamp: &self.site.timestamp,
        };
        let optional = |template: &Option<_>, keep_query, out: &mut String| {
            template.as_ref().is_none_or(|template| render(template, &values, keep_query, out))
        };
        match action {
            Action::Redirect(Redirect { refused: Some(_), .. }) | Action::Text { .. } => true,
            Action::Redirect(redirect) => render(&redirect.to, &values, redirect.keep_query, self.location),
            Action::Serve { path, keep_query, .. } => optional(path, *keep_query, self.location),
            Action::Gone(links) | Action::Missing(links) => {
                optional(&links.suggest, false, self.suggest) && optional(&links.archive, false, self.archive)
            }
        }
    }

    /// The verdict of a rule whose targets have been rendered.
    fn answer_rule(self, number: usize, phase: Phase) -> Answer<'a> {
        let (site, request) = (self.site, self.request);
        let rule = &site.rule_actions[number];
        let source = site.source(rule.line);
        let verdict = match &rule.action {
            Action::Redirect(redirect) => {
                let status = redirect.status.code(self.request.method);
                match &redirect.refused {
                    Some(target) => Verdict::Refused { target },
                    None if redirect.leaving => Verdict::Leaving { location: self.location },
                    None => Verdict::Redirect { status, location: self.location },
                }
            }
            Action::Gone(links) => Verdict::Gone(self.links(links)),
            Action::Missing(links) => Verdict::NotFound(self.links(links)),
            Action::Text { body, content_type } => Verdict::Text { body, content_type },
            Action::Serve { platform, path: Some(_), rewriting, .. } => {
                Verdict::Serve { platform, path: self.location, rewriting: rewriting.as_ref() }
            }
            Action::Serve { platform, path: None, rewriting, .. } => self.serve(platform, rewriting.as_ref()),
        };
        (notice(verdict, phase, request), source, By::Rule(number as u32))
    }

    /// The links of a rule, whose templates have been rendered.
    fn links(mut self, links: &LinkTemplates) -> Gone<'a> {
        if links.archive.is_none() {
            self.render_archive();
        }
        let (archive, suggest): (&'a str, &'a str) = (self.archive, self.suggest);
        Gone {
            suggest: links.suggest.as_ref().map(|_| suggest),
            archive: Some(archive).filter(|link| !link.is_empty()),
        }
    }

    /// Renders the site's archive link; an empty text if it has none.
    fn render_archive(&mut self) {
        self.archive.clear();
        let values = Values {
            captures: &[],
            host: self.host,
            target: self.request.target,
            secure: self.request.secure,
            timestamp: &self.site.timestamp,
        };
        if let Some(template) = &self.site.archive
            && !render(template, &values, false, self.archive)
        {
            self.archive.clear();
        }
    }

    /// The links of a page: a row's own, and the site's archive where the row names none.
    fn gone_links(mut self, suggest: Option<&'a str>, archive: Option<&'a str>) -> Gone<'a> {
        let archive = match archive {
            Some(link) => Some(link),
            None => {
                self.render_archive();
                let rendered: &'a str = self.archive;
                Some(rendered).filter(|link| !link.is_empty())
            }
        };
        Gone { suggest, archive }
    }

    fn gone(self, suggest: Option<&'a str>, archive: Option<&'a str>) -> Verdict<'a> {
        Verdict::Gone(self.gone_links(suggest, archive))
    }

    /// A platform has the answer, under the URL's own path.
    fn serve(self, platform: &'a str, rewriting: Option<&'a Rewriting>) -> Verdict<'a> {
        own_path(self.request.target, self.location);
        Verdict::Serve { platform, path: self.location, rewriting }
    }

    fn built_in(&mut self) -> Option<Verdict<'a>> {
        let path = self.url.path().trim_end_matches('/');
        let verdict = match path {
            "/robots.txt" => Verdict::Robots,
            "/sitemap.xml" => Verdict::Sitemap(None),
            _ => {
                let part = path.strip_prefix("/sitemap-")?.strip_suffix(".xml")?;
                Verdict::Sitemap(Some(part.parse().ok().filter(|_| !part.starts_with(['0', '+']))?))
            }
        };
        self.trace.step("built-in", None, || path.to_owned());
        Some(verdict)
    }

    fn fallback(mut self) -> Verdict<'a> {
        let site = self.site;
        self.trace.step("fallback", site.source(site.fallback_line), || match &site.fallback {
            FallbackAction::Page => "a 404 page".to_owned(),
            FallbackAction::Home(_) => "home".to_owned(),
            FallbackAction::Gone => "a 410 page".to_owned(),
            FallbackAction::Redirect(_) => "redirect".to_owned(),
            FallbackAction::Serve { platform, .. } => format!("serve {platform}"),
        });
        let values = Values {
            captures: &[],
            host: self.host,
            target: self.request.target,
            secure: self.request.secure,
            timestamp: &site.timestamp,
        };
        match &site.fallback {
            FallbackAction::Page => Verdict::NotFound(self.gone_links(None, None)),
            FallbackAction::Home(status) => match self.home(*status) {
                Some(home) => home,
                None => Verdict::NotFound(self.gone_links(None, None)),
            },
            FallbackAction::Gone => self.gone(None, None),
            FallbackAction::Redirect(Redirect { refused: Some(target), .. }) => Verdict::Refused { target },
            FallbackAction::Redirect(redirect) => {
                if render(&redirect.to, &values, redirect.keep_query, self.location) {
                    Verdict::Redirect { status: redirect.status.code(self.request.method), location: self.location }
                } else {
                    Verdict::NotFound(self.gone_links(None, None))
                }
            }
            FallbackAction::Serve { platform, path: Some(path), rewriting }
                if render(path, &values, false, self.location) =>
            {
                Verdict::Serve { platform, path: self.location, rewriting: rewriting.as_ref() }
            }
            FallbackAction::Serve { platform, rewriting, .. } => self.serve(platform, rewriting.as_ref()),
        }
    }
}

/// The answer to plain HTTP where a site wants HTTPS: `location` is the same URL with `https://`, `None` if that is too
/// long to be sent.
fn insist(https: Https, location: Option<&mut String>, method: Method) -> Verdict<'_> {
    match location {
        None => Verdict::BadRequest(TargetError::TooLong.message()),
        Some(location) if https == Https::Require => Verdict::HttpsRequired { location },
        Some(location) => Verdict::Redirect { status: RedirectStatus::Permanent.code(method), location },
    }
}

/// In phase `notice` a page says where a redirect would go. Crawlers can't read it, and learn from the redirect alone that
/// the page has moved.
fn notice<'a>(verdict: Verdict<'a>, phase: Phase, request: &Request<'_>) -> Verdict<'a> {
    match verdict {
        Verdict::Redirect { location, .. }
            if phase == Phase::Notice && Agent::of(request.user_agent) != Agent::Crawler =>
        {
            Verdict::Notice { location }
        }
        verdict => verdict,
    }
}
