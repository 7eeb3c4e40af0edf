//! Site files and the two lists beside them → sites.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use jiff::{
    Zoned,
    civil::{Date, DateTime},
};

use super::yaml::{self, Entry, Value};
use super::{Input, Report, link, read_file, read_folder};
use crate::model::{Host, HostPattern};

/// One retired site, checked.
#[derive(Debug)]
pub(super) struct Site {
    /// Its abbreviation, fit to name its files.
    pub(super) id: String,
    /// Its site file, relative to DIR.
    pub(super) file: String,
    pub(super) name: String,
    /// At least one; no other site has any of them.
    pub(super) hosts: Vec<Host>,
    pub(super) home: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) timestamp: Option<String>,
    pub(super) keep_query: Vec<String>,
    pub(super) global: Option<Global>,
}

/// One answer for all of a site.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// 410.
    Gone,
    /// A redirect.
    Redirect {
        /// Where to.
        to: String,
        /// Whether path and query go there too.
        append: bool,
    },
}

/// Titles of owners, by their slugs.
pub(super) type Titles = HashMap<String, String>;

/// Keys that have no counterpart here, and why that is no loss or who has to see to it.
const NO_COUNTERPART: [(&str, &str); 4] = [
    ("css", "all sites' pages look alike here"),
    ("homepage_furl", "pages link to `home` itself, not to a short spelling of it"),
    ("extra_organisation_slugs", "a site has one owner here"),
    ("special_redirect_strategy", "said who redirected the site, not where to: the gateway never read it"),
];

/// Reads `organisations.tsv`.
pub(super) fn read_titles(dir: &Path, report: &mut Report) -> Titles {
    let name = "organisations.tsv";
    let Some(text) = read_list(dir, name, report) else { return Titles::new() };
    let mut lines = text.lines().zip(1..);
    let header: Vec<&str> = lines.next().map_or(Vec::new(), |(line, _)| line.split('\t').map(str::trim).collect());
    let column = |name| header.iter().position(|&column| column == name);
    let (Some(slug), Some(title)) = (column("slug"), column("title")) else {
        report.leave_out(name, 1, "the whole file", "its header has no columns `slug` and `title`");
        return Titles::new();
    };
    let mut titles = Titles::new();
    for (line, number) in lines.filter(|(line, _)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
        match (fields.get(slug), fields.get(title)) {
            (Some(slug), Some(title)) if !slug.is_empty() && !title.is_empty() => {
                titles.entry((*slug).to_owned()).or_insert_with(|| (*title).to_owned());
            }
            _ => report.leave_out(name, number, line, "no slug or no title"),
        }
        for at in (0..fields.len()).filter(|&at| ![Some(slug), Some(title), column("homepage")].contains(&Some(at))) {
            if !fields[at].is_empty() {
                let column = header.get(at).copied().unwrap_or("a column without a name");
                report.leave_out(name, number, format!("{column}: {}", fields[at]), "only titles are taken from here");
            }
        }
    }
    titles
}

/// Reads `whitelist.txt`: the foreign hosts that redirects may go to.
pub(super) fn read_allowed(dir: &Path, report: &mut Report) -> Vec<String> {
    let name = "whitelist.txt";
    let Some(text) = read_list(dir, name, report) else { return Vec::new() };
    let mut allowed = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let host = line.trim();
        if host.is_empty() || host.starts_with('#') {
            continue;
        }
        match HostPattern::parse(host) {
            Ok(pattern) => allowed.push(pattern.to_string()),
            Err(error) => report.leave_out(name, number, host, error.to_string()),
        }
    }
    allowed.sort();
    allowed.dedup();
    allowed
}

fn read_list(dir: &Path, name: &str, report: &mut Report) -> Option<String> {
    let bytes = read_file(&dir.join(name), name, report)?;
    String::from_utf8(bytes).map_err(|_| report.leave_out(name, 0, "the whole file", "not UTF-8")).ok()
}

/// Reads `sites/`.
pub(super) fn read_all(dir: &Path, titles: &Titles, report: &mut Report) -> Vec<Site> {
    let mut hosts = HashMap::new();
    let mut ids = HashSet::new();
    let mut sites = Vec::new();
    for input in read_folder(dir, "sites", &["yml", "yaml"], report) {
        let Some(entries) = read_entries(&input, report) else { continue };
        let mut reader = Reader { input: &input, entries, report };
        let Some(site) = reader.site(titles, &hosts, &ids) else { continue };
        reader.rest();
        ids.insert(site.id.to_lowercase());
        hosts.extend(site.hosts.iter().map(|host| (host.clone(), site.file.clone())));
        sites.push(site);
    }
    sites
}

fn read_entries(input: &Input, report: &mut Report) -> Option<Vec<Entry>> {
    let Ok(text) = std::str::from_utf8(&input.bytes) else {
        report.leave_out(&input.name, 0, "the whole file", "not UTF-8");
        return None;
    };
    match yaml::entries(text) {
        Ok((entries, faults)) => {
            faults.into_iter().for_each(|fault| report.leave_out(&input.name, fault.line, fault.what, fault.why));
            Some(entries.into_iter().filter(|entry| !yaml::is_overruled(&entry.key)).collect())
        }
        Err(fault) => {
            report.leave_out(&input.name, fault.line, fault.what, fault.why);
            None
        }
    }
}

/// Takes keys out of one site file, so that what nobody took can be reported.
struct Reader<'a> {
    input: &'a Input,
    entries: Vec<Entry>,
    report: &'a mut Report,
}

/// A text and its line.
type Line = (String, u32);

impl Reader<'_> {
    fn site(&mut self, titles: &Titles, taken: &HashMap<Host, String>, ids: &HashSet<String>) -> Option<Site> {
        let abbreviation = self.text("site");
        let id = file_stem(abbreviation.as_ref().map_or(&self.input.stem, |(text, _)| text));
        match &abbreviation {
            None => self.leave_out(0, "site", "the key is missing; the file's name stands in for it"),
            Some((text, line)) if *text != id => {
                self.leave_out(*line, text, "can't name a file; other characters stand in for some of these");
            }
            Some(_) => {}
        }
        if ids.contains(&id.to_lowercase()) {
            self.leave_out(0, "the whole file", "another file has the same `site`");
            return None;
        }
        let hosts = self.hosts(taken);
        if hosts.is_empty() {
            self.leave_out(0, "the whole file", "no host is left to answer for");
            return None;
        }
        let owner = self.text("whitehall_slug").map(|(owner, _)| owner);
        let title = owner.as_ref().and_then(|owner| titles.get(owner)).cloned();
        let name = self.text("homepage_title").map(|(title, _)| title).or(title).unwrap_or_else(|| id.clone());
        let home = self.home();
        let timestamp = self.timestamp();
        let keep_query = self.options();
        let global = self.global();
        Some(Site { id, file: self.input.name.clone(), name, hosts, home, owner, timestamp, keep_query, global })
    }

    /// `host` and `aliases`, without those that are other sites' already.
    fn hosts(&mut self, taken: &HashMap<Host, String>) -> Vec<Host> {
        let mut names: Vec<Line> = Vec::new();
        match self.text("host") {
            Some(host) => names.push(host),
            None => self.leave_out(0, "host", "the key is missing"),
        }
        names.extend(self.texts("aliases"));
        let mut hosts = Vec::with_capacity(names.len());
        for (text, line) in names {
            match Host::parse(text.as_bytes()) {
                Err(error) => self.leave_out(line, &text, error.to_string()),
                Ok(host) => match taken.get(&host) {
                    Some(file) => self.leave_out(line, &text, format!("{file} has this host already")),
                    None if hosts.contains(&host) => self.leave_out(line, &text, "the site has this host already"),
                    None => hosts.push(host),
                },
            }
        }
        hosts
    }

    fn home(&mut self) -> Option<String> {
        let Some((text, line)) = self.text("homepage") else {
            self.leave_out(0, "homepage", "the key is missing; the site can't go live before it has a `home`");
            return None;
        };
        link::new_url(&text).map_err(|why| self.leave_out(line, &text, why)).ok()
    }

    fn timestamp(&mut self) -> Option<String> {
        let Some((text, line)) = self.text("tna_timestamp") else {
            self.leave_out(0, "tna_timestamp", "the key is missing; links to the archive lack the moment");
            return None;
        };
        if moment(&text).is_some() {
            return Some(text);
        }
        self.leave_out(line, &text, "no moment of the form YYYYMMDDhhmmss");
        None
    }

    /// The significant parameters of `options: --query-string a:b`.
    fn options(&mut self) -> Vec<String> {
        let Some((text, line)) = self.text("options") else { return Vec::new() };
        let mut names: Vec<String> = Vec::new();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let list = match word.strip_prefix("--query-string") {
                Some("") => words.next().unwrap_or_default(),
                Some(list) if list.starts_with('=') => &list[1..],
                _ => {
                    self.leave_out(line, word, "unknown option");
                    continue;
                }
            };
            for name in list.split(':').map(str::to_lowercase).filter(|name| !name.is_empty()) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// `global` and `global_redirect_append_path`.
    fn global(&mut self) -> Option<Global> {
        let append = self.text("global_redirect_append_path").is_some_and(|(text, _)| !is_false(&text));
        let (text, line) = self.text("global")?;
        let mut words = text.split_whitespace();
        let status = words.next().unwrap_or_default().trim_matches('=');
        let to = words.next();
        match (status, to, words.next()) {
            ("410", None, _) => Some(Global::Gone),
            ("301", Some(to), None) if has_back_reference(to) => {
                self.leave_out(line, &text, "the target is one of a pattern; write a rule for it");
                None
            }
            ("301", Some(to), None) => match link::new_url(to) {
                Ok(to) => Some(Global::Redirect { to, append }),
                Err(why) => {
                    self.leave_out(line, &text, why);
                    None
                }
            },
            _ => {
                self.leave_out(line, &text, "only `=410` and `=301 URL` are known");
                None
            }
        }
    }

    /// Reports the keys that nobody took.
    fn rest(&mut self) {
        for Entry { key, line, value } in std::mem::take(&mut self.entries) {
            let reason = NO_COUNTERPART.iter().find(|(name, _)| *name == key).map(|(_, why)| *why);
            let (value, why) = (describe(&value), reason.unwrap_or("unknown key"));
            // Nothing is lost with a key that says nothing.
            if reason.is_none() || !value.is_empty() {
                self.leave_out(line, &format!("{key}: {value}"), why);
            }
        }
    }

    /// The text of a key; what is no text is reported.
    fn text(&mut self, key: &str) -> Option<Line> {
        let entry = self.take(key)?;
        match entry.value {
            Value::Text(text) if !text.is_empty() => Some((text, entry.line)),
            Value::Text(_) | Value::Null => None,
            Value::List(_) | Value::Other => {
                self.leave_out(entry.line, key, "not a text");
                None
            }
        }
    }

    /// The texts of a list; a text alone is a list of one.
    fn texts(&mut self, key: &str) -> Vec<Line> {
        let Some(entry) = self.take(key) else { return Vec::new() };
        let items = match entry.value {
            Value::List(items) => items,
            value => vec![(entry.line, value)],
        };
        let mut texts = Vec::with_capacity(items.len());
        for (line, item) in items {
            match item {
                Value::Text(text) => texts.push((text, line)),
                Value::Null => {}
                Value::List(_) | Value::Other => self.leave_out(line, key, "not a text"),
            }
        }
        texts
    }

    fn take(&mut self, key: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }

    fn leave_out(&mut self, line: u32, what: &str, why: impl Into<String>) {
        self.report.leave_out(&self.input.name, line, what, why);
    }
}

/// An abbreviation with `-` for what could lead out of the folder, hide the file, or be no name on some system.
fn file_stem(text: &str) -> String {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let stem: String = text.chars().take(100).map(|c| if allowed(c) { c } else { '-' }).collect();
    let reserved = stem.is_empty() || stem.starts_with('.') || stem.eq_ignore_ascii_case("defaults");
    if reserved { format!("-{stem}") } else { stem }
}

/// The texts that YAML of that time took for false. Everything else switched a flag on.
fn is_false(text: &str) -> bool {
    ["false", "no", "off", "n"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a target has `$1`: a part of a regular expression, which some sites had instead of one answer.
fn has_back_reference(to: &str) -> bool {
    to.as_bytes().windows(2).any(|pair| matches!(pair[0], b'$' | b'\\') && pair[1].is_ascii_digit())
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.clone(),
        Value::List(items) => items.iter().map(|(_, item)| describe(item)).collect::<Vec<_>>().join(", "),
        Value::Other => "…".to_owned(),
    }
}

/// The date of a timestamp, unless it has yet to come: a site that is archived is archived today.
pub(super) fn past_date(timestamp: &str) -> Option<Date> {
    moment(timestamp).map(DateTime::date).filter(|date| *date < Zoned::now().date())
}

fn moment(timestamp: &str) -> Option<DateTime> {
    let digits = timestamp.len() == 14 && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    if digits { DateTime::strptime("%Y%m%d%H%M%S", timestamp).ok() } else { None }
}
