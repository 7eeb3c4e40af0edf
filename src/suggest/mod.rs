//! Suggestions: where an old address that nothing is said of may have gone.
//!
//! [`suggest()`] takes what there is ([`Material`]): old addresses with hits and perhaps titles, pages of the new platform (sitemaps,
//! exports, lists), exports of the platform (old id → new URL), and pairs that are known. It gives each old address the likeliest
//! page with a confidence and reasons in words. [`sources`] reads the files; [`accept`] adds rows to a site's mapping table.
//!
//! The way: titles that are equal → rules learnt for each family of addresses (`rules`: which number is the id of which list,
//! with which offset, as far as neighbours, days, columns and known pairs bear it out) → titles confirm or contradict → columns
//! and names → one page for one article (`engine`).
//!
//! Owns: reading of sitemaps and exports, the learning, and the rows that are added. Never does: network (`cli` fetches),
//! decisions of a gateway, writing below the threshold that was asked for.
//!
//! Invariants: nothing here knows a CMS by name; time and memory grow with the numbers of addresses and pages, not with their
//! product; files are hostile: sizes, depth and counts are bounded; the same material gives the same suggestions.
//!
//! Called by: `cli`.

pub mod accept;
pub mod sources;

mod engine;
mod rules;
mod shape;
mod wording;

pub use shape::Day;

/// An old address that is to be led somewhere.
#[derive(Clone, Debug, Default)]
pub struct Old {
    /// Its canonical key, as a row of a mapping table has it.
    pub key: String,
    /// The title that its page had, if anybody knows.
    pub title: Option<String>,
    /// How often it was asked for.
    pub hits: u64,
}

/// A page of the new platform.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its URL.
    pub url: String,
    /// Its title.
    pub title: Option<String>,
    /// The day on which it was first published.
    pub day: Option<Day>,
}

/// Everything that suggestions are made from. Numbers are places in `pages`.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// What is looked for.
    pub olds: Vec<Old>,
    /// Where it may be.
    pub pages: Vec<Page>,
    /// Exports: the heading of the column of old ids, and its rows.
    pub exports: Vec<(String, Vec<(String, u32)>)>,
    /// What exports say of whole old addresses (canonical keys).
    pub told: Vec<(String, u32)>,
    /// Pairs that are in force already: from them rules are learnt.
    pub known: Vec<(String, u32)>,
}

/// What is suggested for an old address.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// Its place in [`Material::olds`].
    pub old: usize,
    /// The likeliest page.
    pub best: Option<Choice>,
    /// The next.
    pub second: Option<Choice>,
}

/// A page that may be the right one.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its place in [`Material::pages`].
    pub page: usize,
    /// From 0 to 1: how many of a hundred such suggestions are right.
    pub confidence: f64,
    /// Why, the strongest first.
    pub reasons: Vec<Reason>,
}

/// Why a page may be the right one.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// An export names the old address.
    Told,
    /// An export (by number) has the id that the address contains.
    Export {
        /// The id.
        id: String,
        /// Number of the export.
        export: usize,
    },
    /// The page's address contains the number of the old one, plus an offset; so do those of a share of such addresses.
    Number {
        /// The number.
        id: String,
        /// What is added.
        offset: i64,
        /// How many of such addresses have such a page, from 0 to 1.
        share: f64,
    },
    /// Both have a file of that name.
    Name {
        /// The name.
        name: String,
    },
    /// Their titles are equal.
    SameTitle,
    /// Their titles are alike, from 0 to 1.
    AlikeTitle(f64),
    /// Pages of its folder went to that of the page: so many, of so many.
    Folder {
        /// How many.
        with: u32,
        /// Of how many.
        of: u32,
    },
    /// Another old address has as good a claim.
    Contested,
}

impl Reason {
    /// In words; `export` names exports.
    pub fn words(&self, export: impl Fn(usize) -> String) -> String {
        match self {
            Reason::Told => "an export has this address".to_owned(),
            Reason::Export { id, export: number } => format!("id {id} in {}", export(*number)),
            Reason::Number { id, offset: 0, share } => {
                format!("number {id} in both addresses ({:.0} % of such have a page)", share * 100.0)
            }
            Reason::Number { id, offset, share } => {
                format!("number {id}{offset:+} in the new address ({:.0} % of such have a page)", share * 100.0)
            }
            Reason::Name { name } => format!("same name `{name}`"),
            Reason::SameTitle => "same title".to_owned(),
            Reason::AlikeTitle(likeness) => format!("titles alike ({:.0} %)", likeness * 100.0),
            Reason::Folder { with, of } => format!("{with} of {of} pages of its folder went there"),
            Reason::Contested => "another old address claims the page".to_owned(),
        }
    }
}

/// Suggests a page for each old address, in their order.
pub fn suggest(material: &Material) -> Vec<Suggestion> {
    engine::suggest(material)
}
