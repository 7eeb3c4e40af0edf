//! Purges of many responses at once: a number that is compared on the next use, not a walk through the store.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Entry, key, sync::lock};

/// Counts purges. A response is purged by those that came after it was asked for.
#[derive(Debug, Default)]
pub(super) struct Purges {
    latest: AtomicU64,
    /// The last purge of everything.
    all: AtomicU64,
    /// The last purges by host (`h` before it) and by tag (`t`).
    by: Mutex<HashMap<Box<[u8]>, u64>>,
}

impl Purges {
    /// The number of the latest purge.
    pub fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    pub fn all(&self) {
        let mut by = lock(&self.by);
        let generation = self.next();
        self.all.store(generation, Ordering::Release);
        by.clear();
        self.latest.store(generation, Ordering::Release);
    }

    pub fn host(&self, host: &[u8]) {
        self.subject(b'h', &host.to_ascii_lowercase());
    }

    pub fn tag(&self, tag: &[u8]) {
        self.subject(b't', tag);
    }

    /// Whether it is purged. Takes a lock only on the first use after a purge.
    pub fn is_purged(&self, key: &[u8], entry: &Entry) -> bool {
        if entry.born < self.all.load(Ordering::Acquire) {
            return true;
        }
        let latest = self.latest();
        if entry.checked() >= latest {
            return false;
        }
        let by = lock(&self.by);
        let is_later = |kind, name: &[u8]| by.get(&*subject(kind, name)).is_some_and(|&purge| entry.born < purge);
        if is_later(b'h', key::host(key)) || entry.tags.iter().any(|tag| is_later(b't', tag)) {
            return true;
        }
        entry.set_checked(latest);
        false
    }

    fn subject(&self, kind: u8, name: &[u8]) {
        let mut by = lock(&self.by);
        let generation = self.next();
        if by.len() >= MAX_SUBJECTS {
            // To forget a purge would bring back what it purged: purge more instead.
            let mut purges: Vec<u64> = by.values().copied().collect();
            let (_, &mut median, _) = purges.select_nth_unstable(MAX_SUBJECTS / 2);
            self.all.store(median, Ordering::Release);
            by.retain(|_, purge| *purge > median);
        }
        by.insert(subject(kind, name), generation);
        self.latest.store(generation, Ordering::Release);
    }

    /// To be called with the lock held; `latest` is stored last, so that whoever sees it sees the purge.
    fn next(&self) -> u64 {
        self.latest() + 1
    }
}

fn subject(kind: u8, name: &[u8]) -> Box<[u8]> {
    [&[kind], name].concat().into()
}

/// Most purges by host and tag that are remembered.
const MAX_SUBJECTS: usize = 10_000;
