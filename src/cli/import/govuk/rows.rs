//! Mapping files → the mappings of each site.
//!
//! A row belongs to the site whose host its old URL names, whatever file it stands in. Of several rows for one page one
//! wins, as in the system that these files were written for.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::site::Site;
use super::table::{Record, Records};
use super::{Input, Report, link, read_folder};
use crate::model::Host;
use crate::url::{Canonical, Canonicalizer, Form, UrlSettings};

/// One mapping that goes into a site's table.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    /// Path and query, as the row has them.
    pub(super) old: String,
    pub(super) outcome: Outcome,
}

/// What a mapping does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) kind: Kind,
    /// The target; empty unless it redirects.
    pub(super) new: String,
    pub(super) suggest: String,
    /// A link to the archive other than the default one.
    pub(super) archive: String,
}

/// Kinds of mappings, the ones that lose first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nobody has decided yet; served as gone.
    Undecided,
    /// Gone, with a copy in the archive.
    Archive,
    Redirect,
}

/// The host of the web archive: a redirect there is not one, but a page that is gone.
const ARCHIVE_HOST: &str = "webarchive.nationalarchives.gov.uk";

/// Paths that the old gateway answered before it looked at any mapping.
const BUILT_IN: [&str; 8] = [
    "/404",
    "/410",
    "/robots.txt",
    "/sitemap.xml",
    "/gone.css",
    "/favicon.ico",
    "/healthcheck/live",
    "/healthcheck/ready",
];

/// How the old gateway recognised spellings of a URL.
fn settings(site: &Site) -> UrlSettings {
    UrlSettings {
        keep_query: site.keep_query.clone(),
        semicolon_separates: true,
        merge_slashes: false,
        resolve_dots: false,
        drop_session_id: false,
        decode_path: false,
        refuse_invalid: true,
        accept_trailing_dot: false,
        ..UrlSettings::default()
    }
}

/// Reads `mappings/`: one table for each site, in the order of `sites`.
pub(super) fn read_all(dir: &Path, sites: &[Site], report: &mut Report) -> Vec<Vec<Mapping>> {
    let mut collector = Collector::new(sites, report);
    let inputs = read_folder(dir, "mappings", &["csv"], collector.report);
    inputs.iter().for_each(|input| collector.file(input));
    collector.tables()
}

/// A row that may become a mapping.
struct Row {
    file: Arc<str>,
    line: u32,
    mapping: Mapping,
}

struct Collector<'a> {
    sites: &'a [Site],
    hosts: HashMap<&'a str, usize>,
    canonicalizers: Vec<Canonicalizer>,
    scratch: Canonical,
    /// The rows of each page, by site and canonical URL; the pages in the order of their first rows.
    pages: Vec<(usize, Vec<Row>)>,
    by_key: HashMap<(usize, Vec<u8>), usize>,
    report: &'a mut Report,
}

/// Where the columns stand.
struct Columns {
    old: usize,
    new: Option<usize>,
    status: usize,
    suggest: Option<usize>,
    archive: Option<usize>,
    count: usize,
}

/// A record of a file, and where it stands.
struct Place<'a> {
    file: &'a Arc<str>,
    stem: &'a str,
    columns: &'a Columns,
}

/// Why a row is left out: what of it, and the reason.
type Refusal = (String, String);

impl<'a> Collector<'a> {
    fn new(sites: &'a [Site], report: &'a mut Report) -> Self {
        let hosts =
            sites.iter().enumerate().flat_map(|(at, site)| site.hosts.iter().map(move |host| (host.as_str(), at)));
        Collector {
            sites,
            hosts: hosts.collect(),
            canonicalizers: sites.iter().map(|site| Canonicalizer::new(settings(site), false)).collect(),
            scratch: Canonical::default(),
            pages: Vec::new(),
            by_key: HashMap::new(),
            report,
        }
    }

    fn file(&mut self, input: &Input) {
        let file: Arc<str> = input.name.as_str().into();
        let mut records = Records::new(&input.bytes);
        let Some(columns) = records.next().and_then(|header| self.columns(&file, &header)) else {
            self.report.leave_out(&file, 1, "the whole file", "its first line names no columns `Old Url` and `Status`");
            return;
        };
        let place = Place { file: &file, stem: &input.stem, columns: &columns };
        while let Some(record) = records.next() {
            self.report.rows += 1;
            if let Err((what, why)) = self.row(&place, &record) {
                self.report.leave_out(&file, record.line, what, why);
            }
        }
    }

    fn columns(&mut self, file: &str, header: &Record<'_>) -> Option<Columns> {
        let plain = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let names: Vec<&str> =
            (0..header.len()).map(|at| header.field(at).unwrap_or("a name that is not UTF-8")).collect();
        let find = |wanted: &str| names.iter().position(|name| plain(name) == wanted);
        let columns = Columns {
            old: find("oldurl")?,
            new: find("newurl"),
            status: find("status")?,
            suggest: find("suggestedlink"),
            archive: find("archivelink"),
            count: names.len(),
        };
        let known = [Some(columns.old), columns.new, Some(columns.status), columns.suggest, columns.archive];
        for at in (0..names.len()).filter(|&at| !known.contains(&Some(at))) {
            self.report.leave_out(file, header.line, names[at], "unknown column");
        }
        Some(columns)
    }

    fn row(&mut self, place: &Place<'_>, record: &Record<'_>) -> Result<(), Refusal> {
        let field = |at: Option<usize>| match at.map_or(Ok(""), |at| record.field(at)) {
            Ok(text) => Ok(text),
            Err(_) => Err(("the whole row".to_owned(), "not UTF-8".to_owned())),
        };
        let text = field(Some(place.columns.old))?;
        let refused = |why: &str| (text.to_owned(), why.to_owned());
        let old = link::old_url(text).map_err(|why| (text.to_owned(), why))?;
        let at = match &old.host {
            Some(host) => self.site_of(host).ok_or_else(|| refused("no site has this host")),
            None => self.site_named(place.stem).ok_or_else(|| refused("a path, and the file is named after no site")),
        }?;
        if self.sites[at].global.is_some() {
            return Err(refused("the site answers every URL alike (`global`)"));
        }
        let key = self.key(at, &old.old).map_err(|why| refused(&why))?;
        let row = [place.columns.new, Some(place.columns.status), place.columns.suggest, place.columns.archive];
        let [new, status, suggest, archive] = row.map(field);
        let raw = Raw { new: new?, status: status?, suggest: suggest?, archive: archive? };
        let mut lost = Vec::new();
        let outcome = raw.check(&mut lost).map_err(|why| refused(&why))?;
        if let Some(fragment) = old.fragment {
            lost.push((format!("#{fragment}"), "browsers don't send fragments".to_owned()));
        }
        let extra = (place.columns.count..record.len()).map(|at| record.field(at).unwrap_or("not UTF-8"));
        for text in extra.filter(|text| !text.is_empty()) {
            lost.push((text.to_owned(), "the row has more fields than the header".to_owned()));
        }
        lost.into_iter().for_each(|(what, why)| self.report.leave_out(place.file, record.line, what, why));
        let page = *self.by_key.entry((at, key)).or_insert(self.pages.len());
        if page == self.pages.len() {
            self.pages.push((at, Vec::with_capacity(1)));
        }
        let mapping = Mapping { old: old.old, outcome };
        self.pages[page].1.push(Row { file: place.file.clone(), line: record.line, mapping });
        Ok(())
    }

    /// The site that has this host, or the host that it is a preview of.
    fn site_of(&self, host: &Host) -> Option<usize> {
        let name = host.as_str();
        let real = || match (name.strip_prefix("aka-"), name.strip_prefix("aka.")) {
            (Some(rest), _) => self.hosts.get(rest),
            (_, Some(rest)) => self.hosts.get(format!("www.{rest}").as_str()),
            _ => None,
        };
        self.hosts.get(name).or_else(real).copied()
    }

    fn site_named(&self, stem: &str) -> Option<usize> {
        self.sites.iter().position(|site| site.id == stem)
    }

    /// The canonical URL, if mappings can answer it.
    fn key(&mut self, site: usize, old: &str) -> Result<Vec<u8>, String> {
        let canonicalizer = &self.canonicalizers[site];
        canonicalizer.canonicalize(old.as_bytes(), Form::Text, &mut self.scratch).map_err(|error| error.to_string())?;
        let key = self.scratch.key();
        let path = key.split(|&byte| byte == b'?').next().unwrap_or_default();
        if path == b"/" {
            return Err("the home page goes where the site file says".to_owned());
        }
        if BUILT_IN.iter().any(|built_in| built_in.as_bytes() == path) {
            return Err("the old gateway answered this path itself, before any mapping".to_owned());
        }
        Ok(key.to_owned())
    }

    /// Lets the best row of each page win.
    fn tables(self) -> Vec<Vec<Mapping>> {
        let mut tables = vec![Vec::new(); self.sites.len()];
        for (site, rows) in self.pages {
            let Some(winner) = rows.iter().reduce(|best, row| if rank(row) > rank(best) { row } else { best }) else {
                continue;
            };
            for row in rows.iter().filter(|row| !std::ptr::eq(*row, winner)) {
                if row.mapping.outcome == winner.mapping.outcome {
                    self.report.duplicates_same += 1;
                } else {
                    self.report.duplicates_lost += 1;
                    let what = format!("{} (lost to {}:{})", row.mapping.old, winner.file, winner.line);
                    self.report.leave_out(&row.file, row.line, what, "another row for the same URL beats it");
                }
            }
            tables[site].push(winner.mapping.clone());
        }
        tables
    }
}

/// Redirects beat archives beat undecided rows; a link of its own beats none; else the earlier row stays.
fn rank(row: &Row) -> (Kind, bool) {
    let outcome = &row.mapping.outcome;
    (outcome.kind, outcome.kind == Kind::Archive && !outcome.archive.is_empty())
}

/// What a row says, unchecked.
struct Raw<'r> {
    new: &'r str,
    status: &'r str,
    suggest: &'r str,
    archive: &'r str,
}

impl Raw<'_> {
    /// The outcome; parts of the row that have no place in it go to `lost`.
    fn check(&self, lost: &mut Vec<Refusal>) -> Result<Outcome, String> {
        let kind = match self.status {
            "301" => Kind::Redirect,
            "410" => Kind::Archive,
            "418" => Kind::Undecided,
            "" => return Err("no Status".to_owned()),
            other => return Err(format!("unknown Status `{other}`")),
        };
        if kind == Kind::Redirect {
            return self.redirect(lost);
        }
        if !self.new.is_empty() {
            lost.push((self.new.to_owned(), "a New Url means nothing on a page that is gone".to_owned()));
        }
        let suggest = optional(self.suggest, lost);
        let archive = optional(self.archive, lost);
        Ok(Outcome { kind, new: String::new(), suggest, archive })
    }

    fn redirect(&self, lost: &mut Vec<Refusal>) -> Result<Outcome, String> {
        if self.new.is_empty() {
            return Err("a redirect without New Url".to_owned());
        }
        let new = link::new_url(self.new).map_err(|why| format!("New Url: {why}"))?;
        if link::host_of(&new).is_some_and(|host| host.as_str() == ARCHIVE_HOST) {
            if !self.archive.is_empty() && self.archive != self.new {
                lost.push((self.archive.to_owned(), "the New Url is a link to the archive already".to_owned()));
            }
            return Ok(Outcome {
                kind: Kind::Archive,
                new: String::new(),
                suggest: optional(self.suggest, lost),
                archive: new,
            });
        }
        for link in [self.suggest, self.archive].into_iter().filter(|link| !link.is_empty()) {
            lost.push((link.to_owned(), "a redirect shows no page that could have a link".to_owned()));
        }
        Ok(Outcome { kind: Kind::Redirect, new, suggest: String::new(), archive: String::new() })
    }
}

/// A link, or nothing.
fn optional(link: &str, lost: &mut Vec<Refusal>) -> String {
    if link.is_empty() {
        return String::new();
    }
    link::new_url(link).unwrap_or_else(|why| {
        lost.push((link.to_owned(), why));
        String::new()
    })
}
