//! What the counting of hits tells of itself.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Numbers of the counting of hits, since the start.
#[derive(Debug, Default)]
pub struct Stats {
    pub(super) flushes: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) last_flush: AtomicI64,
    pub(super) failing: AtomicBool,
    pub(super) entries: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) unnamed: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Stats {
    /// Flushes that are in the database.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    /// Times that the database could not be reached, or took nothing. What was to be written is kept, and tried again.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// When something was written last, in Unix seconds; 0 if nothing was.
    pub fn last_flush(&self) -> i64 {
        self.last_flush.load(Ordering::Relaxed)
    }

    /// Whether the last try failed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// URLs that are counted in memory now, without those that are being written.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Hits that are in the database.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Hits that were counted for their site and not for their URL, since there were too many different ones.
    pub fn unnamed(&self) -> u64 {
        self.unnamed.load(Ordering::Relaxed)
    }

    /// Hits that are not counted at all, since the database was away for days, or when the gateway stopped.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn lose(&self, hits: u64) {
        self.lost.fetch_add(hits, Ordering::Relaxed);
        log::error!("{hits} hits are lost: their database takes none");
    }
}
