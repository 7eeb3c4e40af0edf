//! What an engine shows of itself.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::Progress;
use super::book::Book;
use super::schedule::Wanted;
use super::session::Session;

/// What an engine has done since it was made, and how it is. All are as good as the last round.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Orders placed.
    pub orders: AtomicU64,
    /// Certificates that came of them.
    pub issued: AtomicU64,
    /// Orders that came to nothing.
    pub dropped: AtomicU64,
    /// Names that an authority did not find proven.
    pub failures: AtomicU64,
    /// Names that are wanted.
    pub wanted: AtomicU64,
    /// Those that a certificate of the authority covers.
    pub covered: AtomicU64,
    /// Those without one that were tried in vain, by the gateway or the authority.
    pub failing: AtomicU64,
    /// When something is to be done next, Unix seconds; 0 if nothing is.
    pub next: AtomicI64,
    /// Whether the last round ended with a fault.
    pub is_failing: AtomicBool,
}

impl EngineStats {
    /// Counts the names of a round.
    pub(super) fn count(&self, book: &Book, session: &Session, wanted: &[Wanted], now: i64) {
        let coverage = book.ledger().coverage(now);
        let (covered, open): (Vec<&Wanted>, _) =
            wanted.iter().partition(|name| coverage.contains_key(name.name.as_str()));
        let has_failed = |name: &&&Wanted| {
            !session.is_ready(&name.name)
                || book.ledger().trouble(&name.name).is_some_and(|trouble| trouble.failures > 0)
        };
        self.wanted.store(wanted.len() as u64, Ordering::Relaxed);
        self.covered.store(covered.len() as u64, Ordering::Relaxed);
        self.failing.store(open.iter().filter(has_failed).count() as u64, Ordering::Relaxed);
    }

    /// Counts what comes of orders.
    pub(super) fn note(&self, progress: &Progress) {
        let add = |count: &AtomicU64, by: usize| count.fetch_add(by as u64, Ordering::Relaxed);
        match progress {
            Progress::Issued { .. } => add(&self.issued, 1),
            Progress::Dropped { .. } => add(&self.dropped, 1),
            Progress::Failed { failures, .. } => add(&self.failures, failures.len()),
            _ => 0,
        };
    }
}
