//! Whether a site insists on HTTPS.

use std::fmt;

/// What happens to a request that came by plain HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Https {
    /// It is answered as by HTTPS.
    #[default]
    Allow,
    /// It is redirected to the same URL with `https://`.
    Redirect,
    /// It is refused with 403, by a page that links to the same URL with `https://`.
    Require,
}

impl Https {
    /// The words that route files use, in the order of the variants.
    pub const WORDS: [&str; 3] = ["allow", "redirect", "require"];

    /// The variant that a word means.
    pub fn parse(word: &str) -> Option<Self> {
        [Https::Allow, Https::Redirect, Https::Require].into_iter().find(|https| https.name() == word)
    }

    /// The word that route files use.
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl fmt::Display for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
