//! Which certificate a client gets.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use compact_str::CompactString;
use rustls::{SignatureAlgorithm, SignatureScheme, sign::CertifiedKey};

use super::{cert::Cert, ocsp::Staple};

/// A certificate with its chain and key, ready to be served.
#[derive(Debug)]
pub(super) struct Entry {
    pub certified: Arc<CertifiedKey>,
    /// The same with what a responder says of it.
    pub stapled: Option<Stapled>,
    pub leaf: Arc<Cert>,
    /// When the first certificate of the chain expires, in Unix seconds.
    pub chain_not_after: i64,
    /// The file that the leaf stands in.
    pub file: Arc<str>,
    /// Whether the gateway got it by itself.
    pub is_acme: bool,
    /// Which of [`SCHEMES`] the key signs with, as bits.
    schemes: u16,
}

/// A certificate with an OCSP response.
#[derive(Debug)]
pub(super) struct Stapled {
    certified: Arc<CertifiedKey>,
    /// When the response begins and ends to be good, Unix seconds.
    from: i64,
    pub until: i64,
    /// The file of the response.
    pub file: Arc<str>,
}

/// Schemes that keys of any kind sign with, in the order of the bits of [`Entry::schemes`].
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

impl Entry {
    pub fn new(
        certified: CertifiedKey,
        leaf: Arc<Cert>,
        chain_not_after: i64,
        (file, is_acme): (Arc<str>, bool),
    ) -> Self {
        let signs = |scheme: &SignatureScheme| certified.key.choose_scheme(&[*scheme]).is_some();
        let schemes = SCHEMES.iter().enumerate().filter(|(_, scheme)| signs(scheme)).map(|(bit, _)| 1 << bit).sum();
        Entry { certified: Arc::new(certified), stapled: None, leaf, chain_not_after, file, is_acme, schemes }
    }

    /// The same, with a response to be stapled while it is good.
    pub fn with_staple(mut self, staple: Staple) -> Self {
        let Staple { der, from, until, file } = staple;
        let certified = CertifiedKey { ocsp: Some(der), ..CertifiedKey::clone(&self.certified) };
        self.stapled = Some(Stapled { certified: Arc::new(certified), from, until, file });
        self
    }

    /// What is served at `now` (Unix seconds).
    pub fn certified_at(&self, now: i64) -> &Arc<CertifiedKey> {
        match &self.stapled {
            Some(stapled) if stapled.from <= now && now <= stapled.until => &stapled.certified,
            _ => &self.certified,
        }
    }

    /// Whether a client that offers these schemes can check it.
    pub fn suits(&self, offered: &[SignatureScheme]) -> bool {
        let bit = |scheme| SCHEMES.iter().position(|known| known == scheme);
        offered.iter().filter_map(bit).any(|bit| self.schemes & 1 << bit != 0)
    }

    /// Whether it may be served at `now` (Unix seconds).
    pub fn is_valid_at(&self, now: i64) -> bool {
        self.leaf.not_before <= now && now <= self.chain_not_after
    }

    /// RSA or not: for a name that has both, the client decides.
    fn is_rsa(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }
}

/// Certificates by name. Immutable; a reload makes a new one.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Arc<Entry>>,
    exact: Names,
    /// By the name behind `*.`.
    wildcard: Names,
    default: Box<[u32]>,
}

/// Numbers of entries by name, best first.
type Names = HashMap<CompactString, Box<[u32]>, foldhash::fast::RandomState>;

impl Index {
    /// Sorts certificates by their names. Those in a file called `default` are for names that have none.
    pub fn new(mut entries: Vec<Arc<Entry>>) -> Self {
        // What an operator put there before what was ordered, for whoever brings a certificate of another authority means
        // it to be seen; ECDSA before RSA, which costs ten times as much to sign with; newer before older.
        entries.sort_by_cached_key(|entry| {
            (entry.is_acme, entry.is_rsa(), Reverse(entry.leaf.not_before), entry.file.clone())
        });
        let mut exact: HashMap<CompactString, Vec<u32>> = HashMap::new();
        let mut wildcard = exact.clone();
        for (number, entry) in (0..).zip(&entries) {
            for name in &entry.leaf.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                names.entry(name.into()).or_default().push(number);
            }
        }
        let boxed = |names: HashMap<CompactString, Vec<u32>>| {
            names.into_iter().map(|(name, numbers)| (name, numbers.into_boxed_slice())).collect()
        };
        let default =
            (0..).zip(&entries).filter(|(_, entry)| is_default(&entry.file)).map(|(number, _)| number).collect();
        Index { exact: boxed(exact), wildcard: boxed(wildcard), default, entries }
    }

    /// The certificate for a host (lower-case; `None` if the client named none) and the schemes that the client
    /// offers: of the exact name, else of the wildcard one label up, else the default; one that is valid at `now` before
    /// one that is not.
    pub fn pick<'a>(&'a self, name: Option<&'a str>, offered: &[SignatureScheme], now: i64) -> Option<&'a Arc<Entry>> {
        let mut invalid = None;
        for entry in self.candidates(name) {
            if !entry.suits(offered) {
                continue;
            }
            if entry.is_valid_at(now) {
                return Some(entry);
            }
            invalid = invalid.or(Some(entry));
        }
        invalid
    }

    /// Whether a certificate names this host, or all hosts beside it.
    pub fn covers(&self, host: &str) -> bool {
        self.named(host).next().is_some()
    }

    /// Whether a certificate names all hosts one label below `parent`.
    pub fn covers_below(&self, parent: &str) -> bool {
        self.wildcard.contains_key(parent)
    }

    /// Whether there is one for names that have none.
    pub fn has_default(&self) -> bool {
        !self.default.is_empty()
    }

    /// Every certificate.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// How many names are covered, a wildcard counted once.
    pub fn name_count(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    /// Whether each name of a certificate has another, valid one of the same kind, which is served in its place.
    pub fn is_superseded(&self, entry: &Arc<Entry>, now: i64) -> bool {
        !entry.leaf.names.is_empty() && !entry.leaf.names.iter().any(|name| self.is_served(entry, name, now))
    }

    /// Whether it is this certificate that clients of its kind get for one of its names.
    pub fn is_served(&self, entry: &Arc<Entry>, name: &str, now: i64) -> bool {
        let named = match name.strip_prefix("*.") {
            Some(parent) => numbers(&self.wildcard, parent),
            None => numbers(&self.exact, name),
        };
        let same_kind = self.resolve(named).filter(|other| other.is_rsa() == entry.is_rsa());
        let served = same_kind.clone().find(|other| other.is_valid_at(now)).or_else(|| same_kind.clone().next());
        served.is_none_or(|served| Arc::ptr_eq(served, entry))
    }

    fn candidates<'a>(&'a self, name: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Entry>> {
        let named = name.into_iter().flat_map(|name| self.named(name));
        named.chain(self.resolve(&self.default))
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let beside = name.split_once('.').map_or(&[][..], |(_, parent)| numbers(&self.wildcard, parent));
        self.resolve(numbers(&self.exact, name)).chain(self.resolve(beside))
    }

    fn resolve<'a>(&'a self, numbers: &'a [u32]) -> impl Iterator<Item = &'a Arc<Entry>> + Clone {
        numbers.iter().filter_map(|&number| self.entries.get(number as usize))
    }
}

fn numbers<'a>(names: &'a Names, name: &str) -> &'a [u32] {
    names.get(name).map(AsRef::as_ref).unwrap_or_default()
}

fn is_default(file: &str) -> bool {
    std::path::Path::new(file).file_stem().is_some_and(|stem| stem == "default")
}
