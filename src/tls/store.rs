//! The folder of certificates: what is in it, what is wrong with it, and the index that follows from both.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustls::sign::CertifiedKey;

use super::{
    cert::Cert,
    chain::Issuers,
    file::{CERTIFICATE, CertFile, Key, block_finding, finding, may_hold_certificates, must_hold_certificates},
    index::{Entry, Index},
    passphrase::Keeper,
    staples::Staples,
};
use crate::config::{Diagnostic, Gateway, Severity, Stamp};
use crate::routing::scan;

/// A certificate that lasts less than this, in seconds, is warned of. (ACME clients renew 30 days ahead, so at 21 days a
/// renewal has failed.)
const SOON: i64 = 21 * 86_400;

/// The folder, below that of certificates, of what the gateway gets by itself.
pub const ACME_FOLDER: &str = "acme";

/// The folder, below that of certificates, of what is remembered of authorities; hidden, so that it is not read as one of
/// certificates.
pub const STATE_FOLDER: &str = "acme/.state";

/// What a reading of the folder came to.
#[derive(Clone, Debug, Default)]
pub struct CertReport {
    /// Everything that is wrong now, by file.
    pub diagnostics: Vec<Diagnostic>,
    /// Files that were read because they are new or changed.
    pub read: usize,
    /// Files that are gone.
    pub removed: usize,
    /// Files with errors; what was good in them before stays.
    pub faulty: Vec<String>,
    /// Certificates that are live.
    pub certificates: usize,
    /// Names that they cover, a wildcard counted once.
    pub names: usize,
    /// How long it took.
    pub elapsed: Duration,
}

/// The files of the folder as they were last read.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    files: BTreeMap<String, File>,
    index: Arc<Index>,
    passphrase: Keeper,
    /// Findings that don't depend on the time.
    findings: Vec<Diagnostic>,
}

#[derive(Debug)]
struct File {
    /// What findings call it.
    name: Arc<str>,
    /// Whether it stands in the folder of what the gateway gets by itself.
    is_acme: bool,
    stamp: Stamp,
    content: CertFile,
    /// Its certificates when it last was without errors.
    good: Vec<Arc<Entry>>,
}

impl Store {
    /// The folder of a gateway. Nothing is read yet.
    pub fn new(gateway: &Gateway) -> Self {
        Store {
            root: gateway.certs.clone(),
            files: BTreeMap::new(),
            index: Arc::default(),
            passphrase: Keeper::new(&gateway.tls),
            findings: Vec::new(),
        }
    }

    /// Reads what changed since the last time. A folder that was never there is an empty one.
    ///
    /// # Errors
    /// If the folder can't be read; then everything stays as it was.
    pub fn load(&mut self, now: i64) -> io::Result<CertReport> {
        let start = Instant::now();
        let found = match scan(&self.root, may_hold_certificates) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.files.is_empty() => BTreeMap::new(),
            found => found?,
        };
        let before = self.files.len();
        // What is in a folder that can't be looked at is still there, as far as anyone knows.
        let hidden: Vec<String> =
            found.iter().filter(|(_, stamp)| stamp.is_unreadable()).map(|(path, _)| format!("{path}/")).collect();
        let is_hidden = |path: &str| hidden.iter().any(|folder| path.starts_with(folder));
        self.files.retain(|path, _| found.contains_key(path) || is_hidden(path));
        let removed = before - self.files.len();
        // What was locked may open now.
        let reopens = self.passphrase.refresh();
        let is_known = |file: &File, stamp: &Stamp| file.stamp == *stamp && !(reopens && file.content.is_locked);
        let changed: Vec<(String, Stamp)> = found
            .into_iter()
            .filter(|(name, stamp)| self.files.get(name).is_none_or(|file| !is_known(file, stamp)))
            .collect();
        let mut read = 0;
        for (path, file) in self.read(changed) {
            read += usize::from(!file.content.is_alien);
            let good = self.files.remove(&path).map(|file| file.good).unwrap_or_default();
            self.files.insert(path, File { good, ..file });
        }
        if read > 0 || removed > 0 {
            self.build(now);
        }
        let diagnostics = self.diagnostics(now);
        let faulty: BTreeSet<&Arc<str>> = errors(&diagnostics).map(|finding| &finding.file).collect();
        Ok(CertReport {
            read,
            removed,
            faulty: faulty.into_iter().map(ToString::to_string).collect(),
            certificates: self.index.entries().len(),
            names: self.index.name_count(),
            elapsed: start.elapsed(),
            diagnostics,
        })
    }

    /// Everything that is wrong at `now` (Unix seconds) with what was read.
    pub fn diagnostics(&self, now: i64) -> Vec<Diagnostic> {
        let mut diagnostics = [self.passphrase.findings(), &self.findings].concat();
        diagnostics.extend(self.index.entries().iter().filter_map(|entry| self.dates(entry, now)));
        diagnostics.extend(self.index.entries().iter().filter_map(|entry| stale_staple(entry, now)));
        diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        diagnostics
    }

    /// What is to be served.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Reads files, on every core: checking a key takes a good part of a millisecond.
    fn read(&self, mut paths: Vec<(String, Stamp)>) -> Vec<(String, File)> {
        let read = |paths: Vec<(String, Stamp)>| {
            let file = |(path, stamp): (String, Stamp)| {
                let full = self.root.join(&path);
                let name = Arc::from(full.to_string_lossy());
                // One that held some must not lose them by being emptied.
                let must = must_hold_certificates(&path)
                    || self.files.get(&path).is_some_and(|before| !before.content.is_alien);
                let content = CertFile::read(&full, &name, must, self.passphrase.current());
                let is_acme = Path::new(&path).starts_with(ACME_FOLDER);
                (path, File { name, is_acme, stamp, content, good: Vec::new() })
            };
            paths.into_iter().map(file).collect::<Vec<_>>()
        };
        let threads = thread::available_parallelism().map_or(1, Into::into);
        let share = paths.len().div_ceil(threads).max(MIN_SHARE);
        thread::scope(|scope| {
            let mut workers = Vec::new();
            while paths.len() > share {
                let part = paths.split_off(paths.len() - share);
                workers.push(scope.spawn(move || read(part)));
            }
            let mut files = read(paths);
            for worker in workers {
                files.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            files
        })
    }

    /// Puts keys to certificates, and chains together.
    fn build(&mut self, now: i64) {
        let mut keys: HashMap<&[u8], &Key> = HashMap::new();
        let contents = || self.files.values().map(|file| &file.content);
        for key in contents().flat_map(|content| &content.keys) {
            keys.entry(&key.public).or_insert(key);
        }
        let issuers = Issuers::new(contents().flat_map(|content| &content.certs));
        let public_keys: HashSet<&[u8]> =
            contents().flat_map(|content| &content.certs).map(|cert| cert.public_key()).collect();

        let staples =
            Staples::new(self.files.values().filter_map(|file| Some((&file.name, file.content.response.as_ref()?))));
        let mut findings = Vec::new();
        // By leaf: the same one may stand in several files (`cert.pem` and `fullchain.pem`), and the longest chain wins.
        let mut live: HashMap<&[u8], Arc<Entry>> = HashMap::new();
        let mut of_files: Vec<(Vec<Arc<Entry>>, bool)> = Vec::with_capacity(self.files.len());
        for File { name, is_acme, content, .. } in self.files.values() {
            let mut faults = content.findings.clone();
            let mut entries = Vec::new();
            for key in content.keys.iter().filter(|key| !public_keys.contains(&*key.public)) {
                let message = "this key fits no certificate of the folder";
                let hint = "put the certificate that was issued for it beside it, or remove the key";
                faults.push(
                    block_finding("key-without-certificate", name, key.line, &key.label, message).hint(hint).warning(),
                );
            }
            // An authority is served if it names hosts or its key is here: `openssl req -x509` makes such certificates.
            let is_leaf =
                |cert: &&Arc<Cert>| !cert.is_ca || !cert.names.is_empty() || keys.contains_key(cert.public_key());
            for leaf in content.certs.iter().filter(is_leaf) {
                match keys.get(leaf.public_key()) {
                    Some(key) => {
                        let (entry, fault) = entry((name, *is_acme), leaf, key, &issuers, &content.certs);
                        faults.extend(fault);
                        let entry = match issuers.of(leaf).and_then(|issuer| staples.of(leaf, issuer)) {
                            Some(staple) => entry.with_staple(staple),
                            None => entry,
                        };
                        entries.push(Arc::new(entry));
                    }
                    // The chain of another leaf, which may well name hosts.
                    None if leaf.is_ca => {}
                    None => {
                        let message = format!("this certificate{} has no key", of_names(leaf));
                        let hint = "put its private key into the folder, in this file or in another";
                        faults.push(
                            block_finding("certificate-without-key", name, leaf.line, CERTIFICATE, message).hint(hint),
                        );
                    }
                }
            }
            let healthy = errors(&faults).next().is_none() && entries.iter().all(|entry| entry.is_valid_at(now));
            of_files.push((entries, healthy));
            findings.append(&mut faults);
        }
        findings.extend(staples.into_findings());
        for (entries, _) in &of_files {
            for entry in entries {
                let known = live.entry(&entry.leaf.der).or_insert_with(|| entry.clone());
                if known.certified.cert.len() < entry.certified.cert.len() {
                    *known = entry.clone();
                }
            }
        }
        for (file, _) in self.files.values().zip(&of_files).filter(|(_, (_, healthy))| !healthy) {
            for entry in &file.good {
                live.entry(&entry.leaf.der).or_insert_with(|| entry.clone());
            }
        }
        let served = live.into_values().collect();
        for (file, (entries, healthy)) in self.files.values_mut().zip(of_files) {
            if healthy {
                file.good = entries;
            }
        }
        self.index = Arc::new(Index::new(served));
        self.findings = findings;
    }

    /// What is wrong with a certificate's dates at `now`.
    fn dates(&self, entry: &Arc<Entry>, now: i64) -> Option<Diagnostic> {
        let leaf = &entry.leaf;
        let (from, to) = (leaf.not_before, entry.chain_not_after);
        let what = format!("this certificate{}", of_names(leaf));
        let fault = |code, message: String| block_finding(code, &entry.file, leaf.line, CERTIFICATE, message);
        if from <= now && now <= to - SOON {
            return None;
        }
        let superseded = self.index.is_superseded(entry, now);
        let found = if now > to {
            let what = if leaf.not_after > to { format!("the chain of {what}") } else { what };
            let expired = fault("expired-certificate", format!("{what} expired on {}", date(to)));
            match superseded {
                true => expired.hint("another one is served in its place: remove it").warning(),
                false => expired.hint("replace it, here or in a file of any name"),
            }
        } else if now < from {
            let early = fault("early-certificate", format!("{what} is not valid before {}", date(from)));
            let early = early.hint("check the clock of this machine, or wait");
            if superseded { early.warning() } else { early }
        } else if !superseded {
            let days = (to - now) / 86_400;
            let message =
                format!("{what} expires on {}, in {days} {}", date(to), if days == 1 { "day" } else { "days" });
            fault("expiring-certificate", message).hint("renew it, and see why nobody has").warning()
        } else {
            return None;
        };
        Some(found)
    }
}

/// What is wrong with the response of a certificate at `now` (Unix seconds).
fn stale_staple(entry: &Entry, now: i64) -> Option<Diagnostic> {
    let stapled = entry.stapled.as_ref().filter(|stapled| stapled.until < now)?;
    let message = format!("this OCSP response{} was good until {}", of_names(&entry.leaf), date(stapled.until));
    Some(
        finding("expired-ocsp", &stapled.file, 1, message).hint("fetch it again; it is not stapled any more").warning(),
    )
}

fn entry(
    (file, is_acme): (&Arc<str>, bool),
    leaf: &Arc<Cert>,
    key: &Key,
    issuers: &Issuers<'_>,
    beside: &[Arc<Cert>],
) -> (Entry, Option<Diagnostic>) {
    let (chain, complete) = issuers.chain(leaf, beside);
    let fault = if leaf.names.is_empty() {
        let hint = match leaf.is_ca {
            // Perhaps it is no server's.
            true => "have it issued with subject alternative names; an authority's key does not belong here",
            false => "browsers ignore the common name: have it issued with subject alternative names",
        };
        Some(
            block_finding("nameless-certificate", file, leaf.line, CERTIFICATE, "this certificate names no host")
                .hint(hint),
        )
    } else if !complete {
        let end = chain.last().unwrap_or(leaf).issuer_name();
        let message = format!(
            "the chain of this certificate{} is not complete: `{end}` is neither here nor a root that browsers know",
            of_names(leaf)
        );
        let hint = format!(
            "put the certificate of `{end}` behind it; if that is the root of your own authority, put it anywhere into the folder"
        );
        Some(block_finding("incomplete-chain", file, leaf.line, CERTIFICATE, message).hint(hint).warning())
    } else {
        None
    };
    let not_after = chain.iter().map(|cert| cert.not_after).fold(leaf.not_after, i64::min);
    let ders = std::iter::once(leaf).chain(&chain).map(|cert| cert.der.clone()).collect();
    let certified = CertifiedKey { cert: ders, key: key.signing.clone(), ocsp: None };
    (Entry::new(certified, leaf.clone(), not_after, (file.clone(), is_acme)), fault)
}

fn errors(findings: &[Diagnostic]) -> impl Iterator<Item = &Diagnostic> {
    findings.iter().filter(|finding| finding.severity == Severity::Error)
}

fn of_names(cert: &Cert) -> String {
    match &*cert.names {
        [] => String::new(),
        [name] => format!(" of {name}"),
        [name, others @ ..] => format!(" of {name} and {} more", others.len()),
    }
}

fn date(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// Files that aren't worth a thread of their own.
const MIN_SHARE: usize = 16;
