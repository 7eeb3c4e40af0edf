//! Hosts that should be frozen: nobody is sent there any more until a person says otherwise.
//!
//! Verification proposes. A host is written into the list (`[guard] frozen-file`) when an operator says so, or by itself where
//! `[verify] freeze` is set, and then only for signs of a hijack; a host that sites call home, or a platform's, only if most of
//! what was looked at there has them: one page with a bad comment does not take a county offline.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    path::Path,
};

use ::url::Url;

use super::kind::{Kind, Kinds};
use super::results::{Finding, Results};
use crate::hits::HitsError;
use crate::model::HostPattern;
use crate::routing::Snapshot;

/// A host that should perhaps be frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The host.
    pub host: String,
    /// Why: a target, and what was seen there.
    pub reason: String,
    /// How many targets speak for it.
    pub targets: u64,
    /// How many targets of the host were looked at.
    pub looked: u64,
    /// Whether it shows signs of a hijack; else its targets lead to hosts that nobody allowed.
    pub is_hijacked: bool,
    /// Whether sites call it home.
    pub is_home: bool,
}

impl Proposal {
    /// Whether it may be frozen without a person who says so.
    pub fn is_certain(&self) -> bool {
        self.is_hijacked && (!self.is_home || self.targets * 2 > self.looked)
    }
}

/// What the last results speak for, of hosts that are not frozen.
///
/// # Errors
/// If the database fails.
pub fn proposals(
    results: &mut Results,
    snapshot: &Snapshot,
    homes: &BTreeSet<String>,
) -> Result<Vec<Proposal>, HitsError> {
    let kinds = Kinds::from(Kind::Hijack).with(Kind::Foreign);
    let found = results.findings(None, kinds, MOST)?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let looked = results.hosts(Kind::Hijack)?;
    let mut hosts: BTreeMap<String, (Finding, BTreeSet<String>)> = BTreeMap::new();
    for finding in found {
        let is_hijacked = finding.kinds.has(Kind::Hijack);
        // The page that was seen may be another host's. A host that leads astray is the target's own.
        let seen_at = Url::parse(&finding.landing).ok().and_then(|url| Some(url.host_str()?.to_owned()));
        let host = seen_at.filter(|_| is_hijacked).unwrap_or_else(|| finding.host.clone());
        if snapshot.frozen().contains(&host) || (!is_hijacked && homes.contains(&host)) {
            continue;
        }
        let url = finding.url.clone();
        let (worst, urls) = hosts.entry(host).or_insert_with(|| (finding.clone(), BTreeSet::new()));
        if is_hijacked && !worst.kinds.has(Kind::Hijack) {
            *worst = finding;
            urls.clear();
        }
        if is_hijacked == worst.kinds.has(Kind::Hijack) {
            urls.insert(url);
        }
    }
    let proposal = |(host, (finding, urls)): (String, (Finding, BTreeSet<String>))| Proposal {
        reason: format!("{}: {}", finding.url, finding.detail),
        targets: urls.len() as u64,
        looked: looked.get(&host).map_or(0, |&(looked, _)| looked),
        is_hijacked: finding.kinds.has(Kind::Hijack),
        is_home: homes.contains(&host),
        host,
    };
    Ok(hosts.into_iter().map(proposal).collect())
}

/// Hosts that sites call home.
pub fn homes(snapshot: &Snapshot) -> BTreeSet<String> {
    let homes = snapshot.sites().iter().filter_map(|site| site.home.as_ref());
    homes.map(|home| home.host().as_str().to_owned()).collect()
}

/// Adds hosts to a list of frozen hosts, each with a reason. What is there stays, to the byte; hosts that are there are not
/// added again. Says which were added.
///
/// # Errors
/// If the file can't be read or written. Then it is as it was.
pub fn freeze(file: &Path, hosts: &[(String, String)], date: &str) -> io::Result<Vec<String>> {
    let before = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let there: BTreeSet<String> = before
        .lines()
        .filter_map(|line| HostPattern::parse(line.split('#').next()?.trim()).ok())
        .map(|pattern| pattern.to_string())
        .collect();
    let mut text = before;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut added = Vec::new();
    for (host, reason) in hosts {
        let Ok(pattern) = HostPattern::parse(host) else { continue };
        if there.contains(&pattern.to_string()) || added.contains(host) {
            continue;
        }
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        text.push_str(&format!("{pattern}  # {date} waypost verify: {reason}\n"));
        added.push(host.clone());
    }
    if added.is_empty() {
        return Ok(added);
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut out = fs::File::create(&new)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        if let Ok(old) = fs::metadata(file) {
            fs::set_permissions(&new, old.permissions())?;
        }
        fs::rename(&new, file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map(|()| added)
}

/// Findings that are looked at.
const MOST: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_and_keep_what_they_have() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("frozen.txt");
        let hosts =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "a\nb".to_owned())).collect::<Vec<_>>();
        assert_eq!(freeze(&file, &hosts(&["a.example"]), "2026-11-23").unwrap(), ["a.example"]);
        fs::write(&file, format!("{}# ours\n*.b.example", fs::read_to_string(&file).unwrap())).unwrap();
        assert_eq!(
            freeze(&file, &hosts(&["A.example", "c.example", "c.example", "no host"]), "2026-11-24").unwrap(),
            ["c.example"]
        );
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "a.example  # 2026-11-23 waypost verify: a b\n# ours\n*.b.example\nc.example  # 2026-11-24 waypost verify: a b\n"
        );
        assert!(freeze(Path::new("/no/such/folder/f"), &hosts(&["a.example"]), "").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_home_is_not_frozen_for_one_page() {
        let proposal = |targets, is_home, is_hijacked| Proposal {
            host: String::new(),
            reason: String::new(),
            targets,
            looked: 10,
            is_hijacked,
            is_home,
        };
        assert!(proposal(1, false, true).is_certain());
        assert!(!proposal(1, true, true).is_certain());
        assert!(proposal(6, true, true).is_certain());
        assert!(!proposal(10, false, false).is_certain());
    }
}
