//! A checked site and its mapping table → what traffic needs, under the policy of allowed targets.

use std::sync::Arc;

use crate::config::mapping::{self, Column, Row, RowAction};
use crate::config::pattern::{TOO_LARGE, TOO_LARGE_HINT};
use crate::config::template::{Piece, Template, Value};
use crate::config::{
    self, Diagnostic, Fallback, GuardSettings, Links, Place, RequestAction, RequestRules, Site, SourceFile,
    readable_host,
};
use crate::guard::Probes;
use crate::model::{Host, HostPattern, RedirectStatus, Rewriting, Target, split_scheme};
use crate::url::{Canonical, Canonicalizer, Form, UrlSettings};

use super::hosts::{HostSet, previewed};
use super::mappings::{AddError, HitAction, MappingTable, MappingTableBuilder};
use super::rules::{Compiled, RuleSet};
use super::site::{Action, FallbackAction, Line, LinkTemplates, Redirect, RuleAction, SiteTable};

/// Where redirects may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    /// For sites whose defaults.toml doesn't say.
    pub allowed: Arc<HostSet>,
    /// Names of platforms.
    pub platforms: Vec<String>,
    /// What gateway.toml admits.
    pub guard: GuardSettings,
    /// Names of crawlers.
    pub crawlers: Vec<String>,
    /// The request rules of gateway.toml.
    pub rules: Vec<Arc<RequestRules>>,
}

impl Policy {
    /// The hosts that rules of gateway.toml send clients to and may not, where no site has a say in it, and what to say of
    /// it.
    pub fn refused_targets(&self) -> impl Iterator<Item = (Host, Diagnostic)> {
        let hint = "if they should be, add the host to allowed-targets under [guard]";
        let refused = self.rules.iter().flat_map(|file| refused_targets(file, &self.allowed));
        refused.map(move |(host, fault)| (host, fault.hint(hint)))
    }
}

/// Canonicalisers by habits: thousands of sites share a few, which then stay in the processor's cache.
#[derive(Debug, Default)]
pub(super) struct Canonicalizers(Vec<Arc<Canonicalizer>>);

impl Canonicalizers {
    fn get(&mut self, settings: &UrlSettings, reads_query: bool) -> Arc<Canonicalizer> {
        let new = Canonicalizer::new(settings.clone(), reads_query);
        if let Some(known) = self.0.iter().find(|known| ***known == new) {
            return known.clone();
        }
        self.0.retain(|known| Arc::strong_count(known) > 1);
        self.0.push(Arc::new(new));
        self.0[self.0.len() - 1].clone()
    }
}

/// Builds the table of a site; faults are added to `faults`, and what is faulty is left out of the table.
pub(super) fn build(
    site: &Site,
    table: Option<&SourceFile>,
    policy: &Policy,
    canonicalizers: &mut Canonicalizers,
    compiled: &mut Compiled,
    faults: &mut Vec<Diagnostic>,
) -> SiteTable {
    let own;
    let allowed = match &site.allowed_targets {
        Some((patterns, _)) => {
            own = patterns.iter().collect::<HostSet>();
            &own
        }
        None => &*policy.allowed,
    };
    let reads_query = site.rules.iter().any(|rule| !rule.pattern.query.is_empty());
    let mut build = Build {
        site,
        canonicalizer: canonicalizers.get(&site.url, reads_query),
        own_hosts: site.hosts.iter().map(|(pattern, _)| pattern).collect(),
        allowed,
        platforms: &policy.platforms,
        guard: &policy.guard,
        faults,
        url: Canonical::default(),
    };
    let guard = build.guard(&policy.rules, &policy.crawlers);
    let home_refused = match &site.home {
        Some((home, place)) => !build.check_target(home.host().as_str(), place),
        None => false,
    };
    let (rules, rule_actions) = build.rules(compiled);
    let fallback = build.fallback();
    let mappings = table.map_or_else(MappingTable::default, |file| build.mappings(file));
    let canonicalizer = build.canonicalizer;
    let mut files: Vec<Arc<str>> = site.files.iter().map(|file| file.name.clone()).collect();
    files.extend(table.map(|file| file.name.clone()));
    SiteTable {
        id: site.id.clone(),
        name: site.name.clone(),
        hosts: site.hosts.iter().map(|(host, _)| host.clone()).collect(),
        home: site.home.as_ref().map(|(home, _)| home.clone()),
        origin: site.origin.as_ref().map(|origin| origin.as_str().into()).unwrap_or_default(),
        owner: site.owner.clone(),
        code: site.code.clone(),
        wave: site.wave,
        serving: Arc::new(site.serving.clone()),
        guard,
        protection: site.protection.clone(),
        targets: site.allowed_targets.as_ref().map(|(patterns, _)| patterns.iter().collect()),
        rewriting: site.serving.rewrite.then(Rewriting::default),
        cache_control: site.cache_control.clone(),
        report: site.report.clone(),
        previews: site.previews,
        acme: site.acme,
        lifecycle: site.lifecycle.clone(),
        https: site.https.0,
        https_line: line(&site.https.1),
        hsts: site.hsts.clone(),
        status: site.status,
        home_refused,
        home_line: site.home.as_ref().map(|(_, place)| line(place)).unwrap_or_default(),
        hosts_line: site.hosts.first().map(|(_, place)| line(place)).unwrap_or_default(),
        lifecycle_line: line(&site.lifecycle_place),
        archive: site.archive.clone(),
        timestamp: site.timestamp.clone(),
        first_rules: rule_actions.iter().take_while(|(first, _)| *first).count() as u32,
        rules,
        rule_actions: rule_actions.into_iter().map(|(_, action)| action).collect(),
        fallback,
        fallback_line: line(&site.fallback_place),
        files,
        canonicalizer,
        mappings,
    }
}

fn line(place: &Place) -> Line {
    Line { file: place.file, line: place.line }
}

struct Build<'a> {
    site: &'a Site,
    canonicalizer: Arc<Canonicalizer>,
    own_hosts: HostSet,
    allowed: &'a HostSet,
    platforms: &'a [String],
    guard: &'a GuardSettings,
    faults: &'a mut Vec<Diagnostic>,
    url: Canonical,
}

impl Build<'_> {
    /// Reports a target that the policy doesn't allow.
    fn check_target(&mut self, host: &str, place: &Place) -> bool {
        let allowed = self.allowed.contains(host);
        if !allowed && !self.site.lost.may_allow(host) {
            let file = &self.site.files[usize::from(place.file)];
            self.faults.push(
                file.error("target-not-allowed", place.span.clone(), not_allowed(host)).hint(self.not_allowed_hint()),
            );
        }
        allowed
    }

    /// What to do about a target that is not allowed: the file that decides is named.
    fn not_allowed_hint(&self) -> String {
        let place = match &self.site.allowed_targets {
            Some((_, file)) => format!(" in {}", self.site.files[usize::from(*file)].name),
            None => ", in a defaults.toml or under [guard] in gateway.toml".to_owned(),
        };
        format!("if they should be, add the host to allowed-targets{place}")
    }

    /// What the site admits, with the targets of rules checked, and the crawlers that they name.
    fn guard(&mut self, of_gateway: &[Arc<RequestRules>], crawlers: &[String]) -> GuardSettings {
        let mut refused = Vec::new();
        for file in &self.site.guard.rules {
            self.faults.extend(file.unknown_crawlers(crawlers));
            let hint = self.not_allowed_hint();
            for (host, fault) in refused_targets(file, self.allowed) {
                if !self.site.lost.may_allow(host.as_str()) {
                    self.faults.push(fault.hint(&*hint));
                }
                refused.push(host);
            }
        }
        for file in of_gateway {
            // What is wrong there is said once, not for every site.
            refused.extend(refused_targets(file, self.allowed).map(|(host, _)| host));
        }
        GuardSettings { refused_targets: Some(refused), ..self.site.guard.clone() }
    }

    fn check_platform(&mut self, name: &str, place: &Place) {
        if !self.platforms.iter().any(|platform| platform == name) {
            let file = &self.site.files[usize::from(place.file)];
            let hint = config::suggestion(name, self.platforms.iter().map(String::as_str))
                .unwrap_or_else(|| format!("describe it in gateway.toml: [platforms.{name}]"));
            self.faults.push(
                file.error("unknown-platform", place.span.clone(), format!("unknown platform `{name}`")).hint(hint),
            );
        }
    }

    fn rules(&mut self, compiled: &mut Compiled) -> (RuleSet, Vec<(bool, RuleAction)>) {
        let site = self.site;
        let mut rules: Vec<&config::Rule> = site.rules.iter().collect();
        let set = loop {
            let patterns: Vec<_> = rules.iter().map(|rule| (&rule.pattern, rule.pack.is_some())).collect();
            match RuleSet::compile_with(&patterns, compiled) {
                Ok(set) => break set,
                Err((number, _)) => {
                    let place = &rules.remove(number).place;
                    let file = &site.files[usize::from(place.file)];
                    self.faults.push(file.error("bad-regex", place.span.clone(), TOO_LARGE).hint(TOO_LARGE_HINT));
                }
            }
        };
        let actions = rules.into_iter().map(|rule| (rule.first, self.rule_action(rule))).collect();
        (set, actions)
    }

    fn rule_action(&mut self, rule: &config::Rule) -> RuleAction {
        let file = &self.site.files[usize::from(rule.place.file)];
        let written = || file.text.get(rule.place.span.clone()).unwrap_or_default().to_owned();
        let label = rule.pack.clone().unwrap_or_else(written);
        let action = match &rule.action {
            config::Action::Redirect { to, host, status, keep_query, leaving } => {
                let allowed = self.check_target(host.as_str(), &rule.target_place);
                let redirect = redirect(to, host.as_str(), *status, *keep_query, allowed);
                Action::Redirect(Redirect { leaving: *leaving, ..redirect })
            }
            config::Action::Gone(links) => Action::Gone(link_templates(links)),
            config::Action::Missing(links) => Action::Missing(link_templates(links)),
            config::Action::Text { body, content_type } => {
                Action::Text { body: body.clone(), content_type: content_type.clone() }
            }
            config::Action::Serve { platform, path, keep_query, rewrite } => {
                self.check_platform(platform, &rule.target_place);
                let rewriting = match rewrite.unwrap_or(self.site.serving.rewrite) {
                    true => self.rewriting(path.as_ref(), label.trim_matches(['"', '\'']), &rule.target_place),
                    false => None,
                };
                Action::Serve { platform: platform.clone(), path: path.clone(), keep_query: *keep_query, rewriting }
            }
        };
        RuleAction { action, line: line(&rule.place), label, note: rule.note.clone() }
    }

    fn fallback(&mut self) -> FallbackAction {
        let site = self.site;
        match &site.fallback {
            Fallback::Page => FallbackAction::Page,
            Fallback::Home(status) => FallbackAction::Home(*status),
            Fallback::Gone => FallbackAction::Gone,
            Fallback::Redirect { to, host, status, keep_query, place } => {
                let allowed = self.check_target(host.as_str(), place);
                FallbackAction::Redirect(redirect(to, host.as_str(), *status, *keep_query, allowed))
            }
            Fallback::Serve { platform, path, place } => {
                self.check_platform(platform, place);
                let rewriting = match self.site.serving.rewrite {
                    true => self.rewriting(path.as_ref(), "", place),
                    false => None,
                };
                FallbackAction::Serve { platform: platform.clone(), path: path.clone(), rewriting }
            }
        }
    }

    /// How links are rewritten in what a rule serves: `path` may be absent, or exchange the prefix of `from`.
    fn rewriting(&mut self, path: Option<&Template>, from: &str, place: &Place) -> Option<Rewriting> {
        let Some(path) = path else { return Some(Rewriting::default()) };
        let public = from.split_once("{*").filter(|(public, rest)| {
            public.starts_with('/') && public.ends_with('/') && rest.find('}') == Some(rest.len() - 1)
        });
        if let (Some((public, _)), [Piece::Literal(upstream), Piece::Value { value: Value::Capture(0), filters, .. }]) =
            (public, &path.pieces[..])
            && upstream.ends_with('/')
            && filters.is_empty()
        {
            return Some(Rewriting { prefix: Some((upstream.as_str().into(), public.into())) });
        }
        let file = &self.site.files[usize::from(place.file)];
        let message = "links can't be rewritten: `path` does more than exchange the prefix of `from`";
        let hint = "write from = \"/old/{*rest}\" and path = \"/new/{rest}\", or rewrite = false";
        self.faults.push(file.error("bad-rewrite", place.span.clone(), message).hint(hint));
        None
    }

    fn is_own(&self, target: &Target) -> bool {
        self.own_hosts.contains(target.host().as_str())
    }

    /// The key under which one of our own hosts would look a target up.
    fn own_key(&mut self, target: &Target) -> Option<&[u8]> {
        self.canonicalizer.canonicalize(target.as_str().as_bytes(), Form::Wire, &mut self.url).ok()?;
        Some(self.url.key())
    }

    fn mappings(&mut self, file: &SourceFile) -> MappingTable {
        let mut builder = MappingTableBuilder::default();
        let mut faults = Vec::new();
        let probes = Probes::of(&self.site.guard, self.guard);
        let (mut probed, mut first_probed) = (0, None);
        mapping::read(file, &mut faults, |row, faults| {
            if let Ok(old) = self.old_url(file, row)
                && let Some(pattern) = probes.find(old.as_bytes())
            {
                probed += 1;
                if first_probed.is_none() {
                    let message = format!("scanners ask for such addresses (`{pattern}`)");
                    first_probed = Some(mapping::fault(file, row, Column::Old, "probe-mapping", message));
                }
            }
            let links = self.links(file, row, faults);
            if let Some((suggest, archive)) = links
                && let Err(fault) = self.add(file, row, suggest.as_ref(), archive.as_ref(), &mut builder)
            {
                // What is missing from the hosts, habits or targets of the site has been reported already.
                let lost = &self.site.lost;
                let follows = match fault.code {
                    "foreign-host" => lost.hosts,
                    "duplicate-mapping" => lost.url,
                    _ => false,
                };
                if !follows {
                    faults.push(fault);
                }
            }
        });
        if let Some(fault) = first_probed {
            let others = if probed > 1 { format!("; {} more like it", probed - 1) } else { String::new() };
            let hint =
                format!("answered all the same, since it has a mapping; delete the row if no page was here{others}");
            faults.push(fault.hint(hint).warning());
        }
        self.faults.append(&mut faults);
        builder.build()
    }

    /// The links of a row that is gone; nothing if one is faulty.
    fn links(
        &self,
        file: &SourceFile,
        row: &Row<'_>,
        faults: &mut Vec<Diagnostic>,
    ) -> Option<(Option<Target>, Option<Target>)> {
        let mut link = |column| match row.cell(column) {
            text if text.is_empty() || row.action != RowAction::Gone => Some(None),
            text => Target::parse(text)
                .map_err(|error| faults.push(mapping::fault(file, row, column, "bad-target", error.to_string())))
                .ok()
                .map(Some),
        };
        let (suggest, archive) = (link(Column::Suggest), link(Column::Archive));
        Some((suggest?, archive?))
    }

    fn add(
        &mut self,
        file: &SourceFile,
        row: &Row<'_>,
        suggest: Option<&Target>,
        archive: Option<&Target>,
        builder: &mut MappingTableBuilder,
    ) -> Result<(), Diagnostic> {
        let old = self.old_url(file, row)?;
        let mut url = std::mem::take(&mut self.url);
        let canonical = self.canonicalizer.canonicalize(old.as_bytes(), Form::Text, &mut url);
        let key = canonical.map(|()| String::from_utf8_lossy(url.key()).into_owned());
        self.url = url;
        let key = key.map_err(|error| mapping::fault(file, row, Column::Old, "bad-url", error.to_string()))?;
        let mut refused = None;
        let added = match row.action {
            RowAction::Gone => {
                let action =
                    HitAction::Gone { suggest: suggest.map(Target::as_str), archive: archive.map(Target::as_str) };
                builder.add(&key, row.line, action)
            }
            RowAction::Redirect(status) => {
                let target = Target::parse(row.cell(Column::New))
                    .map_err(|error| mapping::fault(file, row, Column::New, "bad-target", error.to_string()))?;
                if self.is_own(&target) && self.own_key(&target).is_some_and(|own| own == key.as_bytes()) {
                    return Err(mapping::fault(
                        file,
                        row,
                        Column::New,
                        "self-redirect",
                        "this mapping redirects to itself",
                    )
                    .hint("name the page's new address, or leave `new` empty if the page is gone"));
                }
                let status: RedirectStatus = status.unwrap_or(self.site.status);
                let (to, host) = (target.as_str(), target.host().as_str());
                let action = if self.allowed.contains(host) {
                    HitAction::Redirect { to, status }
                } else {
                    refused = (!self.site.lost.may_allow(host)).then(|| not_allowed(host));
                    HitAction::Refused { to }
                };
                builder.add(&key, row.line, action)
            }
        };
        match added {
            Ok(()) => {
                match refused {
                    Some(message) => Err(mapping::fault(file, row, Column::New, "target-not-allowed", message)
                        .hint(self.not_allowed_hint())),
                    None => Ok(()),
                }
            }
            Err(AddError::Duplicate { line, same }) => {
                let message = format!("duplicate mapping: line {line} is for the same page");
                let mut hint = if same {
                    "delete one of them: they do the same"
                } else {
                    "the earlier line wins; delete one of them"
                }
                .to_owned();
                if old.contains('?') && !key.contains('?') {
                    hint.push_str("; if the query identifies the page, name its parameters in [url] keep-query");
                }
                Err(mapping::fault(file, row, Column::Old, "duplicate-mapping", message).hint(hint))
            }
            Err(AddError::TooLarge) => {
                Err(mapping::fault(file, row, Column::Old, "too-large", "this row makes the table too large"))
            }
        }
    }

    /// The path (and query) of a row's old URL.
    fn old_url<'r>(&self, file: &SourceFile, row: &Row<'r>) -> Result<&'r str, Diagnostic> {
        let old = row.cell(Column::Old);
        if old.starts_with('/') {
            return Ok(old);
        }
        let fault = |code, message: String| mapping::fault(file, row, Column::Old, code, message);
        let Some((_, rest)) = split_scheme(old) else {
            let message = "an old URL is a path, or begins with http:// or https://".to_owned();
            let (_, after_scheme) = old.split_once("://").unwrap_or(("", old));
            let (host, path) = after_scheme.split_at(after_scheme.find('/').unwrap_or(after_scheme.len()));
            let is_ours = Host::parse(host.as_bytes()).is_ok_and(|host| self.is_site_host(host.as_str()));
            let meant = match path {
                _ if after_scheme != old => {
                    if path.is_empty() {
                        "/".to_owned()
                    } else {
                        path.to_owned()
                    }
                }
                _ if is_ours => format!("http://{old}"),
                _ => format!("/{old}"),
            };
            return Err(fault("bad-url", message).hint(format!("write `{meant}`")));
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        match Host::parse(&rest.as_bytes()[..end]) {
            Ok(host) if self.is_site_host(host.as_str()) => Ok(old),
            Ok(host) => {
                let hosts =
                    self.site.hosts.iter().map(|(host, _)| readable_host(&host.to_string())).collect::<Vec<_>>();
                Err(fault("foreign-host", format!("`{}` is no host of this site", readable_host(host.as_str())))
                    .hint(format!("its hosts are {}", hosts.join(", "))))
            }
            Err(error) => Err(fault("bad-host", error.to_string())),
        }
    }

    /// Whether a host, or the host that it is a preview of, is the site's.
    fn is_site_host(&self, host: &str) -> bool {
        let mut of = String::new();
        self.own_hosts.contains(host)
            || (self.site.previews && previewed(host, &mut of).is_some() && self.own_hosts.contains(&of))
    }
}

fn redirect(to: &Template, host: &str, status: RedirectStatus, keep_query: bool, allowed: bool) -> Redirect {
    let refused = (!allowed).then(|| to.literal().map_or_else(|| host.to_owned(), str::to_owned));
    Redirect { to: to.clone(), status, keep_query, refused, leaving: false }
}

fn link_templates(links: &Links) -> LinkTemplates {
    LinkTemplates { suggest: links.suggest.clone(), archive: links.archive.clone() }
}

/// The hosts that rules of a file send clients to and may not, and what to say of each.
fn refused_targets(file: &RequestRules, allowed: &HostSet) -> impl Iterator<Item = (Host, Diagnostic)> {
    file.rules.iter().filter_map(|rule| match &rule.action {
        RequestAction::Redirect(to, _) if !allowed.contains(to.host().as_str()) => {
            let message = not_allowed(to.host().as_str());
            Some((to.host().clone(), file.file.error("target-not-allowed", rule.span.clone(), message)))
        }
        _ => None,
    })
}

fn not_allowed(host: &str) -> String {
    format!("redirects to `{}` are not allowed", readable_host(host))
}

/// The hosts that sites may redirect to where nobody says otherwise: those of homes, sites and platforms.
pub(super) fn implicit_targets<'a>(
    sites: impl IntoIterator<Item = &'a Site>,
    platforms: impl IntoIterator<Item = &'a Host>,
) -> HostSet {
    let mut allowed = HostSet::default();
    platforms.into_iter().for_each(|host| allowed.insert(&HostPattern::Exact(host.clone())));
    for site in sites {
        site.hosts.iter().for_each(|(host, _)| allowed.insert(host));
        if let Some((home, _)) = &site.home {
            allowed.insert(&HostPattern::Exact(home.host().clone()));
        }
    }
    allowed
}
