//! HTTP/2 connections, through Pingora's sessions (RFC 9113).
//!
//! Streams that arrive together are answered together, so that their answers go out in one write. What waits for a body,
//! for a platform or for the client's window has a task of its own (`streams`).
//!
//! An answer is done when the client's system has room for it, not when h2 has it: until then its connection stays,
//! whatever else would end it, as long as the client takes its answers at a certain rate. No stream is accepted while a
//! client has much to take.

mod streams;

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::ErrorKind,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use pingora::protocols::{
    Digest, GetSocketDigest, Ssl, Stream,
    http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake},
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Door, connection::Connection, drain::State};
use crate::config::Limits;
use crate::telemetry::Limit;

pub(super) use streams::{Peer, Untaken, pour};

/// Serves a connection to its end.
pub(super) async fn serve(door: &Arc<Door>, mut connection: Connection) {
    let limits = door.limits;
    let is_behind = connection.watch_sending(limits.min_rate);
    let peer = Peer::new(&connection);
    let digest = Arc::new(Digest {
        ssl_digest: connection.get_ssl_digest(),
        socket_digest: connection.get_socket_digest(),
        ..Digest::default()
    });
    let connection =
        match timeout(seconds(limits.head_time), handshake(Box::new(connection), Some(options(&limits)))).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return note(door, error.root_cause().downcast_ref()),
            Err(_) => return door.metrics().limit(Limit::HeadTime),
        };
    let now = Instant::now();
    let mut http2 = Http2 {
        door,
        peer: peer.clone(),
        digest,
        connection,
        is_behind,
        waiting: VecDeque::new(),
        requests: 0,
        malformed: 0,
        is_flood: false,
        course: Course::Serving,
        idle_since: now,
        unmoved: 0,
        look_at: now + seconds(limits.idle_time),
    };
    let mut state = door.drain.watch();
    let mut draining = pin!(state.wait_for(|&state| state != State::Serving));
    let mut alarm = pin!(sleep_until(http2.look_at));
    loop {
        let next = tokio::select! {
            biased;
            arrived = poll_fn(|cx| http2.poll_arrived(cx)) => http2.answer(arrived),
            () = peer.news() => {
                http2.idle_since = Instant::now();
                Next::Go
            }
            _ = &mut draining, if http2.course == Course::Serving => http2.end(),
            () = &mut alarm => http2.look(),
        };
        if next == Next::Stop {
            return;
        }
        http2.bound();
        if alarm.deadline() != http2.look_at {
            alarm.as_mut().reset(http2.look_at);
        }
    }
}

/// A connection and the streams on it.
struct Http2<'d> {
    door: &'d Arc<Door>,
    peer: Arc<Peer>,
    digest: Arc<Digest>,
    connection: h2::server::Connection<Stream, Bytes>,
    /// Whether the client has yet to take what was written.
    is_behind: Arc<AtomicBool>,
    /// Streams that have arrived and are not answered yet.
    waiting: VecDeque<HttpSession>,
    requests: u32,
    malformed: u32,
    is_flood: bool,
    course: Course,
    /// Since when nothing is on its way, as far as is known.
    idle_since: Instant,
    /// Looks at which there was something to be sent that nothing kept from being sent but the client's window.
    unmoved: u32,
    /// When it is looked at again.
    look_at: Instant,
}

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Serving,
    /// The client is asked to go.
    Ending,
    /// It is told that we go.
    Parting,
}

/// What came over the connection.
enum Arrived {
    /// Some streams, which wait to be answered.
    Streams,
    /// Its end.
    End,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

impl Http2<'_> {
    /// Goes on with the connection until streams have come that can be answered now.
    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<Arrived> {
        if self.peer.has_much_to_take() {
            // What comes waits within h2, which lets no more come than there may be at a time.
            if let Poll::Ready(end) = self.connection.poll_closed(cx) {
                note(self.door, end.err().as_ref());
                return Poll::Ready(Arrived::End);
            }
            if self.peer.has_much_to_take() {
                return Poll::Pending;
            }
        }
        let malformed = self.malformed;
        while self.waiting.len() < BATCH {
            match pin!(HttpSession::from_h2_conn(&mut self.connection, self.digest.clone())).poll(cx) {
                Poll::Ready(Ok(Some(H2Accept::Session(session)))) => self.waiting.push_back(session),
                Poll::Ready(Ok(Some(H2Accept::Rejected))) => {
                    self.malformed += 1;
                    self.door.metrics().limit(Limit::Malformed);
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(Arrived::End),
                Poll::Ready(Err(error)) => {
                    note(self.door, error.root_cause().downcast_ref());
                    return Poll::Ready(Arrived::End);
                }
                Poll::Pending => break,
            }
        }
        let is_nothing = self.waiting.is_empty() && self.malformed == malformed;
        if is_nothing { Poll::Pending } else { Poll::Ready(Arrived::Streams) }
    }

    /// Answers the streams that wait, as long as the client takes the answers.
    fn answer(&mut self, arrived: Arrived) -> Next {
        self.idle_since = Instant::now();
        while !self.peer.has_much_to_take()
            && let Some(session) = self.waiting.pop_front()
        {
            self.requests = self.requests.saturating_add(1);
            streams::answer(self.door, &self.peer, session);
        }
        match arrived {
            Arrived::Streams => Next::Go,
            Arrived::End => Next::Stop,
        }
    }

    /// Ends a connection that met a limit of those that hold for all its streams.
    fn bound(&mut self) {
        let limits = self.door.limits;
        if self.malformed + self.peer.taken_back() > limits.resets && !self.is_flood {
            self.is_flood = true;
            self.door.metrics().limit(Limit::Http2Flood);
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        } else if limits.requests > 0 && self.requests >= limits.requests {
            if self.course == Course::Serving {
                self.door.metrics().limit(Limit::Requests);
                self.end();
            } else if self.requests >= limits.requests.saturating_add(limits.streams) {
                // What was on its way when it was asked to go has come; this is more.
                self.connection.abrupt_shutdown(Reason::NO_ERROR);
            }
        }
    }

    /// Asks the client to go, when it has its answers.
    fn end(&mut self) -> Next {
        self.course = Course::Ending;
        self.connection.graceful_shutdown();
        self.idle_since = Instant::now();
        self.look_at = self.idle_since + END_TIME;
        Next::Go
    }

    /// Ends a connection on which nothing is on its way for too long, and one whose client takes nothing.
    fn look(&mut self) -> Next {
        let now = Instant::now();
        // Both have bounds of their own.
        let is_moving = self.peer.is_active() || self.is_behind.load(Ordering::Relaxed);
        if is_moving || self.connection.has_streams() {
            self.unmoved = if is_moving { 0 } else { self.unmoved + 1 };
            if self.unmoved > MOST_UNMOVED && self.door.limits.min_rate > 0 {
                // The client has taken its window back after an answer was made for it.
                self.door.metrics().limit(Limit::SendRate);
                return Next::Stop;
            }
            self.idle_since = now;
            self.look_at = now + LOOK;
            return Next::Go;
        }
        self.unmoved = 0;
        let serving = self.course == Course::Serving;
        let over = self.idle_since + if serving { seconds(self.door.limits.idle_time) } else { END_TIME };
        if now < over {
            self.look_at = over;
            return Next::Go;
        }
        match self.course {
            Course::Serving => {
                self.door.metrics().limit(Limit::IdleTime);
                self.end()
            }
            Course::Ending => {
                // It was asked to go and does not, or is far behind: the system may have much that is on its way.
                self.course = Course::Parting;
                self.connection.abrupt_shutdown(Reason::NO_ERROR);
                self.look_at = now + 2 * END_TIME;
                Next::Go
            }
            Course::Parting => Next::Stop,
        }
    }
}

fn options(limits: &Limits) -> H2Options {
    let mut options = default_h2_options();
    let resets = limits.resets as usize;
    options
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head)
        .max_send_buffer_size(streams::PIECE)
        .max_concurrent_reset_streams(resets)
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(Some(resets));
    options
}

/// Counts a connection that ended because of a flood, or because its client took nothing.
fn note(door: &Door, error: Option<&h2::Error>) {
    let Some(error) = error else { return };
    if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
        door.metrics().limit(Limit::Http2Flood);
    } else if error.get_io().is_some_and(|error| error.kind() == ErrorKind::TimedOut) {
        door.metrics().limit(Limit::SendRate);
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// Streams that are taken in before any is answered.
const BATCH: usize = 64;

/// How long a client may take to go that was asked to, and has its answers.
const END_TIME: Duration = Duration::from_secs(2);

/// How often a connection is looked at that has something to be sent when it would be idle.
const LOOK: Duration = Duration::from_secs(1);

/// Looks that may find the same.
const MOST_UNMOVED: u32 = 10;
