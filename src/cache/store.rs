//! Where responses are: moka, by bytes.

use std::{
    cmp::Reverse,
    hash::{BuildHasher, BuildHasherDefault, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::quality::RandomState;
use http::HeaderMap;
use moka::{Expiry, notification::RemovalCause, ops::compute::Op, sync::Cache};

use super::{Entry, Stats, key::Key, purge::Purges};

/// The responses to one URL, the latest first.
#[derive(Debug)]
pub(super) struct Resource {
    key: Key,
    pub variants: Vec<Arc<Entry>>,
    /// How long they are of use, from when the last one was stored.
    kept: Duration,
}

impl Resource {
    /// Whether anything in it is of use still.
    pub fn is_useful(&self, now: i64) -> bool {
        self.variants.iter().any(|entry| now < entry.useful_until())
    }
}

/// Every stored response.
#[derive(Debug)]
pub(super) struct Store {
    /// By a keyed hash of the key. Of two keys with one hash, which nobody can contrive, the later pushes the other out.
    cache: Cache<u64, Arc<Resource>, BuildHasherDefault<AsItIs>>,
    hasher: RandomState,
    pub purges: Purges,
}

impl Store {
    pub fn new(bytes: u64, stats: Arc<Stats>) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, resource: &Arc<Resource>| weight(resource))
            .expire_after(Usefulness)
            .eviction_listener(move |_, _, cause| match cause {
                RemovalCause::Size => stats.evicted.add(1),
                RemovalCause::Expired => stats.expired_entries.add(1),
                RemovalCause::Explicit | RemovalCause::Replaced => {}
            })
            .build_with_hasher(BuildHasherDefault::default());
        Store { cache, hasher: RandomState::default(), purges: Purges::default() }
    }

    pub fn resource(&self, key: &[u8]) -> Option<Arc<Resource>> {
        self.cache.get(&self.hash(key)).filter(|resource| *resource.key == *key)
    }

    /// What suits the request, of what is neither purged nor useless.
    pub fn find(&self, key: &[u8], resource: &Resource, request: &HeaderMap, now: i64) -> Option<Arc<Entry>> {
        let suits =
            |entry: &&Arc<Entry>| entry.selecting.suits_response(&entry.fields, request) && now < entry.useful_until();
        let found = resource.variants.iter().find(suits)?;
        (!self.purges.is_purged(key, found)).then(|| found.clone())
    }

    /// Stores a response, instead of the one that suits the same requests.
    pub fn put(&self, key: &Key, entry: &Arc<Entry>, now: i64) {
        self.change(key, now, |variants| {
            variants.retain(|other| other.selecting != entry.selecting);
            variants.insert(0, entry.clone());
            variants.sort_by_key(|entry| Reverse(entry.freshness.received));
            variants.truncate(MAX_VARIANTS);
        });
    }

    /// Stores a response instead of this one; nothing happens if that is gone.
    pub fn replace(&self, key: &Key, old: &Arc<Entry>, new: &Arc<Entry>, now: i64) {
        self.change(key, now, |variants| {
            if let Some(at) = variants.iter().position(|entry| Arc::ptr_eq(entry, old)) {
                variants.remove(at);
                variants.retain(|other| other.selecting != new.selecting);
                variants.insert(0, new.clone());
            }
        });
    }

    /// Forgets one response.
    pub fn remove(&self, key: &Key, entry: &Arc<Entry>, now: i64) {
        self.change(key, now, |variants| variants.retain(|other| !Arc::ptr_eq(other, entry)));
    }

    /// Forgets all responses to a URL; whether there were any.
    pub fn forget(&self, key: &[u8]) -> bool {
        self.cache.remove(&self.hash(key)).is_some_and(|resource| *resource.key == *key)
    }

    pub fn clear(&self) {
        self.cache.invalidate_all();
    }

    /// Bytes and URLs, about: moka counts late.
    pub fn size(&self) -> (u64, u64) {
        (self.cache.weighted_size(), self.cache.entry_count())
    }

    /// Does what moka has put off.
    pub fn settle(&self) {
        self.cache.run_pending_tasks();
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, Arc<Resource>)> {
        self.cache.iter().map(|(_, resource)| (resource.key.clone(), resource))
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn change(&self, key: &Key, now: i64, change: impl FnOnce(&mut Vec<Arc<Entry>>)) {
        self.cache.entry(self.hash(key)).and_compute_with(|stored| {
            let stored = stored.map(moka::Entry::into_value).filter(|stored| *stored.key == **key);
            let had = stored.is_some();
            let mut variants = stored.map(|stored| stored.variants.clone()).unwrap_or_default();
            change(&mut variants);
            variants.retain(|entry| now < entry.useful_until());
            let until = variants.iter().map(|entry| entry.useful_until()).max();
            match until {
                Some(until) => {
                    let kept = Duration::from_secs(u64::try_from(until.saturating_sub(now)).unwrap_or(0));
                    Op::Put(Arc::new(Resource { key: key.clone(), variants, kept }))
                }
                None if had => Op::Remove,
                None => Op::Nop,
            }
        });
    }
}

fn weight(resource: &Resource) -> u32 {
    let sum: usize = resource.variants.iter().map(|entry| entry.weight()).sum();
    u32::try_from(sum + resource.key.len() + OVERHEAD).unwrap_or(u32::MAX)
}

/// Of what is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0 << 8 | u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

struct Usefulness;

impl Expiry<u64, Arc<Resource>> for Usefulness {
    fn expire_after_create(&self, _: &u64, resource: &Arc<Resource>, _: Instant) -> Option<Duration> {
        Some(resource.kept)
    }

    fn expire_after_update(
        &self,
        _: &u64,
        resource: &Arc<Resource>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(resource.kept)
    }
}

/// Most responses to one URL: a field that differs from client to client must not push everything else out.
const MAX_VARIANTS: usize = 16;

/// What moka itself takes for a URL, in bytes.
const OVERHEAD: usize = 512;
