//! Packs: ready-made rules for the systems that retired sites ran on.
//!
//! Each is a data file (`data/*.toml`) that is part of the program: what the system is, the shapes of its addresses as
//! patterns of the route language, where they go, how sure a sign of the system each is, and examples that the tests run.
//!
//! Owns: the data files and what they say. Never does: parsing patterns or targets, which is for `config` (it expands
//! `[[rule]] pack = "…"`) and `replay` (it looks for signs in URLs).
//!
//! Invariants, which the tests check: names and shapes are known words; all patterns of a shape of a pack have the captures in common that
//! its targets use; every pack has examples, one of an address that it leaves alone, and each comes out as it says.
//!
//! Called by: `config`, `replay`, `cli`.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

/// A set of rules for one system.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// What site files call it.
    pub name: String,
    /// What else people call it.
    pub aliases: Vec<String>,
    /// Its title in Chinese.
    pub zh: String,
    /// And in English.
    pub en: String,
    /// What kind of system it is for.
    #[serde(default)]
    pub kind: Kind,
    /// What one should know before using it.
    pub doc: String,
    /// Pieces of patterns, by the names that stand in them as `$name`; already put in.
    #[serde(default)]
    words: BTreeMap<String, String>,
    /// Its rules, in the order in which they are tried.
    #[serde(rename = "rule")]
    pub rules: Vec<PackRule>,
    /// Further signs of the system, which no rule is for.
    #[serde(default, rename = "sign")]
    pub signs: Vec<Sign>,
    /// What becomes of some URLs.
    #[serde(rename = "example")]
    pub examples: Vec<Example>,
}

/// What a pack is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A system that is known by its addresses.
    #[default]
    System,
    /// Habits of many sites, which only count where no system is known.
    Generic,
    /// Something around a site, whatever system it ran.
    Wrapper,
}

/// A rule of a pack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackRule {
    /// Which kind of page it is for, one of [`SHAPES`]: the key by which a site file says where such pages went.
    pub shape: String,
    /// What it is for.
    pub doc: String,
    /// Its patterns; `$host` in them stands for a host of the site.
    pub from: Vec<String>,
    /// Where it goes below a `prefix`.
    pub to: String,
    /// Whether the query is appended to the target: `keep`.
    #[serde(default)]
    pub query: String,
    /// Where pages go if nothing is said: the site itself.
    pub own: Option<Own>,
    /// How sure a sign of the system it is.
    #[serde(default)]
    pub sign: Strength,
    /// Nobody has shown it to us; it is how the system is said to work.
    #[serde(default)]
    pub unconfirmed: bool,
}

/// Which hosts of a site a rule leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Own {
    /// The one that stands for the site.
    First,
    /// Each, with a pattern of its own.
    Each,
}

/// A sign that no rule is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// What it is.
    pub doc: String,
    /// Its patterns.
    pub like: Vec<String>,
    /// How sure it is.
    pub sign: Strength,
    /// Nobody has shown it to us.
    #[serde(default)]
    pub unconfirmed: bool,
}

/// How sure it is that a site whose URL is like a pattern ran the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// It says nothing.
    #[default]
    None,
    /// It only counts beside other signs.
    Weak,
    /// No system is known, but it is a habit of many.
    Generic,
    /// Hardly anybody else has such URLs.
    Strong,
    /// Nobody else has.
    Certain,
}

/// What becomes of a URL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Path and query of an old URL.
    pub url: String,
    /// The keys of the `[[rule]]`.
    pub with: toml::Table,
    /// The verdict, as `[[test]]`s have it.
    pub expect: String,
}

/// The kinds of page that a pack may tell apart, which are keys of `[[rule]]`.
pub const SHAPES: [&str; 5] = ["article", "column", "file", "search", "page"];

/// All packs, systems first, each kind in the order in which people look for them.
pub fn all() -> &'static [Pack] {
    &PACKS
}

/// The pack of that name.
pub fn find(name: &str) -> Option<&'static Pack> {
    PACKS.iter().find(|pack| pack.name == name)
}

/// The pack that people call so: its name, or another one for the same system.
pub fn find_by_any_name(name: &str) -> Option<&'static Pack> {
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    PACKS.iter().find(|pack| is(&pack.name) || pack.aliases.iter().any(|alias| is(alias)) || is(&pack.zh))
}

impl Pack {
    /// The shapes of its rules, in order.
    pub fn shapes(&self) -> Vec<&str> {
        let mut shapes: Vec<&str> = Vec::new();
        for rule in &self.rules {
            if !shapes.contains(&rule.shape.as_str()) {
                shapes.push(&rule.shape);
            }
        }
        shapes
    }

    /// Whether the site itself is where pages go if nothing is said.
    pub fn needs_no_target(&self) -> bool {
        self.rules.iter().all(|rule| rule.own.is_some())
    }

    /// Its key `hosts` means something.
    pub fn takes_hosts(&self) -> bool {
        self.rules.iter().any(|rule| rule.own == Some(Own::Each))
    }

    /// Puts the words into the patterns.
    fn with_words(mut self) -> Self {
        let froms = self.rules.iter_mut().flat_map(|rule| &mut rule.from);
        for pattern in froms.chain(self.signs.iter_mut().flat_map(|sign| &mut sign.like)) {
            for (name, text) in &self.words {
                *pattern = pattern.replace(&format!("${name}"), text);
            }
        }
        self
    }
}

static PACKS: LazyLock<Vec<Pack>> = LazyLock::new(|| {
    let parse = |text: &str| toml::from_str::<Pack>(text).expect("the data files are tested").with_words();
    DATA.iter().map(|text| parse(text)).collect()
});

/// The data files.
const DATA: [&str; 19] = [
    include_str!("data/jcms.toml"),
    include_str!("data/trs-wcm.toml"),
    include_str!("data/trs-was.toml"),
    include_str!("data/vsb.toml"),
    include_str!("data/eportal.toml"),
    include_str!("data/easysite.toml"),
    include_str!("data/gkmlpt.toml"),
    include_str!("data/phpcms.toml"),
    include_str!("data/powereasy.toml"),
    include_str!("data/kesion.toml"),
    include_str!("data/dedecms.toml"),
    include_str!("data/epoint.toml"),
    include_str!("data/web-content.toml"),
    include_str!("data/column-date.toml"),
    include_str!("data/content-article.toml"),
    include_str!("data/generic-asp.toml"),
    include_str!("data/generic-php.toml"),
    include_str!("data/mobile.toml"),
    include_str!("data/gate-big5.toml"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_files_are_whole() {
        let packs = all();
        for (number, pack) in packs.iter().enumerate() {
            assert!(packs[..number].iter().all(|other| other.name != pack.name), "{}", pack.name);
            assert!(pack.rules.iter().all(|rule| SHAPES.contains(&rule.shape.as_str())), "{}", pack.name);
            assert!(pack.rules.iter().all(|rule| matches!(rule.query.as_str(), "" | "keep")), "{}", pack.name);
            assert!(pack.rules.iter().all(|rule| rule.to.starts_with('/')), "{}", pack.name);
            let dollars = pack.rules.iter().flat_map(|rule| &rule.from).filter(|from| from.contains('$'));
            assert!(dollars.into_iter().all(|from| from.contains("$host")), "{}", pack.name);
            for alias in pack.aliases.iter().chain([&pack.name]) {
                assert_eq!(find_by_any_name(&alias.to_uppercase()).unwrap().name, pack.name);
            }
        }
    }
}
