//! A folder of GOV.UK's Transition programme → a routes folder.
//!
//! DIR holds `sites/*.yml` (one retired site each), `mappings/*.csv` (old URL → new URL, of any site), `organisations.tsv`
//! (titles of the owners) and `whitelist.txt` (foreign hosts that redirects may go to). OUT becomes a routes folder:
//! `defaults.toml` with the habits of that programme's gateway, and `<site>.toml` and `<site>.csv` for each site.
//!
//! The result answers as that gateway did. It recognised spellings of a URL its own way, so duplicates are found with the
//! gateway's own [`crate::url::Canonicalizer`], set to that way: the same settings go into `defaults.toml`.
//!
//! Invariant: whatever is not carried over is in [`Report::left_out`], with its file, its line and the reason. One bad
//! file, line or value never stops the others.
//! Owns: those four formats. Never does: judge the result, which is `waypost check`'s.
//! Called by: `waypost import govuk DIR OUT`.

mod link;
mod rows;
mod site;
mod table;
#[cfg(test)]
mod tests;
mod write;
mod yaml;

use std::{collections::BTreeMap, fmt, fs, io, path::Path};

use anyhow::{Context, bail};
use serde::Serialize;

/// What was carried over, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Sites written.
    pub sites: usize,
    /// Their hosts, without previews.
    pub hosts: usize,
    /// Rows of all mapping files, without headers and blank lines.
    pub rows: usize,
    /// Mappings written.
    pub mappings: usize,
    /// Rows that say again what another row says.
    pub duplicates_same: usize,
    /// Rows that contradict another row of the same URL, and lost.
    pub duplicates_lost: usize,
    /// Everything that was not carried over, by file and line.
    pub left_out: Vec<LeftOut>,
}

/// Something that was not carried over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftOut {
    /// The file, relative to DIR.
    pub file: String,
    /// The line, counted from 1; 0 for the whole file.
    pub line: u32,
    /// The key, URL or value.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// Longest `what` in characters: an unclosed quotation mark can make a field of a whole file.
const MAX_WHAT: usize = 200;

impl Report {
    fn leave_out(&mut self, file: &str, line: u32, what: impl Into<String>, why: impl Into<String>) {
        let mut what = what.into();
        if let Some((end, _)) = what.char_indices().nth(MAX_WHAT) {
            what.truncate(end);
            what.push('…');
        }
        self.left_out.push(LeftOut { file: file.to_owned(), line, what, why: why.into() });
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Fields may hold line breaks; a line of the report is one line.
        let what = self.what.replace(['\r', '\n'], " ");
        match self.line {
            0 => write!(f, "{}: {what}: {}", self.file, self.why),
            line => write!(f, "{}:{line}: {what}: {}", self.file, self.why),
        }
    }
}

impl fmt::Display for Report {
    /// Everything that was left out, line by line; then the counts, and how much was left out for which reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.left_out.iter().try_for_each(|left_out| writeln!(f, "{left_out}"))?;
        writeln!(f, "{} sites with {} hosts", self.sites, self.hosts)?;
        writeln!(f, "{} rows read, {} mappings written", self.rows, self.mappings)?;
        writeln!(f, "{} duplicates that say the same, {} that lost", self.duplicates_same, self.duplicates_lost)?;
        writeln!(f, "{} left out", self.left_out.len())?;
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for left_out in &self.left_out {
            *reasons.entry(&left_out.why).or_default() += 1;
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        reasons.iter().try_for_each(|(why, count)| writeln!(f, "  {count:>6}  {why}"))
    }
}

/// Turns the Transition folder `dir` into the routes folder `out`, telling `progress` what it is at.
///
/// # Errors
/// If `dir` is no such folder, `out` exists and isn't an empty folder, or `out` can't be written.
pub fn import(dir: &Path, out: &Path, progress: &mut dyn FnMut(&str)) -> anyhow::Result<Report> {
    if !dir.join("sites").is_dir() {
        bail!(
            "{} has no folder `sites`: it should hold sites/*.yml, mappings/*.csv, organisations.tsv and whitelist.txt",
            dir.display()
        );
    }
    must_be_free(out)?;
    let mut report = Report::default();
    let titles = site::read_titles(dir, &mut report);
    let allowed = site::read_allowed(dir, &mut report);
    let sites = site::read_all(dir, &titles, &mut report);
    progress(&format!("{} sites read", sites.len()));
    let tables = rows::read_all(dir, &sites, &mut report);
    progress(&format!("{} rows read", report.rows));
    write::write(out, &allowed, &sites, &tables)?;
    progress(&format!("{} written", out.display()));
    report.sites = sites.len();
    report.hosts = sites.iter().map(|site| site.hosts.len()).sum();
    report.mappings = tables.iter().map(Vec::len).sum();
    report.left_out.sort();
    Ok(report)
}

fn must_be_free(out: &Path) -> anyhow::Result<()> {
    let mut entries = match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("{} is not an empty folder", out.display()))?,
    };
    if entries.next().is_some() {
        bail!("{} is not empty: the import writes into a new or empty folder only", out.display());
    }
    Ok(())
}

/// One file of DIR.
struct Input {
    /// Its name in the report.
    name: String,
    /// Its name without folder and extension.
    stem: String,
    bytes: Vec<u8>,
}

/// The files `folder/*.extension`, in the order in which that programme imported them: by name without extension, so
/// that `fco_uk.csv` comes before `fco_uk.old.csv` and `fco_ukraine.csv`.
fn read_folder(dir: &Path, folder: &str, extensions: &[&str], report: &mut Report) -> Vec<Input> {
    let entries = match fs::read_dir(dir.join(folder)) {
        Ok(entries) => entries,
        Err(error) => {
            report.leave_out(folder, 0, "the folder", format!("can't be read: {error}"));
            return Vec::new();
        }
    };
    let mut inputs = Vec::new();
    for entry in entries {
        let Ok(path) = entry.map(|entry| entry.path()) else {
            report.leave_out(folder, 0, "a file", "can't be read");
            continue;
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{folder}/{file}");
        match file.rsplit_once('.') {
            Some((stem, extension))
                if extensions.iter().any(|known| extension.eq_ignore_ascii_case(known)) && !stem.is_empty() =>
            {
                if let Some(bytes) = read_file(&path, &name, report) {
                    inputs.push(Input { stem: stem.to_owned(), name, bytes });
                }
            }
            _ => report.leave_out(&name, 0, "the whole file", format!("only .{} is read here", extensions[0])),
        }
    }
    inputs.sort_by(|a, b| (&a.stem, &a.name).cmp(&(&b.stem, &b.name)));
    inputs
}

/// The bytes of a file, without its byte order mark.
fn read_file(path: &Path, name: &str, report: &mut Report) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(mut bytes) => {
            if bytes.starts_with(b"\xEF\xBB\xBF") {
                bytes.drain(..3);
            }
            Some(bytes)
        }
        Err(error) => {
            report.leave_out(name, 0, "the whole file", format!("can't be read: {error}"));
            None
        }
    }
}
