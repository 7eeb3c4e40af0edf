//! Whether a file is still the one that was read.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    file: (u64, u64),
}

impl Stamp {
    /// Of what stands in its folder and can't be looked at: a link that leads nowhere, a file that is just being
    /// replaced.
    pub(crate) const UNREADABLE: Stamp = Stamp { modified: (0, 0), changed: (0, 0), size: 0, file: (0, 0) };

    /// Of the file, or what a link to it leads to, as it is now.
    pub(crate) fn look(path: &Path) -> Self {
        fs::metadata(path).map_or(Stamp::UNREADABLE, |metadata| Stamp::of(&metadata))
    }

    /// Of a file that has been looked at.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Stamp {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.len(),
            file: (metadata.dev(), metadata.ino()),
        }
    }

    /// Whether the file could not be looked at; whoever reads it learns why. It may even be a folder.
    pub(crate) fn is_unreadable(&self) -> bool {
        *self == Stamp::UNREADABLE
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}
