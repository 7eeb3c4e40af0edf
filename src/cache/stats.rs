//! Counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the cache has done since it was made.
#[derive(Debug, Default)]
pub struct Stats {
    /// Answers that were fresh.
    pub hits: Counter,
    /// Answers that were stale, and why.
    pub stale_while_revalidate: Counter,
    /// Because of an error, or of a platform that is down.
    pub stale_if_error: Counter,
    /// Because the client said that it takes them.
    pub stale_allowed: Counter,
    /// Answers that the platform confirmed with a 304.
    pub revalidated: Counter,
    /// Look-ups that began a fetch, with nothing stored.
    pub misses: Counter,
    /// Look-ups that began a fetch, with something stored that was too old.
    pub expired: Counter,
    /// Look-ups that waited for the fetch of another.
    pub collapsed: Counter,
    /// Look-ups that were told to fetch without the cache.
    pub passes: Counter,
    /// Responses that were stored.
    pub stored: Counter,
    /// Responses that were not, by the policy or by their size.
    pub not_stored: Counter,
    /// Responses that broke off, or had another length than they said.
    pub aborted: Counter,
    /// URLs that had to go for others.
    pub evicted: Counter,
    /// URLs that were of no use any more.
    pub expired_entries: Counter,
}
