//! Follows one target and says what is wrong with it.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::url::{Position, Url};
use tokio::{sync::OnceCell, time::sleep};

use super::kind::{Kind, Kinds};
use super::signs::{hijack, is_another_title, is_error_path, is_home_path, not_there, sketch};
use super::store::{Due, Seen};
use crate::model::Host;
use crate::robot::{Document, Fault, Limits, Page, Permission, Robot};
use crate::routing::Snapshot;

/// What it takes to follow targets.
#[derive(Debug)]
pub(super) struct Checker {
    robot: Robot,
    limits: Limits,
    snapshot: Arc<Snapshot>,
    /// Numbers of sites by id.
    sites: HashMap<String, usize>,
    /// What origins answer for pages that they can't have.
    nowhere: Mutex<HashMap<Box<str>, Arc<OnceCell<Nowhere>>>>,
    /// A word that no page has in its path.
    nonce: String,
    retry: Duration,
}

/// What an origin answers for a page that it can't have.
#[derive(Clone, Debug)]
enum Nowhere {
    /// An error, as it should, or nobody knows.
    Honest,
    /// A page, with status 200.
    Page { landing: Option<Box<str>>, sketch: Sketch },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sketch {
    title: Option<String>,
    bits: u64,
    length: usize,
}

/// A page after all redirects.
struct Landing {
    url: Url,
    page: Page,
}

/// What came on the way.
#[derive(Default)]
struct Way {
    hops: u32,
    took: Duration,
    status: u16,
}

/// Why the way ended before a page.
struct End {
    kind: Kind,
    detail: String,
}

impl Checker {
    /// `nonce` is a word that no page has in its path.
    pub fn new(robot: Robot, limits: Limits, snapshot: Arc<Snapshot>, nonce: String, retry: Duration) -> Self {
        let sites = snapshot.sites().iter().enumerate().map(|(number, site)| (site.id.clone(), number)).collect();
        Checker { robot, limits, snapshot, sites, nowhere: Mutex::default(), nonce, retry }
    }

    /// Looks at a target.
    pub async fn check(&self, host: &str, due: &Due, now: impl Fn() -> i64) -> Seen {
        let mut seen = Seen { host: host.to_owned(), url: due.url.clone(), ..Seen::default() };
        let mut found = Found::default();
        let mut way = Way::default();
        match Url::parse(&due.url) {
            Err(_) => found.add(Kind::Dead, "not a URL"),
            Ok(target) => match self.follow(&target, &due.site, &mut way).await {
                Err(end) => found.add(end.kind, end.detail),
                Ok(landing) => self.judge(&target, landing, due, &way, &mut found, &mut seen).await,
            },
        }
        if way.hops > 1 {
            found.add(Kind::Hops, format!("{} redirects", way.hops));
        }
        if way.took > SLOW {
            found.add(Kind::Slow, format!("{:.1} s", way.took.as_secs_f64()));
        }
        seen.findings = found.kinds;
        seen.detail = cut(&found.text, LONGEST_DETAIL);
        seen.hops = way.hops;
        seen.status = way.status;
        seen.millis = u64::try_from(way.took.as_millis()).unwrap_or(u64::MAX);
        seen.checked = now();
        seen
    }

    /// Follows redirects, as far as hosts are allowed.
    async fn follow(&self, target: &Url, site: &str, way: &mut Way) -> Result<Landing, End> {
        let end = |kind, detail: String| Err(End { kind, detail });
        let mut url = target.clone();
        url.set_fragment(None);
        let mut visited = vec![url.clone()];
        loop {
            let host = url.host_str().unwrap_or_default();
            match self.robot.permission(&url).await {
                Permission::Granted => {}
                Permission::Refused => return end(Kind::Robots, format!("robots.txt of {host} does not want it")),
                // Nothing may be asked of a server that can't say; one that does not answer at all is dead.
                Permission::Unknown => match self.robot.silence(&url).await {
                    Some(fault) => return end(Kind::Dead, fault.to_string()),
                    None => return end(Kind::Robots, format!("robots.txt of {host} can't be had: a server error")),
                },
            }
            let page = match self.get(&url).await {
                Ok(page) => page,
                Err(fault) => {
                    if matches!(fault, Fault::Timeout(_)) {
                        way.took = Duration::ZERO;
                    }
                    return end(Kind::Dead, fault.to_string());
                }
            };
            way.took += page.timings.whole;
            way.status = page.status;
            let Some(next) = next(&url, &page) else {
                return match page.status {
                    200..=299 => Ok(Landing { url, page }),
                    300..=399 => end(Kind::Dead, format!("status {} that leads nowhere", page.status)),
                    status => end(Kind::Dead, format!("status {status}")),
                };
            };
            way.hops += 1;
            if visited.contains(&next) {
                return end(Kind::Loop, format!("comes back to {next} after {} redirects", way.hops));
            }
            if way.hops > MOST_HOPS {
                return end(Kind::Loop, format!("more than {MOST_HOPS} redirects"));
            }
            if !self.may_follow(target, &next, site) {
                // Who stands there is nobody's business: it is not asked.
                return end(Kind::Foreign, format!("leads to {next}"));
            }
            visited.push(next.clone());
            url = next;
        }
    }

    /// Asks once, and once more after a while where that may help.
    async fn get(&self, url: &Url) -> Result<Page, Fault> {
        match self.robot.get(url, &self.limits).await {
            Err(fault) if fault.is_passing() => {
                sleep(self.retry).await;
                self.robot.get(url, &self.limits).await
            }
            answer => answer,
        }
    }

    /// Whether a redirect from a target to another URL stays among those whom citizens may be sent to, or at home: below the
    /// same registered domain.
    fn may_follow(&self, target: &Url, next: &Url, site: &str) -> bool {
        let (Some(from), Some(to)) = (target.host_str(), next.host_str()) else { return false };
        if from == to {
            return true;
        }
        let table = self.sites.get(site).and_then(|&number| self.snapshot.sites().get(number)).map(|site| &**site);
        let is_allowed = Host::parse(to.as_bytes()).is_ok_and(|host| self.snapshot.allows(table, host.as_str()));
        is_allowed
            || (!self.snapshot.frozen().contains(to) && registered(from).is_some_and(|own| registered(to) == Some(own)))
    }

    async fn judge(&self, target: &Url, landing: Landing, due: &Due, way: &Way, found: &mut Found, seen: &mut Seen) {
        let Landing { url, page } = landing;
        seen.landing = cut(url.as_str(), LONGEST_URL);
        let (host, before) = (url.host_str().unwrap_or_default(), Url::parse(&due.landing).ok());
        if let Some(before) = before.as_ref().and_then(Url::host_str)
            && before != host
        {
            found.add(Kind::Moved, format!("leads to {host}, and to {before} before"));
        }
        if let Some(detail) = wrong_type(&url, &page) {
            found.add(Kind::Type, detail);
        }
        if !is_html(&page) {
            return;
        }
        let document = page.document();
        drop(page);
        if let Some(sign) = hijack(&document) {
            found.add(Kind::Hijack, sign);
        }
        let title = document.title.clone().unwrap_or_default();
        if is_another_title(&due.title, &title) {
            found.add(Kind::Title, format!("`{title}`, before `{}`", due.title));
        }
        seen.title.clone_from(&title);
        let is_deep = !is_home_path(target.path());
        if way.hops > 0 && is_error_path(url.path()) && !is_error_path(target.path()) {
            found.add(Kind::Soft404, format!("leads to the error page {url}"));
        } else if way.hops > 0 && is_deep && is_home_path(url.path()) && url.query().is_none() {
            found.add(Kind::Soft404, format!("leads to the home page {url}"));
        } else if let Some(word) = not_there(&document) {
            found.add(Kind::Soft404, format!("the page says `{word}`"));
        } else if is_deep && !self.is_honest(&url) {
            let sketch = Sketch::of(&document);
            // Many may wait for the answer.
            drop(document);
            match &self.nowhere(&url).await {
                Nowhere::Page { sketch: other, .. } if sketch.is_like(other) => {
                    found.add(Kind::Soft404, format!("the page that {host} has for all it has not"));
                }
                Nowhere::Page { landing: Some(landing), .. } if way.hops > 0 && **landing == *url.as_str() => {
                    found.add(Kind::Soft404, format!("leads to {url}, as all that is not there"));
                }
                _ => {}
            }
        }
    }

    /// Whether an origin is known to answer with an error where it has no page.
    fn is_honest(&self, url: &Url) -> bool {
        matches!(self.cell(url).get(), Some(Nowhere::Honest))
    }

    fn cell(&self, url: &Url) -> Arc<OnceCell<Nowhere>> {
        let mut known = self.nowhere.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(url[..Position::BeforePath].into()).or_default().clone()
    }

    /// What an origin answers for a page that it can't have. It is asked once.
    async fn nowhere(&self, url: &Url) -> Nowhere {
        let ask = || async {
            let Ok(mut at) = url.join(&format!("/{}.html", self.nonce)) else { return Nowhere::Honest };
            for hop in 0..=3 {
                if self.robot.permission(&at).await != Permission::Granted {
                    return Nowhere::Honest;
                }
                let Ok(page) = self.get(&at).await else { return Nowhere::Honest };
                match next(&at, &page) {
                    Some(next) if next.host_str() == at.host_str() => at = next,
                    None if page.status == 200 && is_html(&page) => {
                        let landing = (hop > 0).then(|| at.as_str().into());
                        return Nowhere::Page { landing, sketch: Sketch::of(&page.document()) };
                    }
                    _ => return Nowhere::Honest,
                }
            }
            Nowhere::Honest
        };
        self.cell(url).get_or_init(ask).await.clone()
    }
}

#[derive(Default)]
struct Found {
    kinds: Kinds,
    text: String,
}

impl Found {
    fn add(&mut self, kind: Kind, detail: impl AsRef<str>) {
        self.kinds = self.kinds.with(kind);
        let separator = if self.text.is_empty() { "" } else { "; " };
        // A text takes everything.
        let _ = write!(self.text, "{separator}{}", detail.as_ref());
    }
}

impl Sketch {
    fn of(document: &Document) -> Self {
        Sketch { title: document.title.clone(), bits: sketch(&document.text), length: document.text.len() }
    }

    fn is_like(&self, other: &Sketch) -> bool {
        self.title == other.title
            && (self.bits ^ other.bits).count_ones() <= NEAR
            && self.length.abs_diff(other.length) <= 32 + self.length / 10
    }
}

/// Where a page leads by itself: by its status, or by a `<meta>` that sends people on.
fn next(url: &Url, page: &Page) -> Option<Url> {
    if page.status != 200 {
        return page.location(url);
    }
    let may_refresh = || REFRESH.iter().any(|word| memchr::memmem::find(&page.body, word).is_some());
    if !is_html(page) || !may_refresh() {
        return None;
    }
    let (seconds, to) = page.document().refresh?;
    let mut to = url.join(&to).ok().filter(|to| matches!(to.scheme(), "http" | "https"))?;
    to.set_fragment(None);
    // A page that loads itself again stays where it is.
    (seconds <= SOON && to != *url).then_some(to)
}

fn is_html(page: &Page) -> bool {
    match page.media_type().as_str() {
        "text/html" | "application/xhtml+xml" => true,
        "" => looks_like_html(&page.body),
        _ => false,
    }
}

fn looks_like_html(body: &[u8]) -> bool {
    let start = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    let has = |text: &[u8]| start.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    has(b"<!doctype html") || has(b"<html") || has(b"<head") || has(b"<title")
}

/// What is wrong with the content of a page, by the ending of its path.
fn wrong_type(url: &Url, page: &Page) -> Option<String> {
    let name = url.path().rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase())?;
    let media = page.media_type();
    let is_page = is_html(page);
    if DOCUMENTS.contains(&ending.as_str()) {
        if is_page || looks_like_html(&page.body) {
            return Some(format!("a page where .{ending} says a document"));
        }
        let group = media.split('/').next().unwrap_or_default();
        let is_picture = PICTURES.contains(&ending.as_str());
        let fits = match group {
            "image" => is_picture,
            "text" | "video" | "audio" => is_same_group(&ending, group),
            _ => true,
        };
        return (!fits).then(|| format!("{media} where .{ending} says something else"));
    }
    let is_wrong = matches!(ending.as_str(), "html" | "htm" | "shtml") && !is_page && !media.is_empty();
    is_wrong.then(|| format!("{media} where .{ending} says a page"))
}

fn is_same_group(ending: &str, group: &str) -> bool {
    match group {
        "text" => matches!(ending, "txt" | "csv"),
        "video" => matches!(ending, "mp4" | "flv" | "wmv" | "avi" | "swf"),
        _ => matches!(ending, "mp3" | "wma" | "mp4"),
    }
}

/// The registered domain of a host; none for addresses.
fn registered(host: &str) -> Option<&str> {
    if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return None;
    }
    psl::domain_str(host)
}

fn cut(text: &str, longest: usize) -> String {
    text[..text.floor_char_boundary(longest.min(text.len()))].to_owned()
}

/// Redirects that are followed.
const MOST_HOPS: u32 = 10;

/// What is slow.
const SLOW: Duration = Duration::from_secs(3);

/// What a page has that sends people on.
const REFRESH: [&[u8]; 3] = [b"refresh", b"Refresh", b"REFRESH"];

/// Seconds after which a page that sends people on does it soon.
const SOON: u32 = 10;

/// Bits in which sketches of the same page may differ.
const NEAR: u32 = 6;

/// Bytes that are kept of a landing, and of what is said of it.
const LONGEST_URL: usize = 2000;
const LONGEST_DETAIL: usize = 1000;

const DOCUMENTS: &[&str] = &[
    "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "wps", "et", "ofd", "rtf", "txt", "csv", "zip", "rar", "7z",
    "gz", "jpg", "jpeg", "png", "gif", "bmp", "webp", "mp3", "wma", "mp4", "flv", "wmv", "avi", "swf", "exe", "apk",
];

const PICTURES: &[&str] = &["jpg", "jpeg", "png", "gif", "bmp", "webp"];
