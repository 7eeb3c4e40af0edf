//! What the guard reads besides settings: lists of addresses, and the database of countries. Both change without a new
//! snapshot.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::countries::Countries;
use super::lists::Lists;
use crate::config::{Diagnostic, GuardSettings, SourceFile};

/// The files of a node, shared by all its policies.
#[derive(Debug, Default)]
pub struct Sources {
    pub(super) lists: Lists,
    pub(super) countries: Arc<Countries>,
}

/// What came of looking at the files.
#[derive(Clone, Debug, Default)]
pub struct Refreshed {
    /// Names of the files that were read again and hold something else now.
    pub changed: Vec<String>,
    /// What is wrong with them, as they were last read.
    pub faults: Vec<Diagnostic>,
}

impl Sources {
    /// For settings of that folder of routes. Nothing is read yet.
    pub fn new(routes: &Path) -> Self {
        Sources { lists: Lists::new(routes), countries: Arc::default() }
    }

    /// Reads what changed of the files that `settings` name, and of the database of `countries`.
    pub fn refresh<'a>(
        &self,
        settings: impl Iterator<Item = &'a GuardSettings>,
        countries: Option<&Path>,
    ) -> Refreshed {
        let wanted: BTreeSet<_> = settings.flat_map(GuardSettings::files).collect();
        let mut changed = self.lists.refresh(&wanted);
        let mut faults = self.lists.faults();
        let name = countries.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        if self.countries.refresh(countries) {
            changed.push(name.clone());
        }
        if let Some(fault) = self.countries.fault() {
            let file = SourceFile::new(name, String::new());
            let hint = "GeoLite2-Country, DB-IP and IPinfo have databases that will do";
            faults.push(file.error("bad-database", 0..0, fault).hint(hint));
        }
        Refreshed { changed, faults }
    }

    /// What is wrong with the database of countries, as it was last read.
    pub fn fault(&self) -> Option<String> {
        self.countries.fault()
    }

    /// The files that want to be watched.
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.lists.paths();
        paths.extend(self.countries.path());
        paths
    }
}
