//! The door: connections, and the requests that come through them.
//!
//! Owns: the listening sockets ([`listen`]), the connections, where the state is that they are answered from ([`Live`]),
//! what is believed of a request's head, keep-alive, what happens to request bodies nobody asked for. Never does:
//! deciding ([`crate::routing`]) or making answers ([`crate::answer`]); it hands requests to the one and the results of
//! the other to the client.
//!
//! Invariants: a request is decided on one [`Live`], whatever is reloaded meanwhile; every request that could be read is
//! answered and counted once; nothing is logged per request, so that no client can fill the log.
//!
//! The way of a connection ([`Door::process_new`]): receive a request line → make it one that Pingora takes (`line`) →
//! Pingora's HTTP/1 session reads the rest → facts (`request`) → decide, make the answer, count → take in the body →
//! write → again. The next issue furnishes the rooms that are still empty here: `proxy_protocol` and `handshake` (TLS by
//! our own rustls configuration) before the first byte of HTTP, `fast` in place of the session where the verdict is an
//! answer (heads parsed from the connection's buffer, [`crate::answer::Answer`] written straight into it), `limits`
//! (deadlines, connections per client), and HTTP/2, whose sessions come to `Door::serve` as well.

mod clock;
mod drain;
mod line;
pub mod listen;
mod live;
mod request;
mod workers;

use std::{cell::RefCell, net::IpAddr, sync::Arc, time::Duration, time::Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, header};
use ipnet::IpNet;
use pingora::apps::ServerApp;
use pingora::http::ResponseHeader;
use pingora::protocols::{
    Stream,
    http::{ReusableHttpStream, ServerSession},
};
use pingora::server::ShutdownWatch;
use pingora::{Error, ErrorType};
use tokio::time::timeout;

use crate::answer::{self, session, sitemap};
use crate::config::Gateway;
use crate::model::Verdict;
use crate::routing::{Decision, Scratch};
use crate::telemetry::Metrics;

pub use clock::Clock;
pub use drain::{Drain, Guard, State};
pub use live::{Live, LiveCell};
use request::Facts;
pub use workers::{Accepted, PingoraApp, Serve, Workers};

/// How long a connection may wait for its next request, and how long a request line may take.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Bytes of a request body that are read and thrown away so that the connection can be used again.
const MAX_DRAIN: usize = 64 * 1024;

/// How long a client may take to send such a body.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Bytes of a longer body that are read after the answer, before the connection closes: closed at once, the system would
/// tell the client that the connection was reset, and the answer would be lost (RFC 9112, 9.6).
const MAX_LINGER: usize = 1024 * 1024;

/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Large sitemaps that are written at the same time; others wait. Each takes a core for milliseconds.
const SITEMAPS_AT_ONCE: usize = 2;

/// The application behind every public address.
pub struct Door {
    shared: Arc<Shared>,
    trusted_proxies: Vec<IpNet>,
    sitemaps: tokio::sync::Semaphore,
}

/// What an answer is made from.
struct Shared {
    live: Arc<LiveCell>,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    cache_control: String,
}

/// An answer that needs nothing more than to be written.
struct Ready {
    header: Box<ResponseHeader>,
    body: Bytes,
}

/// What came of a request.
enum Step {
    Ready(Ready),
    /// A large sitemap: to be made where it holds up nobody.
    Large,
}

thread_local! {
    /// Between two requests a thread has no use for it, so one for all its connections is enough.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Door {
    /// The door of a gateway, answering from whatever is in `live`.
    pub fn new(gateway: &Gateway, live: Arc<LiveCell>, metrics: Arc<Metrics>, clock: Arc<Clock>) -> Self {
        Door {
            shared: Arc::new(Shared { live, metrics, clock, cache_control: gateway.cache_control.clone() }),
            trusted_proxies: gateway.trusted_proxies.clone(),
            sitemaps: tokio::sync::Semaphore::new(SITEMAPS_AT_ONCE),
        }
    }

    /// Whether the peer's X-Forwarded headers are believed.
    fn trusts(&self, session: &ServerSession) -> bool {
        if self.trusted_proxies.is_empty() {
            return false;
        }
        let Some(peer) = session.client_addr().and_then(|peer| peer.as_inet()) else { return false };
        // An IPv4 peer of an IPv6 socket comes as ::ffff:a.b.c.d.
        let peer: IpAddr = peer.ip().to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    async fn ready(&self, facts: Facts<'_>) -> pingora::Result<Ready> {
        match self.shared.respond(&facts, false)? {
            Step::Ready(ready) => Ok(ready),
            Step::Large => {
                let _turn = self.sitemaps.acquire().await;
                let (shared, facts) = (self.shared.clone(), facts.into_owned());
                let made = tokio::task::spawn_blocking(move || shared.respond(&facts, true)).await;
                match made {
                    Ok(Ok(Step::Ready(ready))) => Ok(ready),
                    Ok(Err(error)) => Err(error),
                    Ok(Ok(Step::Large)) | Err(_) => {
                        Error::e_explain(ErrorType::InternalError, "a sitemap could not be made")
                    }
                }
            }
        }
    }

    /// Serves one request, whose line has arrived; the connection, if another may follow.
    async fn serve(
        &self,
        mut session: ServerSession,
        sent_target: Option<&[u8]>,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusableHttpStream> {
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                self.refuse(session, &error).await;
                return None;
            }
        }
        let start = Instant::now();
        // What the client asked for in its Connection header stays. (The seconds are for Pingora's own loop: see
        // KEEP_ALIVE.)
        let keep = session.get_keepalive().is_some() && !*shutdown.borrow();
        session.set_keepalive(keep.then_some(KEEP_ALIVE.as_secs()));

        let trusted = self.trusts(&session);
        let facts = Facts::read(session.req_header(), sent_target, trusted);
        let ready = match self.ready(facts).await {
            Ok(ready) => ready,
            Err(error) => {
                log::error!("an answer could not be made: {error}");
                return None;
            }
        };
        let is_drained = session.is_body_done() || drain(&mut session).await;
        if !is_drained {
            session.set_keepalive(None);
        }
        let written = session::write(&mut session, ready.header, ready.body).await;
        self.shared.metrics.observe(start.elapsed());
        written.ok()?;
        if !is_drained {
            linger(&mut session).await;
            return None;
        }
        session.finish().await.ok()?
    }

    /// Answers a connection whose next head can't be read, as far as there is still somebody to answer.
    async fn refuse(&self, mut session: ServerSession, error: &Error) {
        match error.etype() {
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::ReadTimedout => return,
            _ => log::debug!("a request was not understood: {error}"),
        }
        session.set_keepalive(None);
        let facts = Facts::unreadable("the request is malformed");
        if let Ok(Step::Ready(ready)) = self.shared.respond(&facts, true)
            && session::write(&mut session, ready.header, ready.body).await.is_ok()
        {
            // An error means that the client is gone, which ends the connection as well.
            let _ = session.finish().await;
        }
    }
}

impl Shared {
    /// Decides, makes the answer and counts it. Nothing in here waits, so the working space may be the thread's.
    fn respond(&self, facts: &Facts<'_>, may_take_long: bool) -> pingora::Result<Step> {
        SCRATCH.with_borrow_mut(|scratch| {
            let live = self.live.load();
            let request = facts.request();
            let decision = match facts.refused {
                None => live.snapshot.decide(&request, self.clock.now(), scratch),
                Some(reason) => {
                    Decision { verdict: Verdict::BadRequest(reason), site: None, host: "", phase: None, source: None }
                }
            };
            if !may_take_long && sitemap::is_large(&decision) {
                return Ok(Step::Large);
            }
            self.count(&live, &decision);
            let answer = answer::answer(&decision, &request, facts.accept_language.as_deref(), &self.cache_control);
            let header = session::header(&answer)?;
            let body = if request.method == crate::model::Method::Head { Bytes::new() } else { answer.body };
            Ok(Step::Ready(Ready { header, body }))
        })
    }

    fn count(&self, live: &Live, decision: &Decision<'_>) {
        let counters = match decision.site.and_then(|(number, _)| live.counters.get(number)) {
            Some(counters) => counters,
            None => self.metrics.no_site(),
        };
        counters.count(decision.verdict.outcome());
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut received = BytesMut::new();
        let mut stopping = shutdown.clone();
        let mut is_first = true;
        // One request after the other, until the connection is done for.
        loop {
            tokio::select! {
                biased;
                is_there = line::receive(&mut stream, &mut received, KEEP_ALIVE) => {
                    if !is_there {
                        return None;
                    }
                }
                _ = stopping.wait_for(|&stop| stop), if !is_first => return None,
            }
            is_first = false;
            let sent_target = line::escape_target(&mut received);
            let mut session = ServerSession::new_http1(stream);
            session.set_pipelining_enabled(true);
            session.set_pipelined_prefix(received);
            let reusable = self.serve(session, sent_target.as_deref(), shutdown).await?;
            let pipelined;
            (stream, pipelined) = reusable.into_parts();
            received = pipelined.unwrap_or_default();
        }
    }
}

/// Reads a request body that is not too long to its end; false if that is not done.
async fn drain(session: &mut ServerSession) -> bool {
    let head = session.req_header();
    // Such a client sends its body only when asked to, and it won't be.
    if head.headers.contains_key(header::EXPECT) {
        return false;
    }
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if head.method == Method::CONNECT || length.is_some_and(|length| length > MAX_DRAIN) {
        return false;
    }
    timeout(DRAIN_TIME, read_away(session, MAX_DRAIN)).await.unwrap_or(false)
}

/// Closes our half of the connection and waits a little for the client to notice.
async fn linger(session: &mut ServerSession) {
    session.shutdown().await;
    let _ = timeout(LINGER_TIME, read_away(session, MAX_LINGER)).await;
}

/// Reads the body and forgets it; true if its end came within `limit` bytes.
async fn read_away(session: &mut ServerSession, limit: usize) -> bool {
    let mut read = 0;
    loop {
        match session.read_request_body().await {
            Ok(Some(bytes)) => read += bytes.len(),
            Ok(None) => return true,
            Err(_) => return false,
        }
        if read > limit {
            return false;
        }
    }
}
