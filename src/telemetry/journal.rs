//! Faults that clients can cause, in the log: one line for many, so that none of them can fill it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Faults of one kind.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    told: Option<Instant>,
    since: u32,
}

impl Journal {
    /// Notes a fault. If the last line is long enough ago, `tell` is called with the number of faults since then, to write
    /// the next.
    pub fn note(&self, tell: impl FnOnce(u32)) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.since = noted.since.saturating_add(1);
        if noted.told.is_some_and(|told| told.elapsed() < INTERVAL) {
            return;
        }
        let count = std::mem::take(&mut noted.since);
        noted.told = Some(Instant::now());
        drop(noted);
        tell(count);
    }
}

/// At most one line in so long.
const INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_is_told_and_those_after_it_are_counted() {
        let journal = Journal::default();
        let mut told = Vec::new();
        (0..1000).for_each(|_| journal.note(|count| told.push(count)));
        assert_eq!(told, [1]);
        assert_eq!(journal.0.lock().unwrap().since, 999);
    }
}
