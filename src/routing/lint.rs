//! What is wrong between the lines: redirects to redirects, loops, expectations that fail, rules that never match, nobody who
//! answers.

use std::{fs, ops::Range, path::Path};

use crate::config::expectation::{Expect, Expectation};
use crate::config::mapping::Targets;
use crate::config::{Action, Diagnostic, Fallback, Place, Site, SourceFile, template::Template};
use crate::model::{Host, Method, Phase, Verdict};
use crate::url::{split_absolute, to_wire};

use super::decide::{Request, Scratch};
use super::mappings::HitAction;
use super::shadow::{Automata, sample, shadowed_rules};
use super::site::SiteTable;
use super::snapshot::Snapshot;

/// How many redirects of ours are followed before a chain counts as endless.
const MAX_HOPS: usize = 100;

/// How many addresses of an endless chain are shown.
const SHOWN: usize = 4;

/// A path that no rule is made for, to try a fallback with.
const UNKNOWN_PATH: &str = "/waypost-check";

/// Looks at `sites` (checked, and live in `snapshot`; the flag says that nothing was left out) as of `now`, and returns
/// each finding with the id of its site. `root` is where mapping tables are read again, for the lines that findings show.
pub(super) fn lint(
    snapshot: &Snapshot,
    sites: &[(&Site, bool)],
    root: &Path,
    now: i64,
    automata: &mut Automata,
) -> Vec<(String, Diagnostic)> {
    let mut lint = Lint { snapshot, root, now, scratch: Scratch::default(), out: Vec::new() };
    let tables: std::collections::HashMap<&str, &SiteTable> =
        snapshot.sites().iter().map(|table| (table.id.as_str(), &**table)).collect();
    for &(site, whole) in sites {
        let Some(table) = tables.get(site.id.as_str()) else { continue };
        lint.mappings(site, table);
        lint.rules(site, table);
        lint.origin(site, table);
        // With other URL habits other rules would match.
        if !site.lost.url {
            lint.out.extend(shadowed_rules(site, table, automata).into_iter().map(|fault| (site.id.clone(), fault)));
        }
        // A test may fail for want of what was left out.
        if whole {
            site.tests.iter().for_each(|test| lint.test(site, test));
        }
    }
    lint.out
}

/// Where redirects that begin at a URL of ours end.
enum Trail {
    /// At once: the URL is not ours, or answers something else than a redirect.
    Ends,
    /// After further redirects of ours, at this URL.
    Chain(String),
    /// Never: at the last of these URLs it is again at one of the others.
    Loop(Vec<String>),
    /// Never, as far as anybody looked: the first of the URLs on the way.
    Endless(Vec<String>),
}

struct Lint<'a> {
    snapshot: &'a Snapshot,
    root: &'a Path,
    now: i64,
    scratch: Scratch,
    out: Vec<(String, Diagnostic)>,
}

impl Lint<'_> {
    fn mappings(&mut self, site: &Site, table: &SiteTable) {
        let mut found = Vec::new();
        for (_, line, action) in table.mappings.iter() {
            let HitAction::Redirect { to, .. } = action else { continue };
            let trail = self.follow(to);
            if !matches!(trail, Trail::Ends) {
                found.push((line, trail));
            }
        }
        let Some(place) = found.first().and_then(|(line, _)| table.mapping_source(*line)) else { return };
        let file = read_again(self.root, place.file);
        let mut targets = Targets::new(&file);
        for (line, trail) in found {
            // Each row is its own finding: nothing to compare with what was found before.
            let fault = diagnostic(&file, targets.span(line), "mapping", trail);
            self.out.extend(fault.map(|fault| (site.id.clone(), fault)));
        }
    }

    fn rules(&mut self, site: &Site, table: &SiteTable) {
        for rule in &site.rules {
            if let Action::Redirect { to, host, .. } = &rule.action {
                let sample = self.is_ours(host).then(|| sample(&rule.pattern, table)).flatten();
                self.redirect(site, table, "rule", to, &rule.target_place, sample);
            }
        }
        if let Fallback::Redirect { to, host, place, .. } = &site.fallback {
            let sample = self.is_ours(host).then(|| UNKNOWN_PATH.to_owned());
            self.redirect(site, table, "fallback", to, place, sample);
        }
        if let Some((home, place)) = &site.home {
            let trail = self.follow(home.as_str());
            self.report(site, &site.files[usize::from(place.file)], place.span.clone(), "home", trail);
        }
    }

    /// In phase `proxy` somebody must answer.
    fn origin(&mut self, site: &Site, table: &SiteTable) {
        if table.lifecycle.at(self.now) != Phase::Proxy || !table.origin.is_empty() || site.lost.origin {
            return;
        }
        // The survey's sites still answer by themselves: their names lead here when their wave comes.
        if site.census.is_some() {
            return;
        }
        let place = &site.lifecycle_place;
        let message = "the old site is proxied now, and has no `origin`: its URLs are answered 501";
        let fault = site.files[usize::from(place.file)].error("missing-origin", place.span.clone(), message);
        let hint = "name its server, such as origin = \"http://10.0.0.7:8080\"";
        self.out.push((site.id.clone(), fault.hint(hint).warning()));
    }

    fn is_ours(&self, host: &Host) -> bool {
        self.snapshot.knows_host(host)
    }

    /// Looks at a redirect of a rule or fallback; `sample` is a canonical URL that it is for, if its target may be ours.
    fn redirect(
        &mut self,
        site: &Site,
        table: &SiteTable,
        what: &str,
        to: &Template,
        place: &Place,
        sample: Option<String>,
    ) {
        let file = &site.files[usize::from(place.file)];
        if sample.is_some_and(|sample| self.returns(site, table, &sample)) {
            let fault = file.error("self-redirect", place.span.clone(), format!("this {what} redirects to itself"));
            self.push(site, fault.hint("name the page's new address"));
        } else if let Some(to) = to.literal() {
            let trail = self.follow(to);
            self.report(site, file, place.span.clone(), what, trail);
        }
    }

    /// Whether a canonical URL of the site is redirected to an address that is redirected to itself, in the phase in
    /// which the site redirects.
    fn returns(&mut self, site: &Site, table: &SiteTable, sample: &str) -> bool {
        let Some(host) = table.main_host() else { return false };
        let url = format!("https://{host}{}", to_wire(sample, site.url.charset));
        let starts = site.lifecycle.starts().iter();
        let redirect = starts.filter(|(_, phase)| *phase == Phase::Redirect).map(|&(at, _)| at).max();
        let now = self.now;
        self.now = redirect.map_or(now, |at| at.max(now));
        let next = self.redirect_of(&url);
        let returns = next.is_some_and(|next| self.redirect_of(&next).is_some_and(|again| again == next));
        self.now = now;
        returns
    }

    fn report(&mut self, site: &Site, file: &SourceFile, span: Range<usize>, what: &str, trail: Trail) {
        if let Some(fault) = diagnostic(file, span, what, trail) {
            self.push(site, fault);
        }
    }

    /// Adds a finding, once: a defaults.toml is everybody's, and its findings would repeat for each site.
    fn push(&mut self, site: &Site, fault: Diagnostic) {
        if !self.out.iter().any(|(_, known)| *known == fault) {
            self.out.push((site.id.clone(), fault));
        }
    }

    /// Follows redirects of ours from `start`.
    fn follow(&mut self, start: &str) -> Trail {
        let Some(first) = self.redirect_of(start) else { return Trail::Ends };
        if first == start {
            return Trail::Loop(vec![first.clone(), first]);
        }
        let mut way = vec![start.to_owned(), first];
        while let Some(next) = self.redirect_of(&way[way.len() - 1]) {
            let known = way.contains(&next);
            way.push(next);
            if known {
                return Trail::Loop(way);
            }
            if way.len() > MAX_HOPS {
                way.truncate(SHOWN);
                return Trail::Endless(way);
            }
        }
        Trail::Chain(way.swap_remove(way.len() - 1))
    }

    /// Where we would redirect a URL, if it is ours.
    fn redirect_of(&mut self, url: &str) -> Option<String> {
        let request = request(url, Method::Get)?;
        let decision = self.snapshot.decide(&request, self.now, &mut self.scratch);
        decision.verdict.location().map(str::to_owned)
    }

    fn test(&mut self, site: &Site, test: &Expectation) {
        let Some(request) = request(&test.url, Method::parse(&test.method)) else { return };
        let now = test.date.as_ref().map_or(self.now, |(date, _)| *date);
        let decision = self.snapshot.decide(&request, now, &mut self.scratch);
        if fits(&test.expect, &decision.verdict) {
            return;
        }
        let got = match &decision.verdict {
            Verdict::Serve { platform: "", path, .. } => format!("serve {path}"),
            Verdict::Serve { platform, path, .. } => format!("serve {platform} {path}"),
            Verdict::Notice { location } => format!("200, a notice that goes to {location}"),
            Verdict::Leaving { location } => format!("200, a page that leaves for {location}"),
            Verdict::HttpsRequired { location } => format!("403, a page that links to {location}"),
            Verdict::UnknownHost => "404: no site has this host".to_owned(),
            Verdict::Gone(gone) | Verdict::NotFound(gone) => {
                let links = gone.suggest.into_iter().chain(gone.archive).collect::<Vec<_>>().join(" and ");
                format!(
                    "{} {}",
                    decision.verdict.status(),
                    if links.is_empty() { String::new() } else { format!("with links to {links}") }
                )
                .trim_end()
                .to_owned()
            }
            verdict => format!("{} {}", verdict.status(), verdict.location().unwrap_or_default()).trim_end().to_owned(),
        };
        let because = decision.source.map_or(String::new(), |source| format!(", by {source}"));
        let fault = site.files[0]
            .error("test-failed", test.place.span.clone(), format!("{} answers {got}{because}", test.url))
            .hint(format!("`{}` shows each step", explain(test)));
        self.out.push((site.id.clone(), fault));
    }
}

/// What is wrong with a redirect that leads on, if it does.
fn diagnostic(file: &SourceFile, span: Range<usize>, what: &str, trail: Trail) -> Option<Diagnostic> {
    let fault = match trail {
        Trail::Ends => return None,
        Trail::Chain(end) => file
            .error(
                "chain",
                span,
                format!("this {what} redirects to an address that redirects again, in the end to {end}"),
            )
            .hint(format!("redirect straight to {end}"))
            .warning(),
        Trail::Loop(way) => file
            .error("loop", span, format!("this {what} ends in a circle: {}", way.join(" → ")))
            .hint("one of these addresses must lead out of it"),
        Trail::Endless(way) => file
            .error(
                "loop",
                span,
                format!("this {what} leads from redirect to redirect without end: {} → …", way.join(" → ")),
            )
            .hint("one of these addresses must lead out of it"),
    };
    Some(fault)
}

/// The command that explains a test.
fn explain(test: &Expectation) -> String {
    let mut command = "waypost explain".to_owned();
    if let Some((_, date)) = &test.date {
        command.push_str(&format!(" --date {}", shell(date)));
    }
    if test.method != "GET" {
        command.push_str(&format!(" --method {}", test.method));
    }
    // Quoted even where it need not be: most URLs have characters that a shell reads.
    let quote = if test.url.contains('\'') && !test.url.contains(['"', '$', '`', '\\', '!']) { '"' } else { '\'' };
    let url = if quote == '\'' { test.url.replace('\'', r"'\''") } else { test.url.clone() };
    format!("{command} {quote}{url}{quote}")
}

/// A word for a shell: TOML may write a moment with a space.
fn shell(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

/// Whether a verdict is what a test expects.
pub(super) fn fits(expect: &Expect, verdict: &Verdict<'_>) -> bool {
    match (expect, verdict) {
        (Expect::Serve(platform, path), Verdict::Serve { platform: got, path: got_path, .. }) => {
            platform == got && path.as_ref().is_none_or(|path| path == got_path)
        }
        (Expect::Serve(..), _) => false,
        (Expect::Status(status, location), verdict) => {
            let is = |to: Option<&str>| location.as_deref().is_none_or(|location| to == Some(location));
            let fits = match verdict {
                Verdict::Notice { location } | Verdict::Leaving { location } | Verdict::HttpsRequired { location } => {
                    is(Some(*location))
                }
                Verdict::Gone(gone) | Verdict::NotFound(gone) => is(gone.suggest) || is(gone.archive),
                verdict => is(verdict.location()),
            };
            fits && *status == verdict.status()
        }
    }
}

/// The request that a client makes for an absolute URL.
fn request(url: &str, method: Method) -> Option<Request<'_>> {
    let absolute = split_absolute(url.as_bytes())?;
    let target = if absolute.target.is_empty() { b"/" } else { absolute.target };
    Some(Request { method, host: Some(absolute.authority), target, secure: absolute.secure, user_agent: b"" })
}

fn read_again(root: &Path, name: &str) -> SourceFile {
    let bytes = fs::read(root.join(name)).unwrap_or_default();
    match crate::config::mapping::decode(name, bytes) {
        Ok(file) => (*file).clone(),
        Err(_) => SourceFile::new(name, String::new()),
    }
}
