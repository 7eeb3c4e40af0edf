//! What can be wrong with a target.

use std::fmt;

macro_rules! kinds {
    ($($name:ident $text:literal $doc:literal;)*) => {
        /// What can be wrong with a target. Numbers stand in the database: new ones come last.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Kind {
            $(#[doc = $doc] $name,)*
        }

        impl Kind {
            /// All of them, the worst first.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            /// The word for output and labels.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$name => $text,)*
                }
            }

            /// What it means, for people.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Kind::$name => $doc,)*
                }
            }
        }
    };
}

kinds! {
    Dead "dead" "no answer, or an error";
    Soft404 "soft-404" "a page that says it is not there, with status 200";
    Loop "loop" "redirects that never end";
    Hops "hops" "more than one redirect";
    Foreign "foreign" "leads to a host that targets may not have";
    Moved "moved" "leads to another host than last time";
    Slow "slow" "takes more than 3 seconds";
    Type "content-type" "another kind of content than its name says";
    Hijack "hijack" "signs that somebody has taken the page over";
    Title "title" "quite another title than last time, which may be a sign of a hijack";
    Robots "robots" "not looked at: robots.txt does not want it";
}

/// Some kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kinds(u32);

impl Kinds {
    /// None.
    pub const NONE: Kinds = Kinds(0);

    /// All but [`Kind::Robots`], which says nothing bad of a target.
    pub fn findings() -> Self {
        Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Robots).collect()
    }

    /// With one more.
    #[must_use]
    pub fn with(self, kind: Kind) -> Self {
        Kinds(self.0 | 1 << kind as u8)
    }

    /// Whether a kind is among them.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, the worst first.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(move |&kind| self.has(kind))
    }

    pub(super) fn bits(self) -> i64 {
        self.0.into()
    }

    /// Bits that this version does not know are dropped.
    pub(super) fn of_bits(bits: i64) -> Self {
        let known = Kind::ALL.iter().copied().collect::<Kinds>();
        Kinds(u32::try_from(bits & known.bits()).unwrap_or_default())
    }
}

impl From<Kind> for Kinds {
    fn from(kind: Kind) -> Self {
        Kinds::NONE.with(kind)
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Kinds::NONE, Kinds::with)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, kind) in self.iter().enumerate() {
            write!(f, "{}{}", if number == 0 { "" } else { ", " }, kind.name())?;
        }
        Ok(())
    }
}
