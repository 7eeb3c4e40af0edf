//! A request's stay with a platform: one origin after the other, until one answers.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use pingora::protocols::{Digest, Stream};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep},
};

use super::endpoint::{Connection, Endpoint, check_pins};
use super::idle::Wire;
use super::platform::Platform;
use crate::config::Origin;
use crate::telemetry::{PlatformError, PlatformOutcome};

/// A place at a platform, and the origin that the request goes to. Dropping it leaves the place.
///
/// The order of calls: [`Turn::idle`], or [`Turn::peer`] → connect → [`Turn::connected`]; → send → [`Turn::answered`]; or at any
/// step [`Turn::failed`], which says whether to begin again.
pub struct Turn {
    platform: Arc<Platform>,
    endpoint: Arc<Endpoint>,
    is_trial: bool,
    /// Origins that failed, by id.
    tried: Vec<u64>,
    tries: u32,
    key: u64,
    began: Instant,
    /// A connection of the pool has failed: the others may be as dead.
    distrusts_pool: bool,
    /// To be waited for before the next try.
    pause: Duration,
    is_over: bool,
    is_hurried: bool,
    _permit: OwnedSemaphorePermit,
}

/// How far a request had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There was no connection yet: the origin has seen nothing.
    Connecting,
    /// It was sent, or part of it, and no answer had begun.
    Sent {
        /// Whether the connection had served other requests before.
        reused: bool,
        /// Whether it may be sent twice: an idempotent method, and all of the body at hand.
        repeatable: bool,
    },
    /// An answer had begun.
    Answering,
}

impl Turn {
    pub(super) fn new(
        platform: Arc<Platform>,
        (endpoint, is_trial): (Arc<Endpoint>, bool),
        key: u64,
        began: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        endpoint.requests.fetch_add(1, Relaxed);
        platform.metrics.in_flight.inc();
        Turn {
            platform,
            endpoint,
            is_trial,
            tried: Vec::new(),
            tries: 0,
            key,
            began,
            distrusts_pool: false,
            pause: Duration::ZERO,
            is_over: false,
            is_hurried: false,
            _permit: permit,
        }
    }

    /// The platform.
    pub fn platform(&self) -> &Arc<Platform> {
        &self.platform
    }

    /// Whether the request tries an origin that has failed before, on behalf of all others: it may take long to fail.
    pub fn is_trial(&self) -> bool {
        self.is_trial
    }

    /// There is something else to answer with: an origin that refuses a connection is given no time to start again.
    pub fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// The origin that is asked now, as the configuration names it.
    pub fn origin(&self) -> Option<&Origin> {
        self.platform.config.origins.get(self.endpoint.origin)
    }

    /// Whom to connect to. Only a request that may be sent twice may ask for a pooled connection: see
    /// [`Connection::Pooled`]. Every timeout is set, the time until the head of the answer included.
    ///
    /// # Errors
    /// If the platform's time for this request is over.
    pub async fn peer(&mut self, connection: Connection) -> Result<Box<HttpPeer>> {
        let rest = self.begin().await?;
        Ok(self.endpoint.peer(if self.distrusts_pool { Connection::New } else { connection }, rest))
    }

    /// A connection of HTTP/1 that waits for a request, if there is one. Only for a request that may be sent twice.
    ///
    /// # Errors
    /// If the platform's time for this request is over.
    pub async fn idle(&mut self) -> Result<Option<Box<Wire>>> {
        self.begin().await?;
        Ok(if self.distrusts_pool { None } else { self.endpoint.idle.take() })
    }

    /// A new connection of HTTP/1, which was [`Self::connected`].
    pub fn wire(&self, stream: Stream) -> Box<Wire> {
        Wire::new(stream, &self.endpoint.idle)
    }

    /// Keeps a connection for the next request. Whatever was asked over it has been answered, to the last byte.
    pub fn keep(&self, wire: Box<Wire>) {
        self.endpoint.idle.keep(wire, self.platform.config.keep_alive);
    }

    /// Waits as long as the next try has to; the time that is left for it.
    async fn begin(&mut self) -> Result<Duration> {
        let pause = std::mem::take(&mut self.pause);
        if !pause.is_zero() {
            sleep(pause.min(self.rest())).await;
        }
        let rest = self.rest();
        if rest.is_zero() {
            self.platform.metrics.error(PlatformError::Timeout);
            self.end(PlatformOutcome::Failed);
            let why = format!("{:?} are over", self.platform.config.total_time);
            return Err(Error::explain(ErrorType::ReadTimedout, why).into_up());
        }
        Ok(rest)
    }

    /// How long it may take from now until an answer begins.
    pub fn rest(&self) -> Duration {
        self.platform.config.total_time.saturating_sub(self.began.elapsed())
    }

    /// To be called with each connection, new or not, before anything is sent over it.
    ///
    /// # Errors
    /// If it is not to whom it should be.
    pub fn connected(&self, digest: Option<&Digest>) -> Result<()> {
        check_pins(&self.platform.config, digest).inspect_err(|_| self.endpoint.abandon_pool())
    }

    /// An answer has begun, with this final status.
    pub fn answered(&mut self, status: u16) {
        self.platform.metrics.observe(self.began.elapsed());
        self.platform.succeeded(&self.endpoint);
        self.is_trial = false;
        self.end(PlatformOutcome::of(status));
    }

    /// The body of an answer could not be rewritten.
    pub fn broke(&self) {
        self.platform.metrics.broken.inc();
    }

    /// Something of the platform failed. True if the request is to be tried again: the turn is another origin's by then,
    /// if there is one.
    pub fn failed(&mut self, error: &Error, stage: Stage) -> bool {
        let class = classify(error);
        let has_time = !self.rest().is_zero();
        // In HTTP/2 a dead connection may also show before anything is sent.
        let may_be_stale = matches!(stage, Stage::Connecting | Stage::Sent { reused: true, repeatable: true });
        if may_be_stale
            && class == PlatformError::Reset
            && !std::mem::replace(&mut self.distrusts_pool, true)
            && has_time
        {
            // The origin has closed a connection that nobody used, as it may: that is no failure of it.
            self.platform.metrics.retries.inc();
            return true;
        }
        if matches!(error.etype(), ErrorType::H2Downgrade | ErrorType::InvalidH2) {
            self.endpoint.downgrade();
            let repeatable = matches!(stage, Stage::Sent { repeatable: true, .. });
            if repeatable && has_time && self.tries < self.platform.config.retries {
                self.tries += 1;
                self.platform.metrics.error(class);
                self.platform.metrics.retries.inc();
                return true;
            }
        }
        // Nothing is sent before the certificate is known to be right.
        let stage = if class == PlatformError::Tls { Stage::Connecting } else { stage };
        self.platform.metrics.error(class);
        self.platform.failed(&self.endpoint, class, stage, self.is_trial, error);
        self.is_trial = false;
        let again = match stage {
            Stage::Connecting => true,
            Stage::Sent { repeatable, .. } => repeatable && class == PlatformError::Reset,
            Stage::Answering => false,
        };
        self.tries += 1;
        self.distrusts_pool |= stage != Stage::Connecting;
        // An origin that refuses connections may be starting; one that ends them, stopping, unless it is what is asked for that
        // ends it.
        let may_return = match (stage, class) {
            (Stage::Connecting, PlatformError::Connect) => !self.is_hurried,
            (_, PlatformError::Reset) => !self.is_hurried && self.tries == 1,
            _ => false,
        };
        if again && has_time && self.tries <= self.platform.config.retries && self.move_on(may_return) {
            self.platform.metrics.retries.inc();
            return true;
        }
        self.end(PlatformOutcome::Failed);
        false
    }

    /// Another origin; the same ones again after a pause, if they may be. False if there is none.
    fn move_on(&mut self, may_return: bool) -> bool {
        self.tried.push(self.endpoint.id);
        let mut next = self.platform.choose(self.key, &self.tried);
        if next.is_none() && may_return {
            self.tried.clear();
            self.pause = PAUSE * self.tries;
            next = self.platform.choose(self.key, &[]);
        }
        let Some((endpoint, is_trial)) = next else { return false };
        endpoint.requests.fetch_add(1, Relaxed);
        self.endpoint.requests.fetch_sub(1, Relaxed);
        (self.endpoint, self.is_trial) = (endpoint, is_trial);
        true
    }

    /// Counts the request, once.
    fn end(&mut self, outcome: PlatformOutcome) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.platform.metrics.request(outcome);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_trial {
            self.endpoint.circuit.give_back();
        }
        self.endpoint.requests.fetch_sub(1, Relaxed);
        self.platform.metrics.in_flight.dec();
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("endpoint", &self.endpoint.shown)
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}

/// What went wrong, as far as dashboards and retries care.
pub fn classify(error: &Error) -> PlatformError {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout
        | ErrorType::TLSHandshakeTimedout => PlatformError::Timeout,
        ErrorType::TLSHandshakeFailure
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError
        | ErrorType::TLSWantX509Lookup => PlatformError::Tls,
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed | ErrorType::H2Error => {
            PlatformError::Reset
        }
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::InvalidH2 | ErrorType::H2Downgrade => {
            PlatformError::Protocol
        }
        _ => PlatformError::Connect,
    }
}

/// How long the only origin is given after it refused or ended a connection, times the number of tries.
const PAUSE: Duration = Duration::from_millis(100);
