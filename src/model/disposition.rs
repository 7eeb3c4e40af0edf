//! What the consolidation does with a site.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a site is retired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disposition {
    /// It is retired: the gateway answers for it.
    #[default]
    Close,
    /// It stays as it is.
    Keep,
    /// It stays as it is, and does not count.
    Exempt,
}

impl Disposition {
    /// The words that route files use, in the order of the variants.
    pub const WORDS: [&str; 3] = ["close", "keep", "exempt"];

    /// The variant that a word means.
    pub fn parse(word: &str) -> Option<Self> {
        [Disposition::Close, Disposition::Keep, Disposition::Exempt].into_iter().find(|known| known.name() == word)
    }

    /// The word that route files use.
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
