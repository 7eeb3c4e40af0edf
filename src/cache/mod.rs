//! A shared cache (RFC 9111): what may be stored, what a stored response may be used for, and one fetch for all who want
//! the same.
//!
//! Owns: the stored responses and the policy. Never does: network, clocks (every call says what time it is), waiting,
//! except of a reader for a body and of a body for its readers.
//!
//! A request is looked up ([`Cache::lookup`]) and is answered from the store ([`Lookup::Hit`]), or follows a fetch
//! ([`Follower`]). Whoever is given a [`Flight`] fetches, in a task that lives as long as the fetch and no client: it sends
//! the request with [`Flight::fields`], hands the head to [`Flight::head`] and the body to [`Filling`]. A plain request
//! that can be answered at once takes a short way, [`Cache::fresh`], to the same bytes.
//!
//! Invariants:
//! - What is private, sets a cookie or says `no-store` is never stored, nor given to any other than who asked for it.
//! - A stored response is complete: what broke off, or has another length than it said, is forgotten.
//! - One URL is fetched once at a time; what turns out not to be for all is fetched by each for itself, at once.
//! - Nothing stale is used beyond what the response, the site or the client allows, and it is marked.
//! - Memory is bounded: [`Settings::bytes`] for what is stored, [`Settings::flight_bytes`] for what is on its way to it,
//!   and a window for each body that isn't stored.
//!
//! Called by: `relay` (everything), `door` ([`Cache::fresh`]), `admin` (purges, numbers), `server` (snapshots).

mod buffer;
mod conditions;
mod date;
mod directives;
mod entry;
mod filling;
mod flight;
mod follower;
mod freshness;
mod key;
mod lists;
mod lookup;
mod policy;
mod purge;
mod ranges;
mod reply;
mod rules;
mod snapshot;
mod stats;
mod status;
mod store;
mod structured;
mod sync;
mod vary;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, Method, header};

pub use buffer::{Aborted, Reader};
pub use entry::{Entry, usual_name, write_line};
pub use filling::{Filling, Stopped};
pub use flight::{Failure, Flight, Interim, Outcome};
pub use follower::{Followed, Follower};
pub use freshness::Times;
pub use key::KeyParts;
pub use lookup::{Asked, Lookup};
pub use policy::NotStored;
pub use reply::{Body, Hit, Reply};
pub use rules::Rules;
pub use snapshot::SnapshotError;
pub use stats::{Counter, Stats};
pub use status::{CACHE_STATUS, Forward, ONLY_IF_CACHED, Pass, Source};
pub use vary::Encodings;

use flight::Shared;
use key::Key;
use store::Store;
use sync::lock;

/// How much memory the cache may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of stored responses, with what it takes to store them.
    pub bytes: u64,
    /// Largest body that is stored, in bytes.
    pub object_bytes: u64,
    /// Bytes of all bodies together that are on their way into the store. What comes on top is not stored.
    pub flight_bytes: u64,
}

impl Default for Settings {
    /// 512 MiB of responses of at most 32 MiB, and 128 MiB on their way.
    fn default() -> Self {
        Settings { bytes: 512 << 20, object_bytes: 32 << 20, flight_bytes: 128 << 20 }
    }
}

/// The cache. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    store: Store,
    /// The fetches that go on.
    flights: Mutex<HashMap<Key, Vec<Arc<Shared>>>>,
    /// URLs that each is to fetch for itself, and until when, in Unix seconds.
    alone: moka::sync::Cache<Key, i64>,
    /// URLs that the platform fails to give, and when to try again.
    failing: moka::sync::Cache<Key, i64>,
    /// Bytes on their way into the store.
    reserved: AtomicU64,
    stats: Arc<Stats>,
}

impl Cache {
    /// An empty one.
    pub fn new(settings: Settings) -> Self {
        let stats = Arc::<Stats>::default();
        let marks =
            || moka::sync::Cache::builder().max_capacity(MAX_MARKS).time_to_live(Duration::from_secs(MARKED)).build();
        Cache(Arc::new(Inner {
            settings,
            store: Store::new(settings.bytes, stats.clone()),
            flights: Mutex::default(),
            alone: marks(),
            failing: marks(),
            reserved: AtomicU64::new(0),
            stats,
        }))
    }

    /// What can be sent at once to a plain request: a GET without a body, and without any field of [`Self::NOT_PLAIN`], on
    /// a site that is cached. `key` is what [`KeyParts::write`] wrote. Allocates nothing.
    pub fn fresh(&self, key: &[u8], encodings: Encodings, now: i64) -> Option<Hit> {
        let resource = self.0.store.resource(key)?;
        let entry = resource.variants.iter().find(|entry| entry.selecting.suits_plain(encodings))?;
        // One that was chosen by more may be later, and then counts.
        let is_only = resource.variants.iter().all(|entry| entry.selecting.others.is_empty());
        if !is_only || !entry.freshness.is_fresh(now) || self.0.store.purges.is_purged(key, entry) {
            return None;
        }
        self.0.stats.hits.add(1);
        Some(Hit { entry: entry.clone(), source: Source::Hit, collapsed: false, now })
    }

    /// Fields that make a request more than [`Self::fresh`] looks at; where a site has private cookies, `Cookie` is one too.
    pub const NOT_PLAIN: [http::HeaderName; 11] = [
        header::RANGE,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_UNMODIFIED_SINCE,
        header::CACHE_CONTROL,
        header::PRAGMA,
        header::AUTHORIZATION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ];

    /// Takes note of a response that came without a [`Flight`]: one to an unsafe method makes stored ones obsolete (RFC
    /// 9111, 4.4), one to HEAD freshens them (4.3.5).
    pub fn observe(&self, asked: &Asked<'_>, method: &Method, status: u16, fields: &HeaderMap, times: Times) {
        if *method == Method::HEAD && status == 200 {
            self.freshen(asked, fields, times);
        }
        if method.is_safe() || !(200..400).contains(&status) {
            return;
        }
        self.purge_url(&asked.key);
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let reference = fields.get(name).map(|value| value.as_bytes());
            if let Some(target) = reference.and_then(|reference| asked.key.resolve(reference)) {
                self.purge_url(&KeyParts { target: &target, ..asked.key });
            }
        }
    }

    fn freshen(&self, asked: &Asked<'_>, fields: &HeaderMap, times: Times) {
        let key = asked.key.key();
        let store = &self.0.store;
        let found = store.resource(&key).and_then(|resource| store.find(&key, &resource, asked.fields, times.received));
        let Some(stored) = found.filter(|stored| stored.status == 200) else { return };
        if !conditions::is_described(&stored.fields, fields, stored.body.len()) {
            return store.remove(&key, &stored, times.received);
        }
        let (entry, refused) = stored.freshened(asked.fields, fields.clone(), asked.rules, times, stored.born);
        match refused {
            None => store.replace(&key, &stored, &Arc::new(entry), times.received),
            Some(_) => store.remove(&key, &stored, times.received),
        }
    }

    /// Forgets all responses to a URL, those on their way too; whether there were any in the store.
    pub fn purge_url(&self, key: &KeyParts<'_>) -> bool {
        let key = key.key();
        // What is on its way stores itself under the same lock.
        let flights = lock(&self.0.flights);
        for shared in flights.get(&key).into_iter().flatten() {
            shared.close();
            lock(&shared.state).purged = true;
        }
        let found = self.0.store.forget(&key);
        drop(flights);
        found
    }

    /// Forgets all responses of a host (with its port, where that is not the scheme's own).
    pub fn purge_host(&self, host: &[u8]) {
        self.0.store.purges.host(host);
    }

    /// Forgets all responses with a tag in `Cache-Tag`, `Surrogate-Key` or `xkey`.
    pub fn purge_tag(&self, tag: &[u8]) {
        self.0.store.purges.tag(tag);
    }

    /// Forgets everything.
    pub fn purge_all(&self) {
        self.0.store.purges.all();
        self.0.store.clear();
    }

    /// What has been done so far.
    pub fn stats(&self) -> &Stats {
        &self.0.stats
    }

    /// Bytes and URLs that are stored, about.
    pub fn size(&self) -> (u64, u64) {
        self.0.store.size()
    }

    /// Does what has been put off, such as making room; for tests and before [`Self::size`] is to be exact.
    pub fn settle(&self) {
        self.0.store.settle();
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    /// Stores a response, unless it was purged on its way.
    fn store_unless_purged(&self, key: &Key, entry: &Arc<Entry>, shared: &Shared, now: i64) {
        let _flights = lock(&self.0.flights);
        if !lock(&shared.state).purged {
            self.0.store.put(key, entry, now);
            self.0.stats.stored.add(1);
        }
    }

    fn unlist(&self, key: &Key, shared: &Shared) {
        let mut flights = lock(&self.0.flights);
        if let Some(listed) = flights.get_mut(key) {
            if let Some(at) = listed.iter().position(|other| std::ptr::eq(&**other, shared)) {
                listed.swap_remove(at);
            }
            if listed.is_empty() {
                flights.remove(key);
            }
        }
    }

    fn object_bytes(&self, rules: &Rules) -> u64 {
        rules.object_bytes.unwrap_or(self.0.settings.object_bytes).min(self.0.settings.bytes)
    }

    fn reserve(&self, bytes: u64) -> bool {
        let limit = self.0.settings.flight_bytes;
        let more = |reserved: u64| reserved.checked_add(bytes).filter(|sum| *sum <= limit);
        self.0.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self, bytes: u64) {
        self.0.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn set_alone(&self, key: &Key, now: i64) {
        // Reading is cheaper than writing, and the next one finds it too.
        let is_marked = self.0.alone.get(key).is_some_and(|until| until.saturating_sub(now) > MARKED as i64 / 2);
        if !is_marked {
            self.0.alone.insert(key.clone(), now.saturating_add(MARKED as i64));
        }
    }

    fn set_shared(&self, key: &Key) {
        self.0.alone.invalidate(key);
    }

    /// The platform has failed at this time, or works.
    fn set_failing(&self, key: &Key, since: Option<i64>) {
        match since {
            Some(since) => self.0.failing.insert(key.clone(), since.saturating_add(RETRY)),
            // Mostly there is nothing to forget, and looking is cheaper.
            None if self.0.failing.contains_key(key) => self.0.failing.invalidate(key),
            None => {}
        }
    }

    fn count(&self, source: Source) {
        let stats = &self.0.stats;
        let counter = match source {
            Source::Hit => &stats.hits,
            Source::StaleAllowed => &stats.stale_allowed,
            Source::StaleWhileRevalidate => &stats.stale_while_revalidate,
            Source::StaleIfError(_) | Source::StaleIfDown => &stats.stale_if_error,
            Source::Revalidated(_) => &stats.revalidated,
            Source::Fetched { .. } => return,
        };
        counter.add(1);
    }
}

/// How long, in seconds, it is remembered that a URL's responses are not for all, or that the platform fails.
const MARKED: u64 = 60;

/// Most URLs of which that is remembered.
const MAX_MARKS: u64 = 50_000;

/// Seconds between attempts to fetch what the platform fails to give.
const RETRY: i64 = 2;

#[cfg(test)]
mod tests;
