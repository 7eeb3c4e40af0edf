//! What is in the folder, told to people and to whoever renews it.

use std::{collections::HashSet, io, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use super::{
    index::{Entry, Index},
    now,
    store::Store,
};
use crate::config::{Diagnostic, Gateway};

/// The certificates of a folder, and what else is to be said of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inventory {
    /// Those that have their keys, by file.
    pub certificates: Vec<CertInfo>,
    /// Findings that concern none of them: files that can't be read, keys and certificates that lack their other half.
    pub findings: Vec<Diagnostic>,
}

/// A certificate and what is known of it.
#[derive(Clone, Debug, Serialize)]
pub struct CertInfo {
    /// The file that it stands in, as findings name it.
    pub file: Arc<str>,
    /// The line where it begins.
    pub line: u32,
    /// The names that it covers, in lower case; a wildcard is `*.name`.
    pub names: Vec<String>,
    /// Those of them for which it is what clients get, or would if they can check it.
    pub served: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// SHA-256 of its DER, in hex: its id.
    pub sha256: String,
    /// When it begins to be valid, Unix seconds.
    pub not_before: i64,
    /// When it, or the first of its chain, ends to be, Unix seconds.
    pub not_after: i64,
    /// Until when the OCSP response is good that is stapled to it, Unix seconds, if there is one.
    pub ocsp_until: Option<i64>,
    /// Whether the gateway got it by itself.
    pub is_acme: bool,
    /// What is wrong with it, or with its key.
    pub problems: Vec<Diagnostic>,
}

impl Inventory {
    /// The names that valid certificates of the operator's own cover at `now` (Unix seconds).
    pub fn own_names(&self, now: i64) -> HashSet<String> {
        let own = self.certificates.iter().filter(|own| !own.is_acme && own.is_valid_at(now));
        own.flat_map(|own| &own.names).cloned().collect()
    }
}

impl CertInfo {
    /// Whether it may be served at `now` (Unix seconds).
    pub fn is_valid_at(&self, now: i64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether it names a host in canonical spelling (or a wildcard, `*.name`), by itself or as one of all beside it.
    pub fn covers(&self, name: &str) -> bool {
        let is_below = |wildcard: &str| {
            let parent = wildcard.strip_prefix("*.");
            parent.is_some_and(|parent| name.split_once('.').is_some_and(|(_, rest)| rest == parent))
        };
        self.names.iter().any(|own| own == name || is_below(own))
    }
}

/// What is in the folder of a gateway now, for commands.
///
/// # Errors
/// If the folder can't be read. One that is not there is empty.
pub fn inventory(gateway: &Gateway) -> io::Result<Inventory> {
    let mut store = Store::new(gateway);
    let now = now();
    let report = store.load(now)?;
    Ok(take(store.index(), report.diagnostics, now))
}

/// What an index has, with the findings about the files that it was made from.
pub(super) fn take(index: &Index, findings: Vec<Diagnostic>, now: i64) -> Inventory {
    let mut certificates: Vec<CertInfo> = index.entries().iter().map(|entry| info(index, entry, now)).collect();
    certificates.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    let mut others = Vec::new();
    for finding in findings {
        let start = certificates.partition_point(|info| info.file < finding.file);
        let count = certificates[start..].partition_point(|info| info.file == finding.file);
        // A file with one certificate has no other that a finding could be about.
        match certificates[start..start + count].iter_mut().find(|info| count == 1 || info.line == finding.line) {
            Some(info) => info.problems.push(finding),
            None => others.push(finding),
        }
    }
    Inventory { certificates, findings: others }
}

fn info(index: &Index, entry: &Arc<Entry>, now: i64) -> CertInfo {
    let leaf = &entry.leaf;
    let names = || leaf.names.iter();
    CertInfo {
        file: entry.file.clone(),
        line: leaf.line,
        names: names().map(ToString::to_string).collect(),
        served: names().filter(|name| index.is_served(entry, name, now)).map(ToString::to_string).collect(),
        issuer: leaf.issuer_name(),
        sha256: digest(&SHA256, &leaf.der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        not_before: leaf.not_before,
        not_after: entry.chain_not_after,
        ocsp_until: entry.stapled.as_ref().map(|stapled| stapled.until).filter(|&until| now <= until),
        is_acme: entry.is_acme,
        problems: Vec::new(),
    }
}
