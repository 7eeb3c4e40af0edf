//! HTTP/2 connections, through Pingora's sessions (RFC 9113).
//!
//! Streams that arrive together are answered together, so that their answers go out in one write. What waits for a body,
//! for a platform or for the client's window has a task of its own.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::header;
use pingora::apps::HttpServerApp;
use pingora::http::RequestHeader;
use pingora::protocols::{
    Digest, GetSocketDigest, Ssl,
    http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    Door, body,
    connection::{Connection, Pace},
    drain::State,
    stream::Stream,
};
use crate::answer::{Facts, Parts, Refusal, Step, session::Ready};
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
        taken_back: AtomicU32::new(0),
        news: Notify::new(),
    });
    let digest = Arc::new(Digest {
        ssl_digest: connection.get_ssl_digest(),
        socket_digest: connection.get_socket_digest(),
        ..Digest::default()
    });
    let limits = door.limits;
    let head_time = Duration::from_secs(limits.head_time.into());
    let mut http2 = match timeout(head_time, handshake(Box::new(connection), Some(options(&limits)))).await {
        Ok(Ok(http2)) => http2,
        Ok(Err(error)) => return note(door, &error),
        Err(_) => return door.metrics().limit(Limit::HeadTime),
    };

    let mut state = door.drain.watch();
    let mut draining = pin!(state.wait_for(|&state| state != State::Serving));
    let (mut is_ending, mut is_flood) = (false, false);
    let mut alarm = pin!(sleep(head_time));
    let clock = door.responder.clock();
    let (mut idle_since, mut requests, mut malformed) = (clock.now(), 0, 0);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = HttpSession::from_h2_conn(&mut http2, digest.clone()) => Some(accepted),
            () = peer.news.notified() => None,
            _ = &mut draining, if !is_ending => {
                is_ending = true;
                http2.graceful_shutdown();
                alarm.as_mut().reset(Instant::now() + END_TIME);
                continue;
            }
            () = &mut alarm => {
                let idle = u32::try_from(clock.now() - idle_since).unwrap_or(0);
                let is_active = peer.active.load(Ordering::Relaxed) > 0;
                if is_ending && !is_active {
                    // It was asked to go and does not.
                    return;
                }
                if is_active || idle < limits.idle_time {
                    let rest = limits.idle_time.saturating_sub(idle).max(1);
                    alarm.as_mut().reset(Instant::now() + Duration::from_secs(rest.into()));
                    continue;
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
        let mut is_over = false;
        let mut next = accepted;
        while let Some(accepted) = next.take() {
            match accepted {
                Ok(Some(H2Accept::Session(session))) => batch.push(session),
                Ok(Some(H2Accept::Rejected)) => {
                    malformed += 1;
                    door.metrics().limit(Limit::Malformed);
                }
                Ok(None) => is_over = true,
                Err(error) => {
                    note(door, &error);
                    is_over = true;
                }
            }
            if !is_over && batch.len() < BATCH {
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
        if is_over {
            return;
        }
        if malformed + peer.taken_back.load(Ordering::Relaxed) > limits.resets && !is_flood {
            is_flood = true;
            door.metrics().limit(Limit::Http2Flood);
            http2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        } else if limits.requests > 0 && requests >= limits.requests {
            if !is_ending {
                door.metrics().limit(Limit::Requests);
                is_ending = true;
                http2.graceful_shutdown();
                alarm.as_mut().reset(Instant::now() + END_TIME);
            } else if requests >= limits.requests.saturating_add(limits.streams) {
                // What was on its way when it was asked to go has come; this is more.
                http2.abrupt_shutdown(Reason::NO_ERROR);
            }
        }
    }
}

/// What the streams of a connection have in common.
pub(super) struct Peer {
    secure: bool,
    sni: Option<Box<str>>,
    trusted: bool,
    client: Option<std::net::IpAddr>,
    /// Streams that have a task.
    active: AtomicUsize,
    /// Streams that the client has reset while they had a task.
    taken_back: AtomicU32,
    news: Notify,
}

impl Peer {
    /// Notes that the client has reset a stream.
    pub fn note_reset(&self) {
        self.taken_back.fetch_add(1, Ordering::Relaxed);
        self.news.notify_one();
    }
}

/// Answers a stream at once, or gives it a task.
fn stream(door: &Arc<Door>, peer: &Arc<Peer>, mut session: HttpSession) {
    if !session.is_body_empty() {
        return spawn(door, peer, session);
    }
    let facts = facts(session.req_header(), peer);
    let head_only = facts.method == Method::Head;
    match door.responder.respond(&facts, Lane::Http2, Ready::new) {
        Step::Answered(Ok(ready)) => {
            if let Some(rest) = begin(ready, &mut session, head_only) {
                let (door, own) = (door.clone(), peer.clone());
                tokio::spawn(active(peer.clone(), async move { rest.pour(&door, &own).await }));
            }
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
    struct Active(Arc<Peer>);
    impl Drop for Active {
        fn drop(&mut self) {
            self.0.active.fetch_sub(1, Ordering::Relaxed);
        }
    }
    peer.active.fetch_add(1, Ordering::Relaxed);
    let _active = Active(peer);
    task.await;
}

async fn wait(door: &Arc<Door>, peer: &Arc<Peer>, mut session: HttpSession) {
    let facts = facts(session.req_header(), peer).into_owned();
    let head_only = facts.method == Method::Head;
    let mut passed = Ok(());
    // Until the answer is sent.
    let mut held = None;
    let since = Instant::now();
    let ready = match door.responder.decide(&facts) {
        Step::Relay(_) => {
            let (lane, client, trusted) = (Lane::Http2, peer.client, peer.trusted);
            let visit = Visit { facts, lane, client, trusted, is_last: false, since };
            session.req_header_mut().extensions_mut().insert(visit);
            let shutdown = door.drain.shutdown_watch();
            let session = Stream::session(session, peer.clone(), door.limits.min_rate);
            door.proxy.process_new_http(session, &shutdown).await;
            return;
        }
        Step::Large => {
            let ready;
            (ready, held) = door.responder.respond_at_length(facts, Lane::Http2, Ready::new).await;
            Some(ready)
        }
        Step::Answered(()) => {
            // A body that nobody wants, taken in so that the client can read the answer whatever it waits for.
            passed = pass(&mut session, peer, door.limits.head_time).await;
            match passed {
                Ok(()) => answered(door.responder.respond(&facts, Lane::Http2, Ready::new)),
                Err(refusal) => refuse(door, refusal),
            }
        }
    };
    let Some(Ok(ready)) = ready else { return };
    if let Some(rest) = begin(ready, &mut session, head_only && passed.is_ok()) {
        rest.pour(door, peer).await;
    }
    drop(held);
}

fn refuse(door: &Door, refusal: Refusal) -> Option<pingora::Result<Ready>> {
    answered(door.responder.respond(&Facts::refused(refusal), Lane::Http2, Ready::new))
}

fn answered<R>(step: Step<R>) -> Option<R> {
    match step {
        Step::Answered(ready) => Some(ready),
        _ => None,
    }
}

/// Takes in a body of moderate length.
async fn pass(session: &mut HttpSession, peer: &Peer, time: u32) -> Result<(), Refusal> {
    let mut passed = 0;
    let taken = timeout(Duration::from_secs(time.into()), async {
        loop {
            match session.read_body_bytes().await {
                Ok(Some(bytes)) => passed += bytes.len() as u64,
                Ok(None) => return Ok(()),
                Err(_) => {
                    peer.note_reset();
                    return Ok(());
                }
            }
            if passed > body::MAX_PASSING {
                return Ok(());
            }
        }
    });
    taken.await.unwrap_or(Err(Refusal::BODY_TOO_SLOW))
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

/// Sends the head, and the body if the client's window has room for it; what is left to be sent otherwise.
fn begin(ready: Ready, session: &mut HttpSession, head_only: bool) -> Option<Rest> {
    let Ready { header, body } = ready;
    let is_empty = head_only || body.is_empty();
    // Errors mean that the client does not want it any more.
    session.write_response_header(header, is_empty).ok()?;
    if is_empty {
        return None;
    }
    let mut writer = session.take_response_body_writer()?;
    writer.reserve_capacity(body.len());
    if writer.capacity() < body.len() {
        return Some(Rest { writer, body });
    }
    let _ = writer.send_data(body, true);
    None
}

/// What a client has no room for yet.
struct Rest {
    writer: SendStream<Bytes>,
    body: Bytes,
}

impl Rest {
    /// Sends it as the client takes it, which it has to do at a certain rate.
    async fn pour(mut self, door: &Door, peer: &Peer) {
        let mut pace = Pace::new(door.limits.min_rate);
        while !self.body.is_empty() {
            self.writer.reserve_capacity(self.body.len().min(PIECE));
            let room = poll_fn(|cx| match self.writer.poll_capacity(cx) {
                Poll::Ready(Some(Ok(room))) => Poll::Ready(Ok(room)),
                Poll::Ready(_) => Poll::Ready(Err(Untaken::TakenBack)),
                Poll::Pending => pace.poll_slow(cx).map(|_| Err(Untaken::TooSlow)),
            });
            let room = match room.await {
                Ok(room) => room,
                Err(why) => {
                    match why {
                        Untaken::TakenBack => peer.note_reset(),
                        Untaken::TooSlow => door.metrics().limit(Limit::SendRate),
                    }
                    return self.writer.send_reset(Reason::CANCEL);
                }
            };
            let piece = self.body.split_to(room.min(self.body.len()));
            pace.passed(piece.len());
            if self.writer.send_data(piece, self.body.is_empty()).is_err() {
                return;
            }
        }
    }
}

/// Why an answer was not taken.
enum Untaken {
    TakenBack,
    TooSlow,
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

/// Bytes of a body that are handed to the connection at a time.
const PIECE: usize = 64 * 1024;

/// How long a connection may stay that was asked to go.
const END_TIME: Duration = Duration::from_secs(2);
