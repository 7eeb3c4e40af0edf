//! A site file and the `defaults.toml` files above it → one checked site.

use std::{ops::Range, sync::Arc};

use super::diagnostic::{Diagnostic, SourceFile, readable_host};
use super::expectation::{self, Expectation};
use super::guard::GuardSettings;
use super::keys;
use super::origin::{ORIGIN_HINT, Origin, OriginPlace};
use super::pack_rule;
use super::pattern::Pattern;
use super::protection::Protection;
use super::reader::{At, Role, Table, read};
use super::request_rule::{self, RequestRules};
use super::rule::{self, Fallback, Rule};
use super::serving::Serving;
use super::syntax::drop_echoes;
use super::template::{Fault, Template};
use crate::model::{Disposition, Host, HostPattern, Https, Lifecycle, Phase, RedirectStatus, Target};
use crate::url::{Canonicalizer, UrlSettings};

/// A file read into a table: a site file, or a `defaults.toml`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The file.
    pub file: Arc<SourceFile>,
    /// What it says.
    pub table: Table,
    /// What is wrong with it as a file; faults of meaning show when a site is built from it.
    pub faults: Vec<Diagnostic>,
    /// Its request rules, which are the same for every site.
    pub request_rules: Option<Arc<RequestRules>>,
}

impl Layer {
    /// Reads a file's text.
    pub fn parse(name: &str, text: String, role: Role) -> Self {
        let file = Arc::new(SourceFile::new(name, text));
        let mut faults = Vec::new();
        let table = read(&file, keys::SITE, role, &mut faults);
        let request_rules = request_rule::of_file(&file, &table, &mut faults);
        Layer { file, table, faults, request_rules }
    }
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, by number in [`Site::files`].
    pub file: u16,
    /// The line, counted from 1.
    pub line: u32,
    /// The bytes.
    pub span: Range<usize>,
}

/// A checked site, but for what depends on other sites (see `routing`).
#[derive(Clone, Debug)]
pub struct Site {
    /// Path of the site file without `.toml`: unique, and stable as long as the file is.
    pub id: String,
    /// The files it was read from: the site file first, then the defaults, nearest first.
    pub files: Vec<Arc<SourceFile>>,
    /// Name.
    pub name: String,
    /// Hosts and where each was written.
    pub hosts: Vec<(HostPattern, Place)>,
    /// Where the content went.
    pub home: Option<(Target, Place)>,
    /// The server that answers in phase `proxy`.
    pub origin: Option<Origin>,
    /// Owner.
    pub owner: Option<String>,
    /// Site identification code.
    pub code: Option<String>,
    /// Wave.
    pub wave: Option<u16>,
    /// Whether it is retired at all.
    pub disposition: Disposition,
    /// Its row in the survey of sites.
    pub census: Option<CensusRow>,
    /// Status of redirects where nothing nearer says otherwise.
    pub status: RedirectStatus,
    /// Cache-Control of its answers.
    pub cache_control: Option<String>,
    /// What happens to plain HTTP, and where that was written.
    pub https: (Https, Place),
    /// Strict-Transport-Security of its answers over HTTPS.
    pub hsts: Option<String>,
    /// Link to an archive's copy.
    pub archive: Option<Template>,
    /// What `{timestamp}` stands for.
    pub timestamp: String,
    /// Report-an-error link.
    pub report: String,
    /// Whether `aka` previews answer.
    pub previews: bool,
    /// Whether certificates for its hosts are ordered.
    pub acme: bool,
    /// What its redirects may go to, if a defaults.toml says, and which (by number in [`Site::files`]).
    pub allowed_targets: Option<(Vec<HostPattern>, u16)>,
    /// When each phase begins.
    pub lifecycle: Lifecycle,
    /// Where the nearest `[lifecycle]` was written; the site file where there is none.
    pub lifecycle_place: Place,
    /// URL habits.
    pub url: UrlSettings,
    /// How answers that come from elsewhere are served.
    pub serving: Serving,
    /// What browsers are told of its pages.
    pub protection: Protection,
    /// What it admits, as far as it says.
    pub guard: GuardSettings,
    /// Rules in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// What answers the rest.
    pub fallback: Fallback,
    /// Where the fallback was written; the site file where it wasn't.
    pub fallback_place: Place,
    /// Expectations.
    pub tests: Vec<Expectation>,
    /// What is missing from all this.
    pub lost: Lost,
}

/// A site's row in the survey of sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CensusRow {
    /// The survey.
    pub survey: String,
    /// The sheet; empty if the survey has but one.
    pub sheet: String,
    /// Number of the row, counted from 1; 0 if it isn't known.
    pub row: u32,
    /// What its cells say, by heading, in the order of the columns.
    pub cells: Vec<(String, String)>,
}

impl Site {
    /// Whether the gateway answers for its hosts: not for those of a site that is kept, unless it says where that is.
    pub fn is_fronted(&self) -> bool {
        self.disposition == Disposition::Close || self.origin.is_some()
    }
}

/// The report-an-error link of sites that don't name another.
pub const REPORT_LINK: &str = "https://zfwzgl.www.gov.cn/exposure/jiucuo.html?site_code={code}&url={url}";

/// Longest Cache-Control, name, code and so on: these stand in every answer or page.
const MAX_TEXT: usize = 1024;

/// What of a site was faulty and left out, so that what seems wrong elsewhere may only follow from that: its own faults
/// have been reported.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// Some of its hosts.
    pub hosts: bool,
    /// Its home, or some of its allowed targets.
    targets: bool,
    /// The hosts that a faulty home or allowed target seems to mean.
    meant: Vec<Host>,
    /// Its origin.
    pub origin: bool,
    /// Some of its URL habits.
    pub url: bool,
}

impl Lost {
    /// Whether a redirect to a host that is not allowed may be right but for what was lost.
    pub fn may_allow(&self, host: &str) -> bool {
        self.targets || self.meant.iter().any(|meant| meant.as_str() == host)
    }

    /// Remembers the host that a faulty home or allowed target seems to mean.
    fn target(&mut self, text: &str) {
        let (_, rest) = text.split_once("://").unwrap_or(("", text));
        match Host::parse(rest.split(['/', '?', '#', '\\']).next().unwrap_or_default().as_bytes()) {
            Ok(host) => self.meant.push(host),
            Err(_) => self.targets = true,
        }
    }
}

/// Builds a site from its file and the defaults above it, nearest first. Every fault is in the list, and what was faulty
/// is left out of the site, which may be left without hosts.
pub fn build(id: &str, layers: &[Arc<Layer>]) -> (Site, Vec<Diagnostic>) {
    let mut builder = Builder { layers, out: Vec::new(), lost: Lost::default() };
    for layer in layers {
        builder.out.extend(layer.faults.iter().cloned());
    }
    let site = builder.site(id);
    drop_echoes(&mut builder.out);
    (site, builder.out)
}

pub(super) struct Builder<'a> {
    pub(super) layers: &'a [Arc<Layer>],
    pub(super) out: Vec<Diagnostic>,
    pub(super) lost: Lost,
}

/// A value, and which layer it is from.
pub(super) type Found<T> = (u16, At<T>);

impl Builder<'_> {
    pub(super) fn place(&self, file: u16, span: Range<usize>) -> Place {
        let line = self.layers[usize::from(file)].file.line(span.start);
        Place { file, line, span }
    }

    pub(super) fn error(
        &mut self,
        file: u16,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let fault = self.layers[usize::from(file)].file.error(code, span, message).maybe_hint(hint);
        self.out.push(fault);
    }

    /// Reports faults within a text; their positions are exact if the text stands in the file as it is.
    pub(super) fn faults_in(&mut self, file: u16, at: &At<&String>, faults: Vec<Fault>) {
        let raw = self.layers[usize::from(file)].file.text.get(at.span.clone()).unwrap_or_default();
        let start = raw.find(at.value.as_str()).filter(|_| !at.value.is_empty()).map(|offset| at.span.start + offset);
        for fault in faults {
            let span = match start {
                Some(start) => start + fault.range.start..start + fault.range.end.min(at.value.len()),
                None => at.span.clone(),
            };
            self.error(file, fault.code, span, fault.message, fault.hint);
        }
    }

    /// The nearest value of a key, in the table named by `path` (empty for the top).
    pub(super) fn nearest<'t, T: 't>(
        &'t self,
        table: &str,
        get: impl Fn(&'t Table) -> Option<At<T>>,
    ) -> Option<Found<T>> {
        self.layers.iter().enumerate().find_map(|(file, layer)| {
            let table = if table.is_empty() { &layer.table } else { layer.table.table(table)?.value };
            get(table).map(|value| (file as u16, value))
        })
    }

    fn text(&mut self, key: &'static str) -> Option<(u16, At<String>)> {
        let (file, at) = self.nearest("", |table| table.text(key)).map(|(file, at)| (file, own(at)))?;
        if at.value.len() > MAX_TEXT || at.value.chars().any(char::is_control) {
            let message = format!("`{key}` is too long or contains control characters");
            self.error(file, "bad-value", at.span.clone(), message, None);
            return None;
        }
        Some((file, at))
    }

    /// Whether a key of the top was there in some file, but could not be read.
    pub(super) fn lost(&self, key: &str) -> bool {
        self.layers.iter().any(|layer| layer.table.lost(key))
    }

    fn site(&mut self, id: &str) -> Site {
        let url = self.url_settings();
        // Patterns and rules may read the query; the canonicaliser that serves requests is built later, in `routing`.
        let canonicalizer = Canonicalizer::new(url.clone(), true);
        let hosts = self.hosts();
        let word = self.nearest("", |table| table.text("disposition"));
        let disposition = word.and_then(|(_, at)| Disposition::parse(at.value)).unwrap_or_default();
        let home = self.home(disposition);
        let status = self.nearest("", |table| table.status("status")).map(|(_, at)| *at.value).unwrap_or_default();
        let timestamp = self.text("timestamp").map(|(_, at)| at.value).unwrap_or_default();
        let archive = self.archive();
        let rules = self.rules(&hosts, &canonicalizer, status);
        let fallback = self.fallback(status);
        let https = self.https();
        let layer = &self.layers[0];
        let tests = expectation::build(self, &layer.file, &layer.table);
        Site {
            id: id.to_owned(),
            files: self.layers.iter().map(|layer| layer.file.clone()).collect(),
            name: self.text("name").map_or_else(|| id.to_owned(), |(_, at)| at.value),
            hosts,
            home,
            origin: self.origin(),
            serving: self.serving(),
            protection: self.protection(),
            guard: self.guard(),
            owner: self.text("owner").map(|(_, at)| at.value),
            code: self.text("code").map(|(_, at)| at.value),
            wave: self.nearest("", |table| table.number("wave")).map(|(_, at)| *at.value as u16),
            status,
            cache_control: self.cache_control(),
            hsts: self.hsts(https.0),
            https,
            archive,
            timestamp,
            report: self.text("report").map_or_else(|| REPORT_LINK.to_owned(), |(_, at)| at.value),
            previews: self.nearest("", |table| table.bool("previews")).is_none_or(|(_, at)| *at.value),
            acme: self.nearest("", |table| table.bool("acme")).is_none_or(|(_, at)| *at.value),
            allowed_targets: self.allowed_targets(),
            disposition,
            census: self.census(),
            lifecycle: match (disposition, self.lifecycle()) {
                (Disposition::Close, lifecycle) => lifecycle,
                // Dates of a defaults.toml are for the others; a site that stays is passed on to for good.
                _ => Lifecycle::new(vec![(0, Phase::Proxy)]).unwrap_or_default(),
            },
            lifecycle_place: self.table_place("lifecycle"),
            url,
            rules,
            fallback,
            fallback_place: self.table_place("fallback"),
            tests,
            lost: std::mem::take(&mut self.lost),
        }
    }

    fn hosts(&mut self) -> Vec<(HostPattern, Place)> {
        self.lost.hosts = self.layers[0].table.lost("hosts");
        let Some(list) = self.layers[0].table.texts("hosts").map(|at| At { value: at.value.clone(), span: at.span })
        else {
            return Vec::new();
        };
        if list.value.is_empty() {
            self.error(0, "bad-host", list.span, "a site needs at least one host", None);
        }
        let mut hosts: Vec<(HostPattern, Place)> = Vec::new();
        for At { value, span } in list.value {
            match HostPattern::parse(&value) {
                Ok(host) if hosts.iter().any(|(known, _)| *known == host) => {
                    self.error(
                        0,
                        "duplicate-host",
                        span,
                        format!("`{}` stands twice in this list", readable_host(&host.to_string())),
                        None,
                    );
                }
                Ok(host) => {
                    let place = self.place(0, span);
                    hosts.push((host, place));
                }
                Err(error) => {
                    let hint = match value.split_once("://") {
                        Some((_, rest)) => {
                            format!("write the host alone: `{}`", rest.split('/').next().unwrap_or_default())
                        }
                        None => "a name such as `www.example.org` or `*.example.org`".to_owned(),
                    };
                    self.error(0, "bad-host", span, format!("`{value}`: {error}"), Some(hint));
                    self.lost.hosts = true;
                }
            }
        }
        hosts
    }

    fn census(&self) -> Option<CensusRow> {
        let census = self.layers[0].table.table("census")?.value;
        let text = |key| census.text(key).map(|at| at.value.clone()).unwrap_or_default();
        Some(CensusRow {
            survey: text("survey"),
            sheet: text("sheet"),
            row: census.number("row").map_or(0, |at| *at.value as u32),
            cells: census.free("cells").map(|at| at.value.clone()).unwrap_or_default(),
        })
    }

    fn home(&mut self, disposition: Disposition) -> Option<(Target, Place)> {
        let Some((file, at)) = self.nearest("", |table| table.text("home")).map(|(file, at)| (file, own(at))) else {
            self.lost.targets |= self.lost("home");
            if !self.lost("home") && disposition == Disposition::Close {
                let doc = keys::SITE.iter().find(|key| key.name == "home").map_or("", |key| key.doc);
                self.error(0, "missing-key", 0..0, "this site has no `home`", Some(doc.to_owned()));
            }
            return None;
        };
        self.lost.targets |= self.layers[usize::from(file)].table.lost("home");
        match Target::parse(&at.value) {
            Ok(target) => {
                let place = self.place(file, at.span);
                Some((target, place))
            }
            Err(error) => {
                self.lost.target(&at.value);
                self.error(file, "bad-target", at.span, error.to_string(), None);
                None
            }
        }
    }

    fn origin(&mut self) -> Option<Origin> {
        self.lost.origin = self.lost("origin") || self.nearest("", |table| table.text("origin")).is_some();
        let (file, at) = self.text("origin")?;
        let why = match Origin::parse(&at.value) {
            // Those who write site files may not know, or choose, what else is on this machine.
            Ok(Origin { place: OriginPlace::Unix(_), .. }) => "a Unix socket belongs into gateway.toml".to_owned(),
            Ok(origin) => return Some(origin),
            Err(error) => error.to_string(),
        };
        let message = format!("`{}` is no origin of a site: {why}", at.value);
        self.error(file, "bad-address", at.span, message, Some(ORIGIN_HINT.to_owned()));
        None
    }

    fn archive(&mut self) -> Option<Template> {
        let (file, at) = self.nearest("", |table| table.text("archive")).map(|(file, at)| (file, own(at)))?;
        match Template::link(&at.value, &[]) {
            Ok(template) => Some(template),
            Err(faults) => {
                self.faults_in(file, &At { value: &at.value, span: at.span.clone() }, faults);
                None
            }
        }
    }

    fn cache_control(&mut self) -> Option<String> {
        let (file, at) = self.text("cache-control")?;
        if !at.value.is_ascii() {
            self.error(file, "bad-value", at.span, "a header takes ASCII characters only", None);
            return None;
        }
        Some(at.value)
    }

    fn allowed_targets(&mut self) -> Option<(Vec<HostPattern>, u16)> {
        self.lost.targets |= self.layers[1..].iter().any(|layer| layer.table.lost("allowed-targets"));
        let (file, list) =
            self.nearest("", |table| table.texts("allowed-targets")).map(|(file, at)| (file, at.value.clone()))?;
        let file_text = self.layers[usize::from(file)].file.clone();
        let (patterns, faults) = host_patterns(&list, &file_text);
        list.iter().filter(|at| HostPattern::parse(&at.value).is_err()).for_each(|at| self.lost.target(&at.value));
        self.out.extend(faults);
        Some((patterns, file))
    }

    fn rules(
        &mut self,
        hosts: &[(HostPattern, Place)],
        canonicalizer: &Canonicalizer,
        status: RedirectStatus,
    ) -> Vec<Rule> {
        let mut rules = Vec::new();
        let hosts: Vec<HostPattern> = hosts.iter().map(|(host, _)| host.clone()).collect();
        for file in 0..self.layers.len() {
            let layer = self.layers[file].clone();
            let Some(tables) = layer.table.tables("rule") else { continue };
            for table in tables.value {
                // Of a table with a fault of syntax any key may be lost; what is there says which kind of rule it is.
                let has = |key| table.key_span(key).is_some();
                if has("pack") || (table.lost("pack") && !has("from") && !has("regex")) {
                    rules.extend(pack_rule::expand(self, file as u16, table, &hosts, canonicalizer, status));
                } else if let Some(rule) = rule::build(self, file as u16, table, canonicalizer, status) {
                    rules.push(rule);
                }
            }
        }
        // Rules that come before the mappings first; within each kind the order of the files stays.
        rules.sort_by_key(|rule| !rule.first);
        rules
    }

    /// Where the nearest table of that name was written.
    pub(super) fn table_place(&self, name: &str) -> Place {
        let spans = self.layers.iter().map(|layer| layer.table.key_span(name)).enumerate();
        match spans.into_iter().find_map(|(file, span)| Some((file, span?))) {
            Some((file, span)) => self.place(file as u16, span),
            None => Place { file: 0, line: 1, span: 0..0 },
        }
    }

    fn fallback(&mut self, status: RedirectStatus) -> Fallback {
        let layers = self.layers;
        let nearest = layers.iter().enumerate().find_map(|(file, layer)| Some((file, layer.table.table("fallback")?)));
        nearest.map_or(Fallback::Page, |(file, table)| rule::fallback(self, file as u16, table.value, status))
    }

    pub(super) fn pattern(
        &mut self,
        file: u16,
        at: &At<&String>,
        regex: bool,
        canonicalizer: &Canonicalizer,
    ) -> Option<Pattern> {
        let parsed =
            if regex { Pattern::regex(at.value, canonicalizer) } else { Pattern::parse(at.value, canonicalizer) };
        parsed.map_err(|faults| self.faults_in(file, at, faults)).ok()
    }
}

/// Parses a list of host patterns; faults are placed in `file`.
pub(super) fn host_patterns(list: &[At<String>], file: &SourceFile) -> (Vec<HostPattern>, Vec<Diagnostic>) {
    let mut patterns = Vec::new();
    let mut faults = Vec::new();
    for At { value, span } in list {
        match HostPattern::parse(value) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => faults.push(
                file.error("bad-host", span.clone(), format!("`{value}`: {error}"))
                    .hint("a name such as `www.example.org` or `*.example.org`"),
            ),
        }
    }
    (patterns, faults)
}

pub(super) fn own<T: Clone>(at: At<&T>) -> At<T> {
    At { value: at.value.clone(), span: at.span }
}
