//! One platform: who of its origins gets a request, and how many it may have.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use pingora::Error;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout},
};

use super::circuit::State;
use super::endpoint::{Common, Endpoint, Place};
use super::turn::{Stage, Turn};
use super::{hash, mix};
use crate::config::{self, Balance, Origin, OriginPlace};
use crate::rewrite::LinkMap;
use crate::telemetry::{PlatformError, PlatformMetrics, PlatformOutcome};

/// A platform, or a site's own origin.
pub struct Platform {
    pub(super) name: Box<str>,
    pub(super) config: config::Platform,
    pub(super) metrics: PlatformMetrics,
    pub(super) common: Common,
    links: Arc<LinkMap>,
    /// In the order of the origins.
    pub(super) endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Whether every name has been looked up once, whatever came of it.
    pub(super) resolved: watch::Sender<bool>,
    /// An origin is out, and to be probed.
    pub(super) has_out: Notify,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    turn: AtomicUsize,
    epoch: Instant,
}

/// Why a request gets no turn. It is to be answered 503, with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// [`PlatformError::Busy`] or [`PlatformError::Breaker`].
    pub error: PlatformError,
    /// When it may be worth trying again.
    pub retry_after: Duration,
}

impl Busy {
    /// The value of `Retry-After`: whole seconds, at least one.
    pub fn seconds(&self) -> u64 {
        self.retry_after.as_millis().div_ceil(1000).max(1) as u64
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.error {
            PlatformError::Busy => "it has as many requests as it may, and too many wait",
            _ => "none of its origins is well",
        })
    }
}

impl Platform {
    pub(super) fn new(name: &str, config: config::Platform, metrics: PlatformMetrics) -> Arc<Self> {
        let common = Common::new(name, &config);
        let known = config.origins.iter().enumerate().filter_map(|(number, origin)| {
            let place = match &origin.place {
                OriginPlace::Address(address, port) => Place::Inet((*address, *port).into()),
                OriginPlace::Unix(path) => Place::Unix(path),
                OriginPlace::Name(..) => return None,
            };
            Endpoint::new(&common, &config, number, origin, place).map(Arc::new)
        });
        let known: Vec<_> = known.collect();
        let authorities = config.origins.iter().filter_map(Origin::authority);
        let hosts = config.host.iter().map(ToString::to_string).chain(authorities);
        let elsewhere = config.host.as_ref().map(|host| format!("https://{host}"));
        let links = Arc::new(LinkMap::new(hosts, None, elsewhere));
        let has_names = config.origins.iter().any(|origin| matches!(origin.place, OriginPlace::Name(..)));
        Arc::new(Platform {
            name: name.into(),
            metrics,
            common,
            links,
            endpoints: ArcSwap::from_pointee(known),
            resolved: watch::Sender::new(!has_names),
            has_out: Notify::new(),
            permits: Arc::new(Semaphore::new(config.connections.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            epoch: Instant::now(),
            config,
        })
    }

    /// Its name in gateway.toml, or the site's own origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its settings.
    pub fn config(&self) -> &config::Platform {
        &self.config
    }

    /// The links that lead there, where paths are the same on both sides.
    pub fn links(&self) -> &Arc<LinkMap> {
        &self.links
    }

    /// Waits for a place among the requests that the platform may have, and chooses an origin. `url` is a hash of what is
    /// asked for; it matters only where balancing is by URL.
    ///
    /// # Errors
    /// At once, and without a connection, if no origin is well; after a bounded time if there is no place.
    pub async fn enter(self: &Arc<Self>, client: Option<IpAddr>, url: u64) -> Result<Turn, Busy> {
        let entered = self.try_enter(client, url).await;
        if let Err(busy) = &entered {
            self.metrics.error(busy.error);
            self.metrics.request(PlatformOutcome::Failed);
        }
        entered
    }

    async fn try_enter(self: &Arc<Self>, client: Option<IpAddr>, url: u64) -> Result<Turn, Busy> {
        let began = Instant::now();
        if !*self.resolved.borrow() {
            let mut resolved = self.resolved.subscribe();
            // Whether it came in time shows in what there is to choose from.
            let _ = timeout(self.config.connect_time, resolved.wait_for(|&resolved| resolved)).await;
        }
        if self.is_down() {
            return Err(self.unavailable());
        }
        let permit = self.permit().await?;
        let key = match (self.config.balance, client) {
            (Balance::Client, Some(IpAddr::V4(address))) => hash(&address.octets(), 0),
            (Balance::Client, Some(IpAddr::V6(address))) => hash(&address.octets(), 0),
            _ => url,
        };
        let chosen = self.choose(key, &[]).ok_or_else(|| self.unavailable())?;
        Ok(Turn::new(self.clone(), chosen, key, began, permit))
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Busy> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let busy = Busy { error: PlatformError::Busy, retry_after: Duration::from_secs(1) };
        let _waiting = Waiting::begin(self).ok_or(busy)?;
        match timeout(self.config.queue_time, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // It is never closed; the time is over.
            Ok(Err(_)) | Err(_) => Err(busy),
        }
    }

    /// Whether no origin may be asked now.
    pub fn is_down(&self) -> bool {
        let now = self.now();
        !self.endpoints.load().iter().any(|end| matches!(end.circuit.state(now), State::Well | State::Due))
    }

    fn unavailable(&self) -> Busy {
        let now = self.now();
        let until_checked = self.config.health.as_ref().map_or(self.config.eject_time, |health| health.interval);
        let endpoints = self.endpoints.load();
        let waits = endpoints.iter().map(|end| match end.circuit.state(now) {
            State::Out(rest) => Duration::from_millis(rest),
            _ => until_checked,
        });
        Busy { error: PlatformError::Breaker, retry_after: waits.min().unwrap_or(until_checked) }
    }

    /// An origin for a request that has tried some, and whether this is a trial. One that is due goes before all others, or
    /// it would never come back.
    pub(super) fn choose(&self, key: u64, tried: &[u64]) -> Option<(Arc<Endpoint>, bool)> {
        let now = self.now();
        let endpoints = self.endpoints.load();
        let untried = || endpoints.iter().filter(|end| !tried.contains(&end.id));
        let due = untried().find(|end| end.circuit.state(now) == State::Due && end.circuit.try_out());
        if let Some(due) = due {
            return Some((due.clone(), true));
        }
        let well = || untried().filter(|end| end.circuit.state(now) == State::Well);
        let chosen = match self.config.balance {
            Balance::RoundRobin => {
                let turn = self.turn.fetch_add(1, Relaxed);
                well().nth(turn.checked_rem(well().count())?)
            }
            Balance::LeastConnections => {
                let count = well().count();
                let turn = self.turn.fetch_add(1, Relaxed).checked_rem(count)?;
                // Of those with the same number, each in turn.
                let rank =
                    |(at, end): &(usize, &Arc<Endpoint>)| (end.requests.load(Relaxed), (at + count - turn) % count);
                well().enumerate().min_by_key(rank).map(|(_, end)| end)
            }
            // Rendezvous: each origin draws a number for the key, and the highest has it.
            Balance::Client | Balance::Url => well().max_by_key(|end| mix(key, end.id)),
        };
        // One may have changed its state meanwhile.
        chosen.or_else(|| well().next()).map(|end| (end.clone(), false))
    }

    /// An answer came from there.
    pub(super) fn succeeded(&self, endpoint: &Endpoint) {
        if endpoint.circuit.succeed() {
            log::info!("platform `{}`: {} answers again", self.name, endpoint.shown);
            self.show(endpoint.origin);
        }
    }

    /// Something failed there.
    pub(super) fn failed(
        &self,
        endpoint: &Endpoint,
        class: PlatformError,
        stage: Stage,
        is_trial: bool,
        error: &Error,
    ) {
        // Some pages may always end badly. Whoever asks for one of those must not cut the last origin off.
        let tells = matches!(stage, Stage::Connecting) || class == PlatformError::Timeout || is_trial;
        if !tells && !self.has_others(endpoint) {
            return;
        }
        let time = self.config.eject_time;
        if endpoint.circuit.fail(self.now(), is_trial, self.config.eject_failures, time.as_millis() as u64) {
            log::warn!("platform `{}`: {} is left alone for {time:?}: {error}", self.name, endpoint.shown);
            self.metrics.ejected(endpoint.origin);
            self.has_out.notify_one();
            self.show(endpoint.origin);
        }
    }

    fn has_others(&self, endpoint: &Endpoint) -> bool {
        let now = self.now();
        self.endpoints.load().iter().any(|end| end.id != endpoint.id && end.circuit.state(now) == State::Well)
    }

    /// Shows whether an origin gets requests.
    pub(super) fn show(&self, origin: usize) {
        let now = self.now();
        let endpoints = self.endpoints.load();
        let up = endpoints.iter().any(|end| end.origin == origin && end.circuit.state(now) == State::Well);
        self.metrics.set_up(origin, up);
    }

    /// Milliseconds on the platform's clock.
    pub(super) fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a Platform);

impl<'a> Waiting<'a> {
    /// None if the queue is full.
    fn begin(platform: &'a Platform) -> Option<Self> {
        let queue = platform.config.queue;
        platform.waiting.fetch_update(Relaxed, Relaxed, |waiting| (waiting < queue).then_some(waiting + 1)).ok()?;
        platform.metrics.queued.inc();
        Some(Waiting(platform))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
        self.0.metrics.queued.dec();
    }
}
