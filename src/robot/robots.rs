//! `robots.txt` (RFC 9309): what a server lets robots ask for.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use ::url::{Position, Url};
use memchr::memmem;
use moka::sync::Cache as Moka;
use tokio::{sync::OnceCell, time::Instant};

use super::Fault;

/// Whether a URL may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// `robots.txt` says that it may not.
    Refused,
    /// `robots.txt` can't be had because the server fails: until it can, nothing may be asked for.
    Unknown,
}

/// What the file of an origin says to one robot.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    delay: Option<Duration>,
    unreachable: Option<Unreachable>,
}

/// The file could not be had.
#[derive(Debug)]
struct Unreachable {
    since: Instant,
    /// None if the server answered, with an error of its own.
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Rule {
    allows: bool,
    /// Normalised, with `*`, without the `$`.
    pattern: Box<[u8]>,
    is_anchored: bool,
}

impl Rules {
    /// Everything may be asked for.
    pub fn nothing_refused() -> Self {
        Rules::default()
    }

    /// The file could not be had: there was no answer, or an error of the server's.
    pub fn unreachable(fault: Option<Fault>) -> Self {
        Rules { unreachable: Some(Unreachable { since: Instant::now(), fault }), ..Rules::default() }
    }

    /// Why there was no answer.
    pub(super) fn silence(&self) -> Option<&Fault> {
        self.unreachable.as_ref()?.fault.as_ref()
    }

    /// Whether it is time to ask again.
    fn is_stale(&self) -> bool {
        self.unreachable.as_ref().is_some_and(|unreachable| unreachable.since.elapsed() > AGAIN)
    }

    /// Reads a file for the robot of a name. What it can't read of it is left out.
    pub fn parse(text: &[u8], name: &str) -> Self {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let (mut own, mut general) = (Group::default(), Group::default());
        // Whether lines are for this robot, and for any; whether the last line named one.
        let (mut is_own, mut is_general, mut is_naming) = (false, false, false);
        for line in text.split(|&b| b == b'\n' || b == b'\r') {
            let line = line.split(|&b| b == b'#').next().unwrap_or_default();
            let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
            let (key, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            if key.eq_ignore_ascii_case(b"user-agent") {
                if !is_naming {
                    (is_own, is_general, is_naming) = (false, false, true);
                }
                let end = value.iter().position(|b| !(b.is_ascii_alphabetic() || matches!(b, b'_' | b'-')));
                is_own |= value[..end.unwrap_or(value.len())].eq_ignore_ascii_case(name.as_bytes());
                is_general |= value == b"*";
                if is_own {
                    own.is_there = true;
                }
                continue;
            }
            let allows = key.eq_ignore_ascii_case(b"allow");
            let is_rule = allows || key.eq_ignore_ascii_case(b"disallow");
            let is_delay = key.eq_ignore_ascii_case(b"crawl-delay");
            if is_rule || is_delay {
                is_naming = false;
            }
            for group in [is_own.then_some(&mut own), is_general.then_some(&mut general)].into_iter().flatten() {
                if is_rule {
                    group.add(allows, value);
                } else if is_delay {
                    group.delay = delay(value).or(group.delay);
                }
            }
        }
        let Group { rules, delay, .. } = if own.is_there { own } else { general };
        Rules { rules, delay, unreachable: None }
    }

    /// Whether a path with its query may be asked for: the longest rule that fits decides; of two, the one that allows.
    pub fn permission(&self, path: &str) -> Permission {
        if path == "/robots.txt" {
            return Permission::Granted;
        }
        if self.unreachable.is_some() {
            return Permission::Unknown;
        }
        let path = normal(path.as_bytes());
        let fitting = self.rules.iter().filter(|rule| rule.fits(&path));
        match fitting.max_by_key(|rule| (rule.pattern.len(), rule.allows)) {
            Some(rule) if !rule.allows => Permission::Refused,
            _ => Permission::Granted,
        }
    }

    /// What the robot shall wait from one request to the next.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    fn weight(&self) -> u32 {
        let bytes: usize = self.rules.iter().map(|rule| size_of::<Rule>() + rule.pattern.len()).sum();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

#[derive(Default)]
struct Group {
    is_there: bool,
    rules: Vec<Rule>,
    bytes: usize,
    delay: Option<Duration>,
}

impl Group {
    fn add(&mut self, allows: bool, value: &[u8]) {
        // An empty `Disallow` refuses nothing.
        if value.is_empty() || self.rules.len() >= MOST_RULES || self.bytes + value.len() > MOST_BYTES {
            return;
        }
        let (value, is_anchored) = match value.strip_suffix(b"$") {
            Some(value) => (value, true),
            None => (value, false),
        };
        let pattern = normal(value).into_boxed_slice();
        self.bytes += pattern.len();
        self.rules.push(Rule { allows, pattern, is_anchored });
    }
}

impl Rule {
    fn fits(&self, path: &[u8]) -> bool {
        let mut parts = self.pattern.split(|&b| b == b'*');
        let Some(mut rest) = path.strip_prefix(parts.next().unwrap_or_default()) else { return false };
        let mut parts = parts.peekable();
        let mut is_open = false;
        while let Some(part) = parts.next() {
            is_open = true;
            if parts.peek().is_none() && self.is_anchored {
                return rest.ends_with(part);
            }
            let Some(at) = memmem::find(rest, part) else { return false };
            rest = &rest[at + part.len()..];
        }
        is_open || !self.is_anchored || rest.is_empty()
    }
}

/// Seconds, perhaps with a fraction.
fn delay(value: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// One spelling for what means the same: escapes only where they are needed, in upper case.
fn normal(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let digit = |at: usize| text.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut at = 0;
    while at < text.len() {
        let escaped = match text[at] {
            b'%' => digit(at + 1).zip(digit(at + 2)).map(|(high, low)| (high * 16 + low) as u8),
            _ => None,
        };
        let byte = escaped.unwrap_or(text[at]);
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if is_plain || (escaped.is_none() && byte.is_ascii() && byte > b' ') {
            out.push(byte);
        } else {
            out.extend(format!("%{byte:02X}").bytes());
        }
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

/// What an origin takes of the room.
fn weight(origin: &str, cell: &Cell) -> u32 {
    cell.get().map_or(0, |rules| rules.weight()).saturating_add(origin.len() as u32 + 200)
}

/// What origins said, for a day.
#[derive(Debug)]
pub(super) struct Cache {
    origins: OnceLock<Moka<Arc<str>, Cell>>,
}

type Cell = Arc<OnceCell<Arc<Rules>>>;

impl Default for Cache {
    fn default() -> Self {
        Cache { origins: OnceLock::new() }
    }
}

impl Cache {
    fn origins(&self) -> &Moka<Arc<str>, Cell> {
        self.origins.get_or_init(|| {
            Moka::builder()
                .max_capacity(KEPT)
                .weigher(|origin: &Arc<str>, cell: &Cell| weight(origin, cell))
                .time_to_live(FRESH)
                .build()
        })
    }

    /// Where what an origin says stands, or will.
    pub fn cell(&self, url: &Url) -> Cell {
        let origin: Arc<str> = url[..Position::BeforePath].into();
        let cell = self.origins().get_with(origin.clone(), Cell::default);
        if !cell.get().is_some_and(|rules| rules.is_stale()) {
            return cell;
        }
        // Who comes at the same moment may ask too: the pace holds for both.
        let fresh = Cell::default();
        self.origins().insert(origin, fresh.clone());
        fresh
    }

    /// Its file has come: from now on it takes room.
    pub fn weigh(&self, url: &Url, cell: &Cell) {
        self.origins().insert(url[..Position::BeforePath].into(), cell.clone());
    }
}

/// Bytes of a file that are read (RFC 9309, 2.5 wants 500 KiB).
pub(super) const LONGEST: usize = 512 << 10;

/// Rules of a file that are kept, and bytes of them.
const MOST_RULES: usize = 1000;
const MOST_BYTES: usize = 64 << 10;

/// Bytes for the rules of all origins.
pub const KEPT: u64 = 64 << 20;

/// How long it is believed that a server does not answer.
const AGAIN: Duration = Duration::from_secs(60);

/// How long they are believed (RFC 9309, 2.4: not longer than a day).
const FRESH: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<'a>(text: &str, paths: &[&'a str]) -> Vec<&'a str> {
        let rules = Rules::parse(text.as_bytes(), "waypost");
        paths.iter().copied().filter(|path| rules.permission(path) != Permission::Granted).collect()
    }

    #[test]
    fn the_longest_rule_decides() {
        let text = "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /*.php$\nDisallow: /x*y*z\nAllow: /same\nDisallow: /same\n";
        let paths =
            ["/", "/a", "/a/b/c", "/ab", "/i.php", "/i.php?x", "/d/i.php", "/x-y-z-", "/xz", "/same", "/robots.txt"];
        assert_eq!(refused(text, &paths), ["/a", "/ab", "/i.php", "/d/i.php", "/x-y-z-"]);
        assert_eq!(refused("User-agent: *\nDisallow: /$\n", &["/", "/a"]), ["/"]);
        assert_eq!(refused("User-agent: *\nDisallow:\n", &["/", "/a"]), [""; 0]);
    }

    #[test]
    fn groups_are_for_those_they_name() {
        let text = "disallow: /nobody\nUser-Agent: baidu\nDisallow: /\n\nuser-agent: other\nUSER-AGENT: Waypost/9 # us\n\
            Disallow: /w\nSitemap: http://a.example/s.xml\nDisallow: /w2\r\nUser-agent: *\nDisallow: /g\nUser-agent: waypost\nDisallow: /later";
        assert_eq!(refused(text, &["/w", "/w2", "/g", "/later", "/nobody"]), ["/w", "/w2", "/later"]);
        assert_eq!(refused("User-agent: waypost-other\nDisallow: /\n", &["/"]), [""; 0]);
        assert_eq!(refused("\u{feff}User-agent: *\nDisallow: /", &["/"]), ["/"]);
        assert_eq!(refused("User-agent: waypost\n\nUser-agent: b\nUser-agent: *\nDisallow: /", &["/"]), ["/"]);
    }

    #[test]
    fn spellings() {
        let text = "User-agent: *\nDisallow: /a%7eb\nDisallow: /新闻\nDisallow: /%e9%95%87\nDisallow: /x%2fy";
        let paths = ["/a~b", "/a%7Eb", "/%E6%96%B0%E9%97%BB/1", "/%e9%95%87", "/x/y", "/x%2Fy"];
        assert_eq!(refused(text, &paths), ["/a~b", "/a%7Eb", "/%E6%96%B0%E9%97%BB/1", "/%e9%95%87", "/x%2Fy"]);
    }

    #[test]
    fn delays_and_limits() {
        let delay = |text: &str| Rules::parse(text.as_bytes(), "waypost").delay();
        assert_eq!(delay("User-agent: *\nCrawl-delay: 2.5"), Some(Duration::from_millis(2500)));
        for bad in ["-1", "NaN", "inf", "1e400", "x", ""] {
            assert_eq!(delay(&format!("User-agent: *\nCrawl-delay: {bad}")), None, "{bad}");
        }
        let many = format!("User-agent: *\n{}", "Disallow: /aaaaaaaaaaaaaaaa*aaaaaaaaaa*a\n".repeat(20_000));
        let rules = Rules::parse(many.as_bytes(), "waypost");
        assert_eq!(rules.rules.len(), MOST_RULES);
        assert_eq!(Rules::unreachable(None).permission("/"), Permission::Unknown);
    }
}
