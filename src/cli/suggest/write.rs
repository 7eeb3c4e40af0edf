//! Suggestions that are sure enough become rows of the site's mapping table; after the same checks as a person's would.

use std::{collections::HashMap, fs, io, path::Path};

use anyhow::{Context, bail};
use serde::Serialize;

use super::super::load;
use super::super::output::count;
use super::gather::{Gathered, key};
use super::{fetch, review};
use crate::config::{Gateway, Severity};
use crate::model::Target;
use crate::routing::{Loader, SiteTable, Snapshot};
use crate::suggest::Suggestion;
use crate::suggest::accept::{NewRow, added, replace};
use crate::suggest::sources::table;

/// What came of rows that were to be added.
#[derive(Debug, Serialize)]
pub(super) struct Added {
    /// The table.
    table: String,
    /// Whether they were, and not only would be.
    written: bool,
    rows: Vec<AddedRow>,
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize)]
struct AddedRow {
    old: String,
    new: String,
    note: String,
}

#[derive(Debug, Serialize)]
struct Refused {
    old: String,
    new: String,
    why: String,
}

/// The rows of suggestions of at least a confidence.
pub(super) fn rows(gathered: &Gathered, suggestions: &[Suggestion], least: f64) -> Vec<NewRow> {
    let row = |n: usize| {
        let best = suggestions[n].best.as_ref().filter(|best| review::shown(best.confidence) >= least)?;
        Some(NewRow {
            old: gathered.material.olds[suggestions[n].old].key.clone(),
            new: gathered.material.pages[best.page].url.clone(),
            note: format!("suggested {:.3}: {}", review::shown(best.confidence), review::reason(gathered, best)),
        })
    };
    review::order(gathered, suggestions).into_iter().filter_map(row).collect()
}

/// The rows of a reviewed table that are to be added.
pub(super) fn reviewed(path: &Path) -> anyhow::Result<Vec<NewRow>> {
    let rows = table(&fetch::bytes(path)?).with_context(|| path.display().to_string())?.rows;
    if !rows.iter().any(|row| row.accept) {
        bail!("{}: no row has `yes` in the column `accept`", path.display());
    }
    let kept = rows.into_iter().filter(|row| row.accept && !row.old.is_empty() && !row.new.is_empty());
    Ok(kept.map(|row| NewRow { old: row.old, new: row.new, note: "suggested, reviewed".to_owned() }).collect())
}

/// Adds rows to the table of a site.
///
/// # Errors
/// If the table can't be written, or would have errors; it is as it was then.
pub(super) fn add(
    gateway: &Gateway,
    snapshot: &Snapshot,
    site: usize,
    rows: Vec<NewRow>,
    dry_run: bool,
) -> anyhow::Result<Added> {
    let site = &snapshot.sites()[site];
    let name = format!("{}.csv", site.id);
    let path = gateway.routes.join(&name);
    let (rows, refused) = judged(snapshot, site, rows);
    let mut report = Added { table: path.display().to_string(), written: false, rows: Vec::new(), refused };
    if !rows.is_empty() {
        let before = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        let after = added(&name, before.as_deref(), &rows).with_context(|| path.display().to_string())?;
        if !dry_run {
            put(gateway, site, &path, before.as_deref(), &after)?;
            report.written = true;
        }
    }
    report.rows = rows.into_iter().map(|NewRow { old, new, note }| AddedRow { old, new, note }).collect();
    Ok(report)
}

/// The rows that may be added, and why others may not.
fn judged(snapshot: &Snapshot, site: &SiteTable, rows: Vec<NewRow>) -> (Vec<NewRow>, Vec<Refused>) {
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    let mut seen: HashMap<String, String> = HashMap::new();
    for mut row in rows {
        let fault = match Target::parse(&row.new) {
            Err(error) => Some(error.to_string()),
            Ok(target) => fault(snapshot, site, &row, &target, &mut seen),
        };
        match (fault, key(site, &row.old)) {
            (None, Some(key)) => {
                row.old = key;
                good.push(row);
            }
            (fault, _) => {
                let why = fault.unwrap_or_else(|| "the old address is none of this site".to_owned());
                refused.push(Refused { old: row.old, new: row.new, why });
            }
        }
    }
    (good, refused)
}

fn fault(
    snapshot: &Snapshot,
    site: &SiteTable,
    row: &NewRow,
    target: &Target,
    seen: &mut HashMap<String, String>,
) -> Option<String> {
    let host = target.host();
    if snapshot.answers_host(host) {
        return Some(format!("{host} is an old host itself: that would be a loop, or a second hop"));
    }
    if !snapshot.allows(Some(site), host.as_str()) {
        return Some(format!("{host} is no allowed target of the site"));
    }
    let key = key(site, &row.old)?;
    if key == "/" {
        return Some("the front page goes home".to_owned());
    }
    if site.mappings.get(key.as_bytes()).is_some() {
        return Some("it has a mapping already".to_owned());
    }
    seen.insert(key, row.new.clone()).map(|_| "it stands in the list twice".to_owned())
}

/// Writes the table; if the routes have more errors then, it is put back.
fn put(gateway: &Gateway, site: &SiteTable, path: &Path, before: Option<&[u8]>, after: &[u8]) -> anyhow::Result<()> {
    let faults = || -> anyhow::Result<Vec<String>> {
        let (_, report) = Loader::new(gateway).load(load::now(), |_, _| {})?;
        let of_site = |file: &str| file.strip_suffix(".csv").or(file.strip_suffix(".toml")) == Some(site.id.as_str());
        let errors =
            report.diagnostics.iter().filter(|fault| fault.severity == Severity::Error && of_site(&fault.file));
        Ok(errors.map(|fault| format!("{}:{}: {}", fault.file, fault.line, fault.message)).collect())
    };
    let known = faults()?;
    replace(path, before, after).with_context(|| format!("can't write {}", path.display()))?;
    let new = faults();
    if let Ok(new) = &new
        && new.len() <= known.len()
    {
        return Ok(());
    }
    match before {
        Some(before) => replace(path, Some(after), before),
        None => fs::remove_file(path),
    }
    .with_context(|| format!("can't put {} back", path.display()))?;
    let fault = new?.into_iter().find(|fault| !known.contains(fault)).unwrap_or_default();
    bail!("nothing was added, since the site would have an error: {fault}")
}

impl Added {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for row in self.rows.iter().take(SHOWN) {
            text += &format!("+ {} → {}  ({})\n", row.old, row.new, row.note);
        }
        if self.rows.len() > SHOWN {
            text += &format!("+ … and {} more\n", self.rows.len() - SHOWN);
        }
        for row in self.refused.iter().take(SHOWN) {
            text += &format!("! {} → {}: {}\n", row.old, row.new, row.why);
        }
        if !self.refused.is_empty() {
            text += &format!("{} refused\n", count(self.refused.len(), "row"));
        }
        let verb = if self.written || self.rows.is_empty() { "added to" } else { "would be added to" };
        text + &format!("{} {verb} {}\n", count(self.rows.len(), "row"), self.table)
    }
}

/// How many rows are shown to people.
const SHOWN: usize = 10;
