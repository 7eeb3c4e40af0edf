//! Requests for what only scanners ask for: the patterns that are shipped, and those of sites.
//!
//! It spares platforms and counts what is never a citizen. It is no wall: what must not be reached is for platforms to
//! refuse, and for the WAF to look at. So it errs towards letting through: dot segments are not resolved, and queries are
//! not read.

use std::{borrow::Cow, collections::HashMap};

use super::hygiene::Decoded;
use crate::config::{GuardSettings, ProbePattern};
use crate::url::split_target;

/// Patterns, found by the names of a path in a time that does not grow with their number.
#[derive(Debug)]
pub(crate) struct Probes {
    patterns: Vec<ProbePattern>,
    /// Patterns by their first name, if it has no `*`.
    exact: HashMap<Box<[u8]>, Vec<usize>, foldhash::fast::RandomState>,
    /// Which lengths such names have (the last bit is for all from 31 on), by their first byte.
    lengths: [u32; 256],
    /// Those whose first name has a `*`, by its first byte.
    by_first: HashMap<u8, Vec<usize>, foldhash::fast::RandomState>,
    /// Those whose first name begins with a `*`, by its last byte.
    by_last: HashMap<u8, Vec<usize>, foldhash::fast::RandomState>,
    /// Those whose first name begins and ends so.
    others: Vec<usize>,
}

/// Those that are shipped.
impl Default for Probes {
    fn default() -> Self {
        Probes::new(&[], &[])
    }
}

impl Probes {
    /// Those of a site: what its own files say, else gateway.toml.
    pub fn of(site: &GuardSettings, gateway: &GuardSettings) -> Self {
        let extra = site.extra_probes.as_ref().or(gateway.extra_probes.as_ref());
        let allow = site.allow_probes.as_ref().or(gateway.allow_probes.as_ref());
        Self::new(extra.map_or(&[], Vec::as_slice), allow.map_or(&[], Vec::as_slice))
    }

    /// The shipped patterns but for those of `allow` (all, if that says `*`), and `extra`.
    fn new(extra: &[ProbePattern], allow: &[String]) -> Self {
        let is_allowed = |pattern: &ProbePattern| allow.iter().any(|allow| allow == "*" || allow == pattern.as_str());
        let patterns = ProbePattern::shipped().filter(|pattern| !is_allowed(pattern)).chain(extra.iter().cloned());
        let mut probes = Probes {
            patterns: patterns.collect(),
            exact: HashMap::default(),
            lengths: [0; 256],
            by_first: HashMap::default(),
            by_last: HashMap::default(),
            others: Vec::new(),
        };
        for (number, pattern) in probes.patterns.iter().enumerate() {
            let name = pattern.names().next().unwrap_or_default().as_bytes();
            let (Some(&first), Some(&last)) = (name.first(), name.last()) else { continue };
            if !name.contains(&b'*') {
                probes.lengths[usize::from(first)] |= length_bit(name);
                probes.exact.entry(name.into()).or_default().push(number);
            } else if first != b'*' {
                probes.by_first.entry(first).or_default().push(number);
            } else if last != b'*' {
                probes.by_last.entry(last).or_default().push(number);
            } else {
                probes.others.push(number);
            }
        }
        probes
    }

    /// The pattern that a request target (as sent) hits, if any does.
    pub fn find(&self, target: &[u8]) -> Option<&ProbePattern> {
        let path = compared(split_target(target).0);
        let mut at = 0;
        let mut is_root = true;
        while at < path.len() {
            let rest = &path[at..];
            let name = &rest[..rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())];
            if let (Some(&first), Some(&last)) = (name.first(), name.last()) {
                let exact = match self.lengths[usize::from(first)] & length_bit(name) {
                    0 => None,
                    _ => self.exact.get(name),
                };
                let candidates = [exact, self.by_first.get(&first), self.by_last.get(&last), Some(&self.others)];
                let hit = candidates.into_iter().flatten().flatten().find(|&&number| {
                    let pattern = &self.patterns[number];
                    (is_root || !pattern.is_anchored()) && follows(pattern, rest)
                });
                if let Some(&number) = hit {
                    return Some(&self.patterns[number]);
                }
                is_root = false;
            }
            at += name.len() + 1;
        }
        None
    }
}

/// Whether the names at the start of `path` are those of a pattern.
fn follows(pattern: &ProbePattern, path: &[u8]) -> bool {
    let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    pattern.names().all(|wanted| names.next().is_some_and(|name| matches(wanted.as_bytes(), name)))
}

/// Whether a name is what a text with `*` says.
fn matches(wanted: &[u8], name: &[u8]) -> bool {
    let (mut w, mut n) = (0, 0);
    // Where the last star stands, and up to where it reaches.
    let mut star = None;
    while n < name.len() {
        if wanted.get(w) == Some(&b'*') {
            star = Some((w, n));
            w += 1;
        } else if wanted.get(w) == Some(&name[n]) {
            (w, n) = (w + 1, n + 1);
        } else if let Some((at, reach)) = star {
            star = Some((at, reach + 1));
            (w, n) = (at + 1, reach + 1);
        } else {
            return false;
        }
    }
    wanted[w..].iter().all(|&byte| byte == b'*')
}

fn length_bit(name: &[u8]) -> u32 {
    1 << name.len().min(31)
}

/// A path as it is compared: decoded once, in lower case, with `/` for `\`, and without the parameters of its names.
fn compared(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.iter().any(|byte| byte.is_ascii_uppercase() || matches!(byte, b'%' | b'\\' | b';')) {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len());
    let mut in_parameter = false;
    for byte in Decoded(path.iter().copied()) {
        let byte = if byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() };
        // What follows a `;` is for servers to read, and no part of a name.
        in_parameter = byte != b'/' && (in_parameter || byte == b';');
        if !in_parameter {
            out.push(byte);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(extra: &[&str], allow: &[&str]) -> Probes {
        let extra: Vec<_> = extra.iter().map(|text| ProbePattern::parse(text).unwrap()).collect();
        Probes::new(&extra, &allow.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    fn find<'p>(probes: &'p Probes, target: &str) -> Option<&'p str> {
        probes.find(target.as_bytes()).map(ProbePattern::as_str)
    }

    #[test]
    fn names_at_their_place_and_nothing_else() {
        let probes = probes(&["/old-cms", "*.tmp", "a/*/b", "资料.zip", "*cache*", "x*y*z"], &[]);
        for (target, want) in [
            ("/.git/config", Some(".git")),
            ("/site/.git", Some(".git")),
            ("/.GIT/HEAD", Some(".git")),
            ("/%2egit/config", Some(".git")),
            ("//x//.git//config", Some(".git")),
            ("/.git;x/config", Some(".git")),
            ("/x\\.git\\config", Some(".git")),
            ("http://old.example/.git/config?x", Some(".git")),
            ("/.env", Some(".env")),
            ("/.env.local", Some(".env.*")),
            ("/backup/site.bak", Some("*.bak")),
            ("/site.BAK?x=y", Some("*.bak")),
            ("/phpMyAdmin-2.11/index.php", Some("phpmyadmin*")),
            ("/actuator", Some("/actuator")),
            ("//actuator/env", Some("/actuator")),
            ("/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", Some("phpunit")),
            ("/_vti_bin/owssvr.dll", Some("_vti_bin")),
            ("/cgi-bin/.%2e/.%2e/bin/sh", Some("cgi-bin/.*")),
            ("/data/%23data.mdb", Some("/data/*.mdb")),
            ("/old-cms/admin", Some("/old-cms")),
            ("/x.tmp/y", Some("*.tmp")),
            ("/x/a/1/b", Some("a/*/b")),
            ("/mycaches", Some("*cache*")),
            ("/x1y2y3z", Some("x*y*z")),
            ("/%E8%B5%84%E6%96%99.zip", Some("资料.zip")),
            ("/资料.zip", Some("资料.zip")),
            ("/git/config", None),
            ("/a.git/config", None),
            ("/.github/x", None),
            ("/bak", None),
            ("/x.bak.html", None),
            ("/x?file=a.bak", None),
            ("/x/actuator", None),
            ("/actuators", None),
            ("/environment", None),
            ("/x/old-cms", None),
            ("/cgi-bin/news.pl", None),
            ("/a/b", None),
            ("/a/1/2/b", None),
            ("/x1y2", None),
            ("/", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(find(&probes, target), want, "{target}");
        }
    }

    #[test]
    fn what_is_allowed_hides_nothing_else() {
        let some = probes(&[], &["*.bak", "wp-login.php"]);
        assert_eq!(find(&some, "/x.bak"), None);
        assert_eq!(find(&some, "/wp-login.php"), None);
        assert_eq!(find(&some, "/.git/x.bak"), Some(".git"));
        let none = probes(&["mine"], &["*"]);
        assert_eq!((find(&none, "/.git/"), find(&none, "/mine")), (None, Some("mine")));
    }

    #[test]
    fn each_shipped_pattern_finds_itself() {
        let probes = probes(&[], &[]);
        for pattern in ProbePattern::shipped() {
            let path = format!("/{}", pattern.as_str().trim_start_matches('/').replace('*', "x"));
            assert!(find(&probes, &path).is_some(), "{pattern}");
        }
    }
}
