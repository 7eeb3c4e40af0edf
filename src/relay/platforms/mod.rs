//! The platforms of gateway.toml and the sites' own origins: who is asked, over which connection, and when to try again.
//!
//! ```text
//! get(name) → enter(client, url) → Turn: peer() → connected() → answered()
//!                │                          ▲ └──── failed() ──┐
//!                └ Busy: 503                └── true: again ───┘
//! ```
//!
//! A way that doesn't go through Pingora's proxy looks like this:
//!
//! ```ignore
//! let mut turn = platforms.get(name)?.enter(client, hash(url, 0)).await?;
//! loop {
//!     let (wire, reused) = match turn.idle().await? {
//!         Some(wire) => (wire, true),
//!         None => {
//!             let peer = turn.peer(Connection::Pooled).await?;
//!             let (session, reused) = match platforms.connector().get_http_session(&*peer).await {
//!                 Ok(connected) => connected,
//!                 Err(error) if turn.failed(&error, Stage::Connecting) => continue,
//!                 Err(error) => return Err(error),
//!             };
//!             turn.connected(session.digest())?; // an error is `failed` too, with `Stage::Connecting`
//!             (turn.wire(session.into_inner()), reused)
//!         }
//!     };
//!     // … send, read the head; an error: `failed` with `Stage::Sent { reused, repeatable: true }` …
//!     turn.answered(status);
//!     // … read the body, then give the connection back: `turn.keep(wire)` …
//! }
//! ```
//!
//! Owns: balancing, health (asked for, and seen from how requests fare), the number of requests under way and the queue
//! for more, time limits, retries, the looking up of names, what Pingora is told of each origin, and the connections of
//! HTTP/1 that wait for their next request over that way. Never does: HTTP, but for health checks.
//!
//! Invariants:
//! - A request never looks a name up, and never waits but for its place (and the first look-up after a start).
//! - An origin whose failures follow on each other is left alone; where none is left, requests get [`Busy`] at once and
//!   nothing is connected. Once it can be reached again, one request tries it, so that it comes back by itself.
//! - What may not be sent twice takes a new connection: only those that were idle can be dead without anybody's knowing.
//!   Where such a one was dead, the request goes again over a new one, and no client sees it.
//! - An origin with TLS always has a name to be checked; there is no way to turn the check off, only pins.
//!
//! Called by: `relay`, for both ways to the platforms; `server` runs [`Platforms::run`] beside the traffic.

mod circuit;
mod endpoint;
mod idle;
mod platform;
mod turn;
mod watch;

use std::{
    collections::{BTreeSet, HashMap},
    future::pending,
    hash::{BuildHasher, Hasher},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use foldhash::fast::FixedState;
use pingora::connectors::{ConnectorOptions, http::Connector};
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};

use crate::answer::LiveCell;
use crate::config::{self, Gateway, Origin};
use crate::telemetry::Metrics;

pub use endpoint::Connection;
pub use idle::Wire;
pub use platform::{Busy, Platform};
pub use turn::{Stage, Turn, classify};
pub use watch::Lookup;

/// All platforms of a gateway.
pub struct Platforms {
    named: HashMap<Box<str>, Arc<Platform>>,
    /// Origins of sites that somebody has asked for.
    own: RwLock<HashMap<Box<str>, Arc<Platform>>>,
    /// Those of them that nobody watches yet.
    new: Mutex<Vec<Arc<Platform>>>,
    has_new: Notify,
    lookup: Lookup,
    connector: OnceLock<Connector>,
    metrics: Arc<Metrics>,
}

impl Platforms {
    /// The platforms of gateway.toml. Names are looked up once [`Platforms::run`] runs.
    pub fn new(gateway: &Gateway, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::with_lookup(gateway, metrics, watch::system_lookup())
    }

    /// As [`Platforms::new`], with another way to look names up.
    pub fn with_lookup(gateway: &Gateway, metrics: Arc<Metrics>, lookup: Lookup) -> Arc<Self> {
        let named = gateway.platforms.iter().filter(|(_, config)| !config.origins.is_empty());
        let named =
            named.filter_map(|(name, config)| Some((name.as_str().into(), open(name, config.clone(), &metrics)?)));
        Arc::new(Platforms {
            named: named.collect(),
            own: RwLock::default(),
            new: Mutex::default(),
            has_new: Notify::new(),
            lookup,
            connector: OnceLock::new(),
            metrics,
        })
    }

    /// A platform by its name in gateway.toml, or by a site's own origin. Only names that a snapshot has may be asked for:
    /// an origin stays until [`Platforms::retain`] is told of a snapshot without it.
    pub fn get(&self, name: &str) -> Option<Arc<Platform>> {
        if let Some(platform) = self.named.get(name) {
            return Some(platform.clone());
        }
        if let Some(platform) = self.own.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(platform.clone());
        }
        self.open_own(name)
    }

    /// Pingora's connector, for what doesn't go through its proxy.
    pub fn connector(&self) -> &Connector {
        self.connector.get_or_init(|| Connector::new(Some(ConnectorOptions::new(POOL))))
    }

    #[cold]
    fn open_own(&self, name: &str) -> Option<Arc<Platform>> {
        let origin = Some(name).filter(|name| Origin::is_origin(name)).and_then(|name| Origin::parse(name).ok())?;
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(platform) = own.get(name) {
            return Some(platform.clone());
        }
        let config = config::Platform { origins: vec![origin], ..config::Platform::default() };
        let platform = open(name, config, &self.metrics)?;
        own.insert(name.into(), platform.clone());
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push(platform.clone());
        self.has_new.notify_one();
        Some(platform)
    }

    /// Forgets the origins of sites that are not among these. Returns what was forgotten. Requests under way go on.
    pub fn retain(&self, origins: &BTreeSet<&str>) -> Vec<Arc<Platform>> {
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = own.extract_if(|name, _| !origins.contains(&**name)).map(|(_, platform)| platform).collect();
        gone.iter().for_each(|platform| platform.metrics.retire());
        gone
    }

    /// Looks names up, checks health, and forgets origins that no site has any more, until dropped.
    pub async fn run(self: Arc<Self>, live: Arc<LiveCell>) {
        let mut tasks = JoinSet::new();
        for platform in self.named.values() {
            tasks.spawn(platform.clone().watch(self.clone()));
        }
        let mut own: HashMap<Box<str>, AbortHandle> = HashMap::new();
        let mut seen = live.load_full();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.has_new.notified() => {
                    let new = std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner));
                    for platform in new {
                        let task = tasks.spawn(platform.clone().watch(self.clone()));
                        own.insert(platform.name.clone(), task);
                    }
                }
                _ = sweep.tick() => {
                    let now = live.load_full();
                    if !Arc::ptr_eq(&now, &seen) {
                        let origins = now.snapshot.sites().iter().map(|site| &*site.origin).collect();
                        for platform in self.retain(&origins) {
                            own.remove(&platform.name).iter().for_each(AbortHandle::abort);
                        }
                    }
                    seen = now;
                }
                // Those of origins that are forgotten end.
                _ = next(&mut tasks) => {}
            }
        }
    }
}

async fn next(tasks: &mut JoinSet<()>) {
    if tasks.join_next().await.is_none() {
        pending().await
    }
}

fn open(name: &str, config: config::Platform, metrics: &Metrics) -> Option<Arc<Platform>> {
    let bound = metrics.platforms().bind(name, config.origins.iter().map(Origin::as_str));
    let bound = bound.inspect_err(|error| log::error!("platform `{name}` can't be counted: {error}")).ok()?;
    Some(Platform::new(name, config, bound))
}

/// A hash that is the same on every node.
pub fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut hasher = FixedState::with_seed(seed).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// A number that depends on both, evenly spread.
fn mix(one: u64, other: u64) -> u64 {
    hash(&one.to_le_bytes(), other)
}

/// Idle connections to all platforms that are kept. (Pingora has one pool, whose size can't be told by platform, where the
/// longest idle goes first; ours takes no more once there are as many.)
pub const POOL: usize = 4096;

/// How often it is seen whether sites are gone.
const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
