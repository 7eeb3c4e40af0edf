//! The streams of a connection: one at a time answered, or given a task.

use std::{
    future::poll_fn,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderValue, header};
use pingora::Result;
use pingora::apps::HttpServerApp;
use pingora::http::RequestHeader;
use pingora::protocols::http::v2::server::HttpSession;
use tokio::{sync::Notify, time::timeout};

use crate::answer::{Facts, Parts, Refusal, Step, session::Ready};
use crate::door::{
    Door,
    body::MAX_PASSING,
    connection::{Connection, Pace},
    head,
    stream::Stream,
};
use crate::model::Method;
use crate::relay::{AnswerDate, Visit};
use crate::telemetry::{Lane, Limit, Protocol};

/// What the streams of a connection have in common.
pub(in crate::door) struct Peer {
    secure: bool,
    sni: Option<Box<str>>,
    trusted: bool,
    address: Option<IpAddr>,
    /// Streams that have a task.
    active: AtomicUsize,
    /// Streams that the client has reset while they had a task.
    taken_back: AtomicU32,
    /// Bytes of bodies that the client has not taken.
    untaken: AtomicUsize,
    /// For the connection: something has ended.
    news: Notify,
    /// For streams: the client has taken something.
    taken: Notify,
}

impl Peer {
    pub(super) fn new(connection: &Connection) -> Arc<Self> {
        Arc::new(Peer {
            secure: connection.is_secure(),
            sni: connection.sni().map(Into::into),
            trusted: connection.trusted,
            address: connection.peer(),
            active: AtomicUsize::new(0),
            taken_back: AtomicU32::new(0),
            untaken: AtomicUsize::new(0),
            news: Notify::new(),
            taken: Notify::new(),
        })
    }

    /// Notes that the client has reset a stream.
    pub fn note_reset(&self) {
        self.taken_back.fetch_add(1, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Streams that the client has reset while they had a task.
    pub(super) fn taken_back(&self) -> u32 {
        self.taken_back.load(Ordering::Relaxed)
    }

    /// Whether a stream has a task.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Whether so much is to be taken by the client that no more should be made.
    pub(super) fn has_much_to_take(&self) -> bool {
        self.untaken.load(Ordering::Relaxed) >= MOST_UNTAKEN
    }

    /// Waits for the client to reset a stream, for the last task to end, or for room for more answers.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Waits until the client has not much to take.
    async fn room(&self) {
        loop {
            let mut taken = pin!(self.taken.notified());
            // From here on no word is missed.
            taken.as_mut().enable();
            if !self.has_much_to_take() {
                return;
            }
            taken.await;
        }
    }

    /// Counts a body until nothing of it is left in memory.
    fn hold(self: &Arc<Self>, body: Bytes) -> Bytes {
        struct Held(Bytes, Arc<Peer>);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Drop for Held {
            fn drop(&mut self) {
                let Held(body, peer) = self;
                let before = peer.untaken.fetch_sub(body.len(), Ordering::Relaxed);
                if before >= MOST_UNTAKEN && !peer.has_much_to_take() {
                    peer.news.notify_one();
                    peer.taken.notify_waiters();
                }
            }
        }
        self.untaken.fetch_add(body.len(), Ordering::Relaxed);
        Bytes::from_owner(Held(body, self.clone()))
    }
}

/// Answers a stream at once, or gives it a task.
pub(super) fn answer(door: &Arc<Door>, peer: &Arc<Peer>, mut session: HttpSession) {
    let head = session.req_header();
    let head_only = head.method == http::Method::HEAD;
    let facts = facts(head, peer, door);
    let facts = door.responder.admit(facts, &head.headers);
    let ready = match fault(head, door) {
        Some(refusal) => door.responder.refuse(&facts, refusal, Lane::Http2, Ready::new),
        None if !session.is_body_empty() => return spawn(door, peer, facts.into_owned(), session),
        None => match door.responder.respond(&facts, Lane::Http2, Ready::new) {
            Step::Answered(ready) => ready,
            Step::Relay(_) | Step::Large => return spawn(door, peer, facts.into_owned(), session),
        },
    };
    if let Some(rest) = begin(ready, &mut session, head_only, Some(peer)) {
        let (door, own) = (door.clone(), peer.clone());
        tokio::spawn(active(peer.clone(), async move { rest.pour(&door, &own).await }));
    }
}

/// Gives a stream a task: to take in its body, to wait for a large answer, or to go to a platform.
fn spawn(door: &Arc<Door>, peer: &Arc<Peer>, facts: Facts<'static>, session: HttpSession) {
    let (door, own) = (door.clone(), peer.clone());
    tokio::spawn(active(peer.clone(), async move { wait(&door, &own, facts, session).await }));
}

async fn active(peer: Arc<Peer>, task: impl Future<Output = ()>) {
    struct Active(Arc<Peer>);
    impl Drop for Active {
        fn drop(&mut self) {
            if self.0.active.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.0.news.notify_one();
            }
        }
    }
    peer.active.fetch_add(1, Ordering::Relaxed);
    let _active = Active(peer);
    task.await;
}

async fn wait(door: &Arc<Door>, peer: &Arc<Peer>, facts: Facts<'static>, mut session: HttpSession) {
    let head_only = facts.method == Method::Head;
    if let Step::Relay(_) = door.responder.decide(&facts) {
        return relay(door, peer, session, facts).await;
    }
    // A body that nobody wants passes first, if it is short: some clients do not look at an answer before they have sent
    // all. One that is long, or that the client has not begun to send, is not waited for; it is reset after the answer.
    let passed = if waits(&session) { pass(&mut session, peer, door.limits.head_time).await } else { Ok(()) };
    peer.room().await;
    let mut held = None;
    let responder = &door.responder;
    let refuse = |facts: &Facts<'_>, refusal| responder.refuse(facts, refusal, Lane::Http2, Ready::new);
    let ready = match passed.map(|()| responder.respond(&facts, Lane::Http2, Ready::new)) {
        Err(refusal) => refuse(&facts, refusal),
        Ok(Step::Answered(ready)) => ready,
        // Its rule has changed since its body began to come.
        Ok(Step::Relay(_)) if session.body_bytes_read() == 0 => return relay(door, peer, session, facts).await,
        Ok(Step::Relay(_)) => refuse(&facts, Refusal::CHANGED),
        Ok(Step::Large) => {
            let ready;
            (ready, held) = responder.respond_at_length(facts, Lane::Http2, Ready::new).await;
            ready
        }
    };
    // What holds something is counted already.
    if let Some(rest) = begin(ready, &mut session, head_only, held.is_none().then_some(peer)) {
        rest.pour(door, peer).await;
    }
    drop(held);
}

/// Lets a platform answer.
async fn relay(door: &Arc<Door>, peer: &Arc<Peer>, mut session: HttpSession, facts: Facts<'static>) {
    let (lane, trusted) = (Lane::Http2, peer.trusted);
    let date = AnswerDate::default();
    let visit = Visit { facts, lane, peer: peer.address, trusted, is_last: false, date, passed: false, trace: None };
    session.req_header_mut().extensions_mut().insert(visit);
    let shutdown = door.drain.shutdown_watch();
    let session = Stream::session(session, peer.clone(), door.limits.min_rate);
    door.proxy.http().process_new_http(session, &shutdown).await;
}

/// What HTTP/1 refuses before it looks at anything else; h2 refuses the rest.
fn fault(head: &RequestHeader, door: &Door) -> Option<Refusal> {
    let most_fields = door.limits.fields as usize;
    if head.raw_path().len() > door.limits.target as usize {
        return Some(head::TARGET_TOO_LONG);
    }
    if head.headers.len() >= most_fields && fields(head) > most_fields {
        return Some(head::TOO_LARGE);
    }
    let expected = head.headers.get(header::EXPECT)?;
    (!expected.as_bytes().eq_ignore_ascii_case(b"100-continue")).then_some(head::UNMET_EXPECTATION)
}

/// Fields as HTTP/1 would have them: with the host among them, and cookies in one (RFC 9113, 8.2.3).
fn fields(head: &RequestHeader) -> usize {
    let crumbs = head.headers.get_all(header::COOKIE).iter().count();
    head.headers.len() + usize::from(head.uri.authority().is_some()) - crumbs.saturating_sub(1)
}

/// Whether a body passes before its answer.
fn waits(session: &HttpSession) -> bool {
    let headers: &HeaderMap = &session.req_header().headers;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    !session.is_body_empty()
        && !headers.contains_key(header::EXPECT)
        && length.is_none_or(|length| length <= MAX_PASSING)
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
            if passed > MAX_PASSING {
                return Ok(());
            }
        }
    });
    taken.await.unwrap_or(Err(Refusal::BODY_TOO_SLOW))
}

fn facts<'a>(head: &'a RequestHeader, peer: &'a Peer, door: &Door) -> Facts<'a> {
    let value = |name| head.headers.get(name).map(HeaderValue::as_bytes);
    let client = door.client(peer.address, peer.trusted, &head.headers);
    let parts = Parts {
        method: head.method.as_str(),
        protocol: Protocol::Http2,
        target: head.raw_path(),
        host: head.uri.authority().map(|authority| authority.as_str().as_bytes()).or_else(|| value("host")),
        secure: peer.secure,
        sni: peer.sni.as_deref(),
        client,
        is_many: door.is_many(client, peer.trusted),
        trusted: peer.trusted,
        forwarded_host: value("x-forwarded-host"),
        forwarded_proto: value("x-forwarded-proto"),
        accept_language: value("accept-language"),
        referer: value("referer"),
        user_agent: value("user-agent"),
    };
    Facts::read(&parts, Instant::now())
}

/// Sends the head, and the body if the client's window has room for it; what is left to be sent otherwise. The body is
/// counted for `peer`.
fn begin(ready: Result<Ready>, session: &mut HttpSession, head_only: bool, peer: Option<&Arc<Peer>>) -> Option<Rest> {
    let made = ready.inspect_err(|error| log::error!("an answer could not be made: {error}"));
    let Ready { header, body } = made.ok()?;
    let is_empty = head_only || body.is_empty();
    // Errors mean that the client does not want it any more.
    session.write_response_header(header, is_empty).ok()?;
    if is_empty {
        return None;
    }
    let body = match peer {
        Some(peer) => peer.hold(body),
        None => body,
    };
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
    async fn pour(mut self, door: &Door, peer: &Peer) {
        match pour(&mut self.writer, self.body, true, &mut Pace::new(door.limits.min_rate)).await {
            Ok(()) => return,
            Err(Untaken::TakenBack) => peer.note_reset(),
            Err(Untaken::TooSlow) => door.metrics().limit(Limit::SendRate),
        }
        self.writer.send_reset(Reason::CANCEL);
    }
}

/// Sends a body as the client takes it, which it has to do at a certain rate. It may be the last of its answer.
pub(in crate::door) async fn pour(
    writer: &mut SendStream<Bytes>,
    mut body: Bytes,
    is_last: bool,
    pace: &mut Pace,
) -> Result<(), Untaken> {
    if body.is_empty() {
        return writer.send_data(body, is_last).map_err(|_| Untaken::TakenBack);
    }
    while !body.is_empty() {
        writer.reserve_capacity(body.len().min(PIECE));
        let room = poll_fn(|cx| match writer.poll_capacity(cx) {
            Poll::Ready(Some(Ok(room))) => Poll::Ready(Ok(room)),
            Poll::Ready(_) => Poll::Ready(Err(Untaken::TakenBack)),
            Poll::Pending => pace.poll_slow(cx).map(|_| Err(Untaken::TooSlow)),
        });
        let piece = body.split_to(room.await?.min(body.len()));
        pace.passed(piece.len());
        writer.send_data(piece, is_last && body.is_empty()).map_err(|_| Untaken::TakenBack)?;
    }
    Ok(())
}

/// Why an answer was not taken.
pub(in crate::door) enum Untaken {
    TakenBack,
    TooSlow,
}

/// Bytes of a body that are handed to the connection at a time, and that it may have of one stream.
pub(super) const PIECE: usize = 64 * 1024;

/// Bytes of bodies that may wait for a client before no more are made for it.
const MOST_UNTAKEN: usize = 128 * 1024;
