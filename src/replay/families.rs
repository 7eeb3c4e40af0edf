//! Which systems sites ran on, told by the URLs that were asked for.
//!
//! Each URL is compared with the signs of all packs ([`crate::packs`]) at once, by the automaton that traffic's rules use. What is no page (style
//! sheets, icons, what only scanners ask for) says nothing, and so does what the old server did not have. A site's system is named
//! when enough different pages, and enough of all its pages, have shapes that only that system makes; otherwise it is
//! `unknown`, with the reason.
//!
//! Invariants: memory does not grow with the logs: beyond `MAX_URLS` different URLs, further ones count as hits only, and
//! hosts beyond `MAX_HOSTS` are counted together; both are told.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hasher},
    sync::atomic::Ordering,
};

use foldhash::quality::FixedState;

use super::format::{Format, Line, LineScratch, NoLine};
use super::input::{Block, Reading, read_blocks};
use super::seen::cut;
use super::{FileReport, Input, Progress, UNKNOWN_FORMAT};
use crate::guard::Probes;
use crate::model::Host;
use crate::routing::RuleScratch;
use crate::url::{Canonical, Form};

mod signs;
mod verdict;

use signs::Signs;
pub use verdict::{Family, SignFound, SiteFamilies};

/// What is to be looked at, and how.
#[derive(Debug)]
pub struct FamiliesJob {
    /// The logs and lists.
    pub inputs: Vec<Input>,
    /// How their lines are written; found by the first lines where it isn't given.
    pub format: Option<Format>,
    /// The host of lines that name none; the name of the file says it where this is not given.
    pub host: Option<String>,
}

/// What came of it.
#[derive(Debug, serde::Serialize)]
pub struct FamiliesReport {
    /// The files, in order.
    pub files: Vec<FileReport>,
    /// Each host, by name.
    pub sites: Vec<SiteFamilies>,
    /// Requests and URLs that were looked at.
    pub requests: u64,
    /// Lines that can't be read.
    pub unreadable: u64,
    /// Requests for hosts beyond those that are told apart.
    pub left_out: u64,
    /// Whether all different URLs were told apart.
    pub urls_exact: bool,
}

/// Looks at logs and lists. `watch` is called now and then.
pub fn families(job: &FamiliesJob, mut watch: impl FnMut(&Progress)) -> FamiliesReport {
    let signs = Signs::new();
    let mut counting = Counting::new(&signs);
    let progress = Progress::default();
    let mut files = Vec::new();
    for (number, input) in job.inputs.iter().enumerate() {
        let named = job.host.clone().unwrap_or_else(|| cut(name_of(input).as_bytes(), MAX_SAMPLE));
        let mut reading = Reading::default();
        let detect = |start: &[u8]| {
            job.format.clone().or_else(|| Format::detect(start, &is_dotted)).or_else(|| Format::detect_urls(start))
        };
        let spent = RefCell::new(Vec::new());
        let result = input.open(&progress.read).and_then(|source| {
            let room = || spent.take();
            let take = |block: Block| {
                let lines = counting.count_block(&block.bytes, &block.format, &named);
                progress.lines.fetch_add(lines, Ordering::Relaxed);
                watch(&progress);
                spent.replace(block.bytes);
                true
            };
            read_blocks(number, source, detect, room, take, &mut reading)
        });
        let fault = match result {
            Err(error) => Some(error.to_string()),
            Ok(()) if reading.format.is_none() && !reading.is_empty => Some(UNKNOWN_FORMAT.to_owned()),
            Ok(()) => None,
        };
        files.push(FileReport {
            path: input.name(),
            format: reading.format.map(|format| format.to_string()),
            host: Some(named),
            lines: reading.lines,
            too_long: reading.too_long,
            fault,
        });
    }
    counting.report(files)
}

/// What was seen so far.
struct Counting<'s> {
    signs: &'s Signs,
    probes: Probes,
    hosts: HashMap<String, u32, foldhash::fast::RandomState>,
    sites: Vec<Site>,
    /// What each URL that was seen is, by a hash of host and URL.
    known: HashMap<u64, Kept, foldhash::fast::RandomState>,
    hasher: FixedState,
    url: Canonical,
    rules: RuleScratch,
    samples: usize,
    requests: u64,
    unreadable: u64,
    left_out: u64,
    urls_exact: bool,
}

/// What a URL is, and whether the old server was seen to have it.
#[derive(Clone, Copy)]
struct Kept {
    seen: Seen,
    found: bool,
}

/// What a URL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Its sign, by number; [`NO_SIGN`] or [`NO_PAGE`] where it has none.
    sign: u16,
    /// The sign of what it was taken out of.
    wrapper: u16,
}

/// A page that has no sign.
const NO_SIGN: u16 = u16::MAX;
/// No page.
const NO_PAGE: u16 = u16::MAX - 1;

/// What is counted of a host.
#[derive(Debug, Default)]
struct Site {
    name: String,
    /// Different pages, and those among them that the old server had.
    pages: Pair,
    hits: u64,
    signs: BTreeMap<u16, SignCount>,
}

/// Something of all, and of what the old server had.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    all: u64,
    found: u64,
}

/// What is counted of a sign.
#[derive(Debug, Default)]
struct SignCount {
    urls: Pair,
    hits: u64,
    samples: Vec<String>,
}

impl<'s> Counting<'s> {
    fn new(signs: &'s Signs) -> Self {
        Counting {
            signs,
            probes: Probes::default(),
            hosts: HashMap::default(),
            sites: Vec::new(),
            known: HashMap::default(),
            hasher: FixedState::default(),
            url: Canonical::default(),
            rules: RuleScratch::default(),
            samples: 0,
            requests: 0,
            unreadable: 0,
            left_out: 0,
            urls_exact: true,
        }
    }

    /// Counts lines; how many they were.
    fn count_block(&mut self, bytes: &[u8], format: &Format, named: &str) -> u64 {
        let mut scratch = LineScratch::default();
        let mut lines = 0;
        for line in bytes.split(|&byte| byte == b'\n') {
            lines += 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match format.read(line, &mut scratch) {
                Ok(line) => self.count(&line, named, matches!(format, Format::Json(_))),
                Err(NoLine::Unreadable(_)) => self.unreadable += 1,
                Err(NoLine::Comment | NoLine::NoRequest) => {}
            }
        }
        lines
    }

    /// Counts a request. Our own gateway's statuses don't say what the old server had.
    fn count(&mut self, line: &Line<'_>, named: &str, is_own_log: bool) {
        // What a server did not understand, or refused, is no page of anybody's.
        let is_asked = matches!(line.method, b"GET" | b"HEAD" | b"POST" | b"");
        if !is_asked || matches!(line.status, 400 | 405 | 408 | 414 | 431 | 501) {
            return;
        }
        self.requests += 1;
        let host = Host::parse(line.host);
        let name = match &host {
            Ok(host) => host.as_str(),
            Err(_) => named,
        };
        let number = match self.hosts.get(name) {
            Some(&number) => number,
            None if self.sites.len() >= MAX_HOSTS => {
                self.left_out += 1;
                return;
            }
            None => {
                let number = self.sites.len() as u32;
                self.hosts.insert(name.to_owned(), number);
                self.sites.push(Site { name: name.to_owned(), ..Site::default() });
                number
            }
        };
        let found = is_own_log || matches!(line.status, 0 | 200..=399);
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(number);
        hasher.write(line.target);
        let key = hasher.finish();
        let (seen, before) = match self.known.get(&key) {
            Some(kept) => (kept.seen, Some(kept.found)),
            None => (self.look(line.target, name), None),
        };
        let is_told_apart = before.is_some() || self.known.len() < MAX_URLS;
        self.urls_exact &= is_told_apart;
        if is_told_apart && before != Some(true) {
            self.known.insert(key, Kept { seen, found });
        }
        // 1 if this is the first time.
        let all = u64::from(before.is_none() && is_told_apart);
        let newly_found = u64::from(found && before != Some(true) && is_told_apart);
        let site = &mut self.sites[number as usize];
        if seen.sign == NO_PAGE && seen.wrapper == NO_SIGN {
            return;
        }
        site.hits += 1;
        site.pages.all += all;
        site.pages.found += newly_found;
        for sign in [seen.sign, seen.wrapper] {
            if sign >= NO_PAGE {
                continue;
            }
            let count = site.signs.entry(sign).or_default();
            count.urls.all += all;
            count.urls.found += newly_found;
            count.hits += 1;
            if all == 1 && count.samples.len() < SAMPLES && self.samples < MAX_SAMPLES {
                self.samples += 1;
                count.samples.push(cut(line.target, MAX_SAMPLE));
            }
        }
    }

    /// What a URL is.
    fn look(&mut self, target: &[u8], host: &str) -> Seen {
        let nothing = Seen { sign: NO_PAGE, wrapper: NO_SIGN };
        if self.probes.find(target).is_some() {
            return nothing;
        }
        let mut wrapper = NO_SIGN;
        let mut target = target.to_vec();
        // What is within a proxy's or twin's address is looked at too, once.
        for _ in 0..2 {
            if self.signs.canonicalizer.canonicalize(&target, Form::Wire, &mut self.url).is_err() {
                return nothing;
            }
            if let Some(sign) = self.signs.best(&self.url, &mut self.rules) {
                if !self.signs.is_wrapper(sign) {
                    return Seen { sign, wrapper };
                }
                if wrapper == NO_SIGN {
                    wrapper = sign;
                    if let Some(inner) = signs::unwrap(self.url.path(), host) {
                        let query = target.iter().position(|&byte| byte == b'?').map_or(&b""[..], |at| &target[at..]);
                        target = [inner.as_bytes(), query].concat();
                        continue;
                    }
                }
            }
            break;
        }
        let sign = if signs::is_no_page(self.url.path(), target.contains(&b'?')) { NO_PAGE } else { NO_SIGN };
        Seen { sign, wrapper }
    }

    fn report(self, files: Vec<FileReport>) -> FamiliesReport {
        let mut sites: Vec<SiteFamilies> = self.sites.iter().map(|site| verdict::judge(site, self.signs)).collect();
        sites.sort_by(|a, b| a.host.cmp(&b.host));
        FamiliesReport {
            files,
            sites,
            requests: self.requests,
            unreadable: self.unreadable,
            left_out: self.left_out,
            urls_exact: self.urls_exact,
        }
    }
}

/// Whether a word behind a line may be a host.
fn is_dotted(word: &[u8]) -> bool {
    let last = word.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
    word.contains(&b'.') && last.len() > 1 && last.iter().all(u8::is_ascii_alphabetic) && Host::parse(word).is_ok()
}

/// The host in a file's name, such as `access_jyj.old.example.log.1.gz`; the name itself if there is none.
fn name_of(input: &Input) -> String {
    let Input::File(path) = input else { return input.name() };
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let mut rest = name.as_str();
    while let Some((front, end)) = rest.rsplit_once('.') {
        let is_ending = ENDINGS.contains(&end) || end.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if !is_ending {
            break;
        }
        rest = front;
    }
    let parts = rest.split(['_', ' ', '+']).map(|part| {
        let part = part.trim_start_matches("access.").trim_start_matches("access-").trim_start_matches("ssl-");
        part.trim_end_matches("-access").trim_end_matches(".access").trim_matches(['-', '.'])
    });
    let hosts = parts.filter(|part| is_dotted(part.as_bytes()));
    hosts.max_by_key(|part| part.len()).unwrap_or(&name).to_owned()
}

/// Endings of names that are no part of a host.
const ENDINGS: [&str; 12] = ["gz", "zst", "log", "txt", "csv", "tsv", "json", "jsonl", "bak", "old", "list", "urls"];

/// How many different URLs are told apart.
const MAX_URLS: usize = 3 << 20;

/// How many hosts.
const MAX_HOSTS: usize = 1 << 16;

/// How many URLs are shown of a sign.
const SAMPLES: usize = 3;

/// How many in all.
const MAX_SAMPLES: usize = 1 << 18;

/// Longest URL that is shown, in bytes.
const MAX_SAMPLE: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_in_names_of_files() {
        for (name, want) in [
            ("logs/access_jyj.old.example.log.1.gz", "jyj.old.example"),
            ("access-jyj.old.example-20180101.log", "access-jyj.old.example-20180101.log"),
            ("jyj.old.example.txt", "jyj.old.example"),
            ("ssl-jyj.old.example-access.log", "jyj.old.example"),
            ("jyj.old.example.2018-01-01.zst", "jyj.old.example"),
            ("urls.txt", "urls.txt"),
            ("access.log", "access.log"),
        ] {
            assert_eq!(name_of(&Input::File(name.into())), want, "{name}");
        }
    }
}
