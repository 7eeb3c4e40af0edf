//! HTTP/2 connections, through Pingora's sessions (RFC 9113).
//!
//! Streams that arrive together are answered together, so that their answers go out in one write. What waits for a body,
//! for a platform or for the client's window has a task of its own.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::header;
use pingora::apps::HttpServerApp;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::{
    Digest, GetSocketDigest, Ssl,
    http::{
        ServerSession,
        v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake},
    },
};
use tokio::time::{Instant, sleep, timeout};

use super::{Door, connection::Connection, drain::State};
use crate::answer::{Answer, Facts, Parts, Refusal, Step, session};
use crate::config::Limits;
use crate::model::Method;
use crate::relay::Visit;
use crate::telemetry::{Lane, Limit};

/// Serves a connection to its end.
pub(super) async fn serve(door: &Arc<Door>, connection: Connection) {
    let peer = Arc::new(Peer {
        secure: connection.is_secure(),
        sni: connection.sni().map(Into::into),
        trusted: connection.trusted,
        client: connection.client.map(|client| client.ip()),
        active: AtomicUsize::new(0),
    });
    let digest = Arc::new(Digest {
        ssl_digest: connection.get_ssl_digest(),
        socket_digest: connection.get_socket_digest(),
        ..Digest::default()
    });
    let limits = door.limits;
    let head_time = Duration::from_secs(limits.head_time.into());
    let Ok(Ok(mut http2)) = timeout(head_time, handshake(Box::new(connection), Some(options(&limits)))).await else {
        return door.metrics().limit(Limit::HeadTime);
    };

    let mut state = door.drain.watch();
    let mut draining = pin!(state.wait_for(|&state| state != State::Serving));
    let mut is_ending = false;
    let mut alarm = pin!(sleep(head_time));
    let clock = door.responder.clock();
    let (mut idle_since, mut requests, mut malformed) = (clock.now(), 0, 0);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = HttpSession::from_h2_conn(&mut http2, digest.clone()) => accepted,
            _ = &mut draining, if !is_ending => {
                is_ending = true;
                http2.graceful_shutdown();
                continue;
            }
            () = &mut alarm => {
                let idle = u32::try_from(clock.now() - idle_since).unwrap_or(0);
                if peer.active.load(Ordering::Relaxed) > 0 || idle < limits.idle_time {
                    let rest = limits.idle_time.saturating_sub(idle).max(1);
                    alarm.as_mut().reset(Instant::now() + Duration::from_secs(rest.into()));
                    continue;
                }
                if is_ending {
                    // It was asked to go and does not.
                    return;
                }
                door.metrics().limit(Limit::IdleTime);
                is_ending = true;
                http2.graceful_shutdown();
                alarm.as_mut().reset(Instant::now() + END_TIME);
                continue;
            }
        };
        let start = std::time::Instant::now();
        idle_since = clock.now();
        // Those that came with it are taken in before any is answered.
        let mut batch = Vec::new();
        let mut next = Some(accepted);
        while let Some(accepted) = next.take() {
            match accepted {
                Ok(Some(H2Accept::Session(session))) => batch.push(session),
                Ok(Some(H2Accept::Rejected)) => {
                    malformed += 1;
                    door.metrics().limit(Limit::Malformed);
                }
                Ok(None) => return,
                Err(error) => return note(door, &error),
            }
            if batch.len() < BATCH {
                let mut more = pin!(HttpSession::from_h2_conn(&mut http2, digest.clone()));
                next = poll_fn(|cx| {
                    Poll::Ready(match more.as_mut().poll(cx) {
                        Poll::Ready(accepted) => Some(accepted),
                        Poll::Pending => None,
                    })
                })
                .await;
            }
        }
        requests += batch.len() as u32;
        let count = batch.len();
        for session in batch {
            stream(door, &peer, session);
        }
        let took = start.elapsed();
        (0..count).for_each(|_| door.responder.metrics().observe(took));
        if malformed > limits.resets {
            door.metrics().limit(Limit::Http2Flood);
            http2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        } else if limits.requests > 0 && requests >= limits.requests && !is_ending {
            door.metrics().limit(Limit::Requests);
            is_ending = true;
            http2.graceful_shutdown();
        }
    }
}

/// What the streams of a connection have in common.
struct Peer {
    secure: bool,
    sni: Option<Box<str>>,
    trusted: bool,
    client: Option<std::net::IpAddr>,
    /// Streams that have a task.
    active: AtomicUsize,
}

/// Answers a stream at once, or gives it a task.
fn stream(door: &Arc<Door>, peer: &Arc<Peer>, mut session: HttpSession) {
    if !session.is_body_empty() {
        return spawn(door, peer, session);
    }
    let facts = facts(session.req_header(), peer);
    let head_only = facts.method == Method::Head;
    match door.responder.respond(&facts, Lane::Http2, Ready::new) {
        Step::Answered(Ok(ready)) if ready.body.len() <= AT_ONCE => {
            // An error means that the client does not want it any more.
            let _ = ready.queue(&mut session, head_only);
        }
        Step::Answered(Ok(ready)) => {
            let door = door.clone();
            tokio::spawn(active(peer.clone(), async move { ready.write(&door, session, head_only).await }));
        }
        Step::Answered(Err(error)) => log::error!("an answer could not be made: {error}"),
        Step::Relay(_) | Step::Large => spawn(door, peer, session),
    }
}

/// Gives a stream a task: to take in its body, to wait for a large answer, or to go to a platform.
fn spawn(door: &Arc<Door>, peer: &Arc<Peer>, session: HttpSession) {
    let (door, own) = (door.clone(), peer.clone());
    tokio::spawn(active(peer.clone(), async move { wait(&door, &own, session).await }));
}

async fn active(peer: Arc<Peer>, task: impl Future<Output = ()>) {
    peer.active.fetch_add(1, Ordering::Relaxed);
    task.await;
    peer.active.fetch_sub(1, Ordering::Relaxed);
}

async fn wait(door: &Arc<Door>, peer: &Peer, mut session: HttpSession) {
    let facts = facts(session.req_header(), peer).into_owned();
    let head_only = facts.method == Method::Head;
    let mut passed = Ok(());
    let ready = match door.responder.decide(&facts) {
        Step::Relay(_) => {
            let visit = Visit { facts, lane: Lane::Http2, client: peer.client, trusted: peer.trusted, is_last: false };
            session.req_header_mut().extensions_mut().insert(visit);
            let shutdown = door.drain.shutdown_watch();
            door.proxy.process_new_http(ServerSession::new_http2(session), &shutdown).await;
            return;
        }
        Step::Large => door.responder.respond_at_length(facts, Lane::Http2, Ready::new).await,
        Step::Answered(()) => {
            // A body that nobody wants, taken in so that the client can read the answer whatever it waits for.
            passed = pass(&mut session, door.limits.head_time).await;
            let facts = match passed {
                Ok(()) => facts,
                Err(refusal) => Facts::refused(refusal),
            };
            match door.responder.respond(&facts, Lane::Http2, Ready::new) {
                Step::Answered(ready) => Some(ready),
                _ => None,
            }
        }
    };
    let Some(Ok(ready)) = ready else { return };
    ready.write(door, session, head_only && passed.is_ok()).await;
}

/// Takes in a body of moderate length.
async fn pass(session: &mut HttpSession, time: u32) -> Result<(), Refusal> {
    let mut passed = 0;
    let taken = timeout(Duration::from_secs(time.into()), async {
        while let Ok(Some(bytes)) = session.read_body_bytes().await {
            passed += bytes.len();
            if passed > MAX_PASSING {
                return Err(Refusal { status: 413, reason: "nobody asked for a body, and this one is long" });
            }
        }
        Ok(())
    });
    taken.await.unwrap_or(Err(Refusal { status: 408, reason: "the body of the request took too long" }))
}

fn facts<'a>(head: &'a RequestHeader, peer: &'a Peer) -> Facts<'a> {
    let value = |name| head.headers.get(name).map(header::HeaderValue::as_bytes);
    Facts::read(&Parts {
        method: head.method.as_str(),
        target: head.raw_path(),
        host: head.uri.authority().map(|authority| authority.as_str().as_bytes()).or_else(|| value("host")),
        secure: peer.secure,
        sni: peer.sni.as_deref(),
        trusted: peer.trusted,
        forwarded_host: value("x-forwarded-host"),
        forwarded_proto: value("x-forwarded-proto"),
        accept_language: value("accept-language"),
    })
}

/// An answer that needs nothing more than to be written.
struct Ready {
    header: Box<ResponseHeader>,
    body: Bytes,
}

impl Ready {
    fn new(answer: &Answer<'_>) -> pingora::Result<Self> {
        Ok(Ready { header: session::header(answer)?, body: answer.body.clone() })
    }

    /// Hands it to the connection, which sends it as the client's window allows. For bodies that may stay in memory so
    /// long.
    fn queue(self, session: &mut HttpSession, head_only: bool) -> pingora::Result<()> {
        let is_empty = head_only || self.body.is_empty();
        session.write_response_header(self.header, is_empty)?;
        if !is_empty && let Some(mut writer) = session.take_response_body_writer() {
            // As above.
            let _ = writer.send_data(self.body, true);
        }
        Ok(())
    }

    /// Sends it as the client takes it, which may not take longer than its length allows.
    async fn write(self, door: &Door, mut session: HttpSession, head_only: bool) {
        let is_empty = head_only || self.body.is_empty();
        let rate = u64::from(door.limits.min_rate);
        let bound = (rate > 0).then(|| GRACE + Duration::from_secs(self.body.len() as u64 / rate.max(1)));
        let write = async {
            session.write_response_header(self.header, is_empty)?;
            if is_empty { Ok(()) } else { session.write_body(self.body, true).await }
        };
        match bound {
            None => drop(write.await),
            Some(bound) if timeout(bound, write).await.is_err() => door.metrics().limit(Limit::SendRate),
            Some(_) => {}
        }
    }
}

fn options(limits: &Limits) -> H2Options {
    let mut options = default_h2_options();
    let resets = limits.resets as usize;
    options
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head)
        .max_concurrent_reset_streams(resets)
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(Some(resets));
    options
}

/// Counts a connection that ended because of a flood.
fn note(door: &Door, error: &pingora::Error) {
    let reason = error.root_cause().downcast_ref::<h2::Error>().and_then(h2::Error::reason);
    if reason == Some(Reason::ENHANCE_YOUR_CALM) {
        door.metrics().limit(Limit::Http2Flood);
    }
}

/// Streams that are taken in before any is answered.
const BATCH: usize = 64;

/// Bytes of a body that the connection may hold until the client takes it.
const AT_ONCE: usize = 64 * 1024;

/// Bytes of a request body that are let pass.
const MAX_PASSING: usize = 64 * 1024;

/// How long a client may take for any answer.
const GRACE: Duration = Duration::from_secs(10);

/// How long a connection may stay that was asked to go.
const END_TIME: Duration = Duration::from_secs(2);
