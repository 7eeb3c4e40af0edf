//! What search engines want to be told of a move: pairs of an old URL and its new one, and lists of the old URLs.
//!
//! A pair is what a crawler would be answered: each old URL is decided by the function that traffic takes. Baidu takes up to
//! 50,000 pairs a file, and only pairs of which no two share a new URL; old URLs that share one are listed apart, for people,
//! and so are those that can't be a pair.
//!
//! Owns: the files of a host. Never does: decisions of its own, network. Called by: `cli`.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::answer::sitemap;
use crate::model::{HostPattern, Method, Phase, Verdict};
use crate::routing::{HitAction, Request, Scratch, SiteTable, Snapshot};
use crate::url::to_wire;

/// Pairs of one file, as Baidu takes them.
const PAIRS: usize = 50_000;

/// Longest URL that search engines take, in bytes (sitemaps.org says 2,047 characters).
const MAX_URL: usize = 2_047;

/// Who is asked for: a crawler sees where a page went already in phase `notice`.
const CRAWLER: &[u8] = b"Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)";

/// What is written, and of which moment.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// The routes.
    pub snapshot: &'a Snapshot,
    /// The moment, in Unix seconds.
    pub now: i64,
    /// Whether old URLs are written with https.
    pub secure: bool,
    /// The folder; each host has one in it.
    pub folder: &'a Path,
}

/// What was written for a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostReport {
    /// Id of its site.
    pub site: String,
    /// The host.
    pub host: String,
    /// Pairs, each new URL in one only.
    pub pairs: usize,
    /// The files that hold them.
    pub files: Vec<PathBuf>,
    /// Old URLs that share a new one (many-to-one.csv).
    pub many_to_one: usize,
    /// Old URLs that should lead somewhere, and can't be a pair (left-out.csv).
    pub left_out: usize,
}

/// An old URL, and what becomes of it.
enum Fate<'a> {
    Moved(&'a str),
    LeftOut(&'static str),
    Gone,
}

impl Export<'_> {
    /// Writes the files of all hosts of a site. Pairs come from its mappings and, of what its rules redirect, from `asked`:
    /// canonical URLs that people asked for. `None`, and nothing is written, for a site in a phase in which no old URL is
    /// redirected.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn site(&self, site: &SiteTable, asked: &[String]) -> io::Result<Option<Vec<HostReport>>> {
        if !matches!(site.lifecycle.at(self.now), Phase::Notice | Phase::Redirect) {
            return Ok(None);
        }
        let hosts = site.hosts.iter().filter_map(|host| match host {
            HostPattern::Exact(host) => Some(host.as_str()),
            HostPattern::Below(_) => None,
        });
        hosts.map(|host| self.host(site, host, asked)).collect::<io::Result<_>>().map(Some)
    }

    fn host(&self, site: &SiteTable, host: &str, asked: &[String]) -> io::Result<HostReport> {
        let folder = self.folder.join(host);
        fs::create_dir_all(&folder)?;
        remove_own(&folder)?;
        let mut report = HostReport { site: site.id.clone(), host: host.to_owned(), ..HostReport::default() };
        let mut shared: HashMap<Box<str>, u32> = HashMap::new();
        self.each(site, host, asked, |_, fate| {
            if let Fate::Moved(new) = fate {
                match shared.get_mut(new) {
                    Some(count) => *count += 1,
                    None => drop(shared.insert(new.into(), 1)),
                }
            }
            Ok(())
        })?;
        let mut pairs = Pairs { folder: &folder, room: 0, file: None, files: Vec::new() };
        let mut many: Vec<(String, String)> = Vec::new();
        let mut left_out = Vec::new();
        self.each(site, host, asked, |old, fate| {
            match fate {
                Fate::Moved(new) if shared.get(new) == Some(&1) => {
                    report.pairs += 1;
                    pairs.write(old, new)?;
                }
                Fate::Moved(new) => many.push((new.to_owned(), old.to_owned())),
                Fate::LeftOut(why) => left_out.push((old.to_owned(), why)),
                Fate::Gone => {}
            }
            Ok(())
        })?;
        report.files = pairs.end()?;
        // By the new URL: who wants to mend a page that many old ones lead to sees them together.
        many.sort();
        (report.many_to_one, report.left_out) = (many.len(), left_out.len());
        csv(&folder.join(MANY), "new,old", many.iter().map(|(new, old)| (new.as_str(), old.as_str())))?;
        csv(&folder.join(LEFT_OUT), "old,why", left_out.iter().map(|(old, why)| (old.as_str(), *why)))?;
        self.sitemaps(site, host, &folder)?;
        Ok(report)
    }

    /// Tells of each old URL what becomes of it.
    fn each(
        &self,
        site: &SiteTable,
        host: &str,
        asked: &[String],
        mut tell: impl FnMut(&str, Fate<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mapped = site.mappings.iter().filter(|(.., action)| !matches!(action, HitAction::Gone { .. }));
        // The way home is no mapping, and every site has it.
        let others = asked.iter().map(String::as_str).filter(|key| *key != "/").chain(["/"]);
        let others = others.filter(|key| site.mappings.get(key.as_bytes()).is_none());
        let charset = site.canonicalizer.settings().charset;
        let (mut scratch, mut old) = (Scratch::default(), String::new());
        for key in mapped.map(|(key, ..)| key).chain(others) {
            let target = to_wire(key, charset);
            old.clear();
            old.extend([if self.secure { "https://" } else { "http://" }, host, &target]);
            let request = Request {
                method: Method::Get,
                host: Some(host.as_bytes()),
                target: target.as_bytes(),
                // A site that insists on HTTPS redirects once more, and it is the end that counts.
                secure: true,
                user_agent: CRAWLER,
            };
            let fate = match self.snapshot.decide(&request, self.now, &mut scratch).verdict {
                Verdict::Redirect { location, .. } if old.len().max(location.len()) > MAX_URL => {
                    Fate::LeftOut("longer than search engines take")
                }
                Verdict::Redirect { status: 301 | 308, location } => Fate::Moved(location),
                Verdict::Redirect { .. } => Fate::LeftOut("a temporary redirect: search engines keep the old URL"),
                Verdict::Leaving { .. } => Fate::LeftOut("a page that says where the visitor goes, and no redirect"),
                Verdict::Frozen { .. } => Fate::LeftOut("the new URL's host is frozen"),
                Verdict::Refused { .. } => Fate::LeftOut("the new URL's host is not allowed"),
                Verdict::BadRequest(_) => Fate::LeftOut("the old URL can't be asked for"),
                _ => Fate::Gone,
            };
            tell(&old, fate)?;
        }
        Ok(())
    }

    /// As the gateway serves them under that host.
    fn sitemaps(&self, site: &SiteTable, host: &str, folder: &Path) -> io::Result<()> {
        let render = |part| sitemap::render(site, host, self.secure, part);
        fs::write(folder.join("sitemap.xml"), render(None).unwrap_or_default())?;
        // A single file is part 1, too.
        if render(Some(2)).is_none() {
            return Ok(());
        }
        for (number, text) in (1..).map_while(|number| Some((number, render(Some(number))?))) {
            fs::write(folder.join(format!("sitemap-{number}.xml")), text)?;
        }
        Ok(())
    }
}

/// Files of pairs, one after the other.
struct Pairs<'a> {
    folder: &'a Path,
    /// Pairs that the open file still takes.
    room: usize,
    file: Option<BufWriter<File>>,
    files: Vec<PathBuf>,
}

impl Pairs<'_> {
    fn write(&mut self, old: &str, new: &str) -> io::Result<()> {
        if self.room == 0 {
            self.close()?;
            let path = self.folder.join(format!("pairs-{}.txt", self.files.len() + 1));
            self.file = Some(BufWriter::new(File::create(&path)?));
            self.files.push(path);
            self.room = PAIRS;
        }
        self.room -= 1;
        // Both are encoded: neither has a space in it.
        self.file.as_mut().map_or(Ok(()), |file| writeln!(file, "{old} {new}"))
    }

    fn close(&mut self) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |mut file| file.flush())
    }

    fn end(mut self) -> io::Result<Vec<PathBuf>> {
        self.close()?;
        Ok(self.files)
    }
}

const MANY: &str = "many-to-one.csv";
const LEFT_OUT: &str = "left-out.csv";

/// Removes what an earlier export has written: of a table that has become shorter, its last files would stay.
fn remove_own(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_pairs = name.starts_with("pairs-") && name.ends_with(".txt");
        let is_sitemap = name.starts_with("sitemap") && name.ends_with(".xml");
        if is_pairs || is_sitemap || [MANY, LEFT_OUT].contains(&&*name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes a table of two columns; none if it has no rows.
fn csv<'r>(path: &Path, header: &str, rows: impl Iterator<Item = (&'r str, &'r str)>) -> io::Result<()> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "{header}")?;
    for (one, other) in rows {
        writeln!(file, "{},{}", quoted(one), quoted(other))?;
    }
    file.flush()
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}
