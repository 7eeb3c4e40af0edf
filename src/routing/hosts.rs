//! Sets of host patterns that are asked in constant time.

use std::collections::HashSet;

use crate::model::{Host, HostPattern, split_scheme};

/// Hosts, and whole domains below a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSet {
    exact: HashSet<Box<str>>,
    below: HashSet<Box<str>>,
}

impl HostSet {
    /// Adds a pattern.
    pub fn insert(&mut self, pattern: &HostPattern) {
        match pattern {
            HostPattern::Exact(host) => self.exact.insert(host.as_str().into()),
            HostPattern::Below(host) => self.below.insert(host.as_str().into()),
        };
    }

    /// Whether a canonical host is meant by one of the patterns.
    pub fn contains(&self, host: &str) -> bool {
        self.exact.contains(host) || (!self.below.is_empty() && parents(host).any(|parent| self.below.contains(parent)))
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// Whether the host of an absolute URL is meant, if it has one in canonical spelling.
    pub fn contains_url(&self, url: &str) -> bool {
        let Some((_, rest)) = split_scheme(url) else { return false };
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        Host::parse(authority.as_bytes()).is_ok_and(|host| self.contains(host.as_str()))
    }

    /// Whether every host that `other` means is meant here too, as far as the patterns show.
    pub fn covers(&self, other: &HostSet) -> bool {
        other.exact.iter().all(|host| self.contains(host)) && other.below.is_subset(&self.below)
    }
}

impl Extend<HostPattern> for HostSet {
    fn extend<I: IntoIterator<Item = HostPattern>>(&mut self, patterns: I) {
        patterns.into_iter().for_each(|pattern| self.insert(&pattern));
    }
}

impl<'a> FromIterator<&'a HostPattern> for HostSet {
    fn from_iter<I: IntoIterator<Item = &'a HostPattern>>(patterns: I) -> Self {
        let mut set = HostSet::default();
        patterns.into_iter().for_each(|pattern| set.insert(pattern));
        set
    }
}

/// The domains that a host is below, nearest first: `b.c` and `c` for `a.b.c`.
pub(super) fn parents(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').map(|(dot, _)| &host[dot + 1..])
}

/// Writes the host that a preview stands for into `buf`: HOST for `aka-HOST`, `www.REST` for `aka.REST`. `None` if
/// `host` is no preview.
pub(super) fn previewed(host: &str, buf: &mut String) -> Option<()> {
    let rest = host.strip_prefix("aka")?;
    buf.clear();
    match rest.as_bytes().first()? {
        b'-' => buf.push_str(&rest[1..]),
        b'.' => {
            buf.push_str("www");
            buf.push_str(rest);
        }
        _ => return None,
    }
    Some(())
}
