//! The cache over a restart.

use std::{fs, io::ErrorKind, path::PathBuf, time::Instant};

use jiff::Timestamp;

use crate::cache::{Cache, SnapshotError};
use crate::config::Gateway;

/// Writes what is stored when the process ends, and reads it when the next one starts.
pub(super) struct Warm {
    cache: Cache,
    path: PathBuf,
    limit: u64,
}

impl Warm {
    /// `None` if the settings name no file.
    pub(super) fn new(gateway: &Gateway, cache: &Cache) -> Option<Self> {
        let path = gateway.cache.snapshot.clone()?;
        Some(Warm { cache: cache.clone(), path, limit: gateway.cache.snapshot_bytes })
    }

    /// Reads the snapshot, and removes it: after a crash it would bring back what has been purged since. Whatever is wrong
    /// with it, an empty cache is no reason not to serve.
    pub(super) fn load(&self) {
        let start = Instant::now();
        let loaded = self.cache.load(&self.path, now());
        let path = self.path.display();
        match &loaded {
            Ok(count) => log::info!("cache: {count} answers from {path} in {} ms", start.elapsed().as_millis()),
            Err(SnapshotError::Io(error)) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => log::warn!("cache: it starts empty: {path}: {error}"),
        }
        self.discard();
    }

    /// Removes a snapshot that nobody is going to read.
    pub(super) fn discard(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                log::warn!("cache: {} stays, and the next start would read it: {error}", self.path.display());
            }
            _ => {}
        }
    }

    /// Writes the snapshot. Blocks.
    pub(super) fn save(&self) {
        let start = Instant::now();
        let path = self.path.display();
        match self.cache.save(&self.path, now(), self.limit) {
            Ok(count) => log::info!("cache: {count} answers kept in {path} in {} ms", start.elapsed().as_millis()),
            Err(error) => log::error!("cache: what is stored is lost with this process: {path}: {error}"),
        }
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
