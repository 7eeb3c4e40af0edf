//! Patterns of paths that only scanners ask for: how they are written, and those that are shipped.

use std::fmt;

/// A checked pattern; `probes.txt` says how it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbePattern(Box<str>);

/// Why a text is no pattern. The file is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFault {
    /// It has no name in it, and would hit every path.
    #[error("it would hit every address: name a file or a folder")]
    Everything,
    /// It has a character that no path has as it is compared.
    #[error("{0:?} is never found: paths are compared in lower case, without escapes, parameters and queries")]
    Character(char),
    /// It is longer than any name.
    #[error("it is longer than {MOST} characters")]
    TooLong,
}

impl ProbePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ProbeFault> {
        if text.len() > MOST {
            return Err(ProbeFault::TooLong);
        }
        if !text.trim_matches('/').split('/').all(|name| name.chars().any(|c| c != '*') || name == "*")
            || !text.chars().any(|c| !matches!(c, '*' | '/'))
        {
            return Err(ProbeFault::Everything);
        }
        let is_odd = |c: char| c.is_control() || c.is_uppercase() || matches!(c, ' ' | '?' | '#' | '%' | '\\' | ';');
        match text.chars().find(|&c| is_odd(c)) {
            Some(odd) => Err(ProbeFault::Character(odd)),
            None => Ok(ProbePattern(text.into())),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it begins at the root.
    pub fn is_anchored(&self) -> bool {
        self.0.starts_with('/')
    }

    /// The names that must follow on each other, each with `*` for any text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.trim_matches('/').split('/')
    }

    /// Those that are shipped, in the order of the list.
    pub fn shipped() -> impl Iterator<Item = ProbePattern> {
        let lines = include_str!("probes.txt").lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| ProbePattern(line.into()))
    }
}

impl fmt::Display for ProbePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes of a pattern.
const MOST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_patterns_are_told() {
        for text in ["", "*", "/", "/*/", "**", "//", "a//b"] {
            assert_eq!(ProbePattern::parse(text), Err(ProbeFault::Everything), "{text}");
        }
        for (text, odd) in [("A", 'A'), ("a?b", '?'), ("a%20b", '%'), ("a b", ' '), ("a;b", ';'), ("a\\b", '\\')] {
            assert_eq!(ProbePattern::parse(text), Err(ProbeFault::Character(odd)), "{text}");
        }
        assert_eq!(ProbePattern::parse(&"a".repeat(MOST + 1)), Err(ProbeFault::TooLong));
        let good = ProbePattern::parse("/a/*/b*.资料/").unwrap();
        assert!(good.is_anchored() && good.names().eq(["a", "*", "b*.资料"]), "{good:?}");
    }

    #[test]
    fn the_shipped_patterns_are_good_and_no_two_are_the_same() {
        let shipped: Vec<ProbePattern> = ProbePattern::shipped().collect();
        assert!(shipped.len() > 100, "{}", shipped.len());
        for (at, pattern) in shipped.iter().enumerate() {
            assert_eq!(ProbePattern::parse(pattern.as_str()).as_ref(), Ok(pattern));
            assert!(!shipped[..at].contains(pattern), "{pattern}");
        }
    }
}
