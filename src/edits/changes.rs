//! New texts of some files of the routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use similar::TextDiff;

use crate::config::{Diagnostic, Gateway, Severity};
use crate::routing::Loader;

/// Lines around a change that are shown.
const CONTEXT: usize = 2;

/// A file as it was, and as it is to be. `None` is no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub before: Option<Vec<u8>>,
    pub after: Option<Vec<u8>>,
}

/// Changes that nobody has made yet.
#[derive(Clone, Debug)]
pub struct Changes {
    pub(super) root: PathBuf,
    pub(super) files: BTreeMap<String, Change>,
}

impl Changes {
    /// None, of a routes folder.
    pub fn new(root: &Path) -> Self {
        Changes { root: root.to_owned(), files: BTreeMap::new() }
    }

    /// What a file (by its path below the folder) says with these changes; `None` if there is no such file.
    ///
    /// # Errors
    /// When it can't be read, or is no UTF-8.
    pub fn text(&self, name: &str) -> io::Result<Option<String>> {
        let bytes = match self.files.get(name) {
            Some(change) => change.after.clone(),
            None => read(&self.root.join(name))?,
        };
        let not_utf8 = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
        bytes.map(|bytes| String::from_utf8(bytes).map_err(not_utf8)).transpose()
    }

    /// Gives a file another text, or makes it.
    ///
    /// # Errors
    /// When it can't be read as it is.
    pub fn put(&mut self, name: &str, text: String) -> io::Result<()> {
        let before = match self.files.remove(name) {
            Some(change) => change.before,
            None => read(&self.root.join(name))?,
        };
        let after = Some(text.into_bytes());
        if before != after {
            self.files.insert(name.to_owned(), Change { before, after });
        }
        Ok(())
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The route files that would change, and whether they are new. What is written beside them, into hidden folders, is nobody's
    /// to read.
    pub fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        let shown = self.files.iter().filter(|(name, _)| !is_hidden(name));
        shown.map(|(name, change)| (name.as_str(), change.before.is_none()))
    }

    /// What would change in them, as a unified diff.
    pub fn diff(&self) -> String {
        let shown = self.files.iter().filter(|(name, _)| !is_hidden(name));
        shown.map(|(name, change)| diff(name, change)).collect()
    }

    /// Errors that the routes of a gateway would have and don't have now, as of `now` (Unix seconds).
    ///
    /// # Errors
    /// When the routes can't be read.
    pub fn new_errors(&self, gateway: &Gateway, now: i64) -> io::Result<Vec<Diagnostic>> {
        let identity = |fault: &Diagnostic| (fault.file.clone(), fault.code, fault.message.clone());
        let (_, before) = Loader::new(gateway).load(now, |_, _| {})?;
        let known: BTreeSet<_> = before.diagnostics.iter().map(identity).collect();
        let text = |change: &Change| change.after.clone().map(|text| String::from_utf8_lossy(&text).into_owned());
        let texts = self.files.iter().filter_map(|(name, change)| Some((name.clone(), text(change)?))).collect();
        let (_, after) = Loader::supposing(gateway, texts).load(now, |_, _| {})?;
        let is_new = |fault: &Diagnostic| fault.severity == Severity::Error && !known.contains(&identity(fault));
        Ok(after.diagnostics.into_iter().filter(is_new).collect())
    }
}

pub(super) fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.'))
}

pub(super) fn diff(name: &str, change: &Change) -> String {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let (before, after) = (text(&change.before), text(&change.after));
    let side = |text: &Option<String>, mark: &str| match text {
        Some(_) => format!("{mark}/{name}"),
        None => "/dev/null".to_owned(),
    };
    let (from, to) = (side(&before, "a"), side(&after, "b"));
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    diff.unified_diff().context_radius(CONTEXT).header(&from, &to).to_string()
}

/// A file's bytes; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
