//! HTTP/1 connections: requests read, answered and written from buffers that belong to the thread.
//!
//! A connection that waits holds no buffer. What arrives is read into the thread's buffer; whole requests are answered
//! from there, in order, and all their answers go out in one write. Only what can't be finished at once is kept: the
//! beginning of a head, an answer that the client takes slowly.

mod caller;
mod handover;
mod output;
mod requests;

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    task::unconstrained,
    time::{Instant, Sleep, sleep, timeout},
};

use super::connection::{Connection, Pace, Socket};
use super::head;
use super::{Door, drain::State, http2};
use crate::answer::{Facts, Held, Refusal};
use crate::telemetry::Limit;
use handover::{Handover, Large};
use output::Output;
use requests::Passing;

/// Serves a connection to its end.
pub(super) async fn serve(door: &Arc<Door>, connection: Connection) {
    let mut http = Http1::new(door, connection);
    loop {
        // The rare ways are boxed: a connection that waits should not carry the room they need.
        match poll_fn(|cx| http.poll_event(cx)).await {
            Event::Relay(mut request) => {
                if request.is_for_cache() && Box::pin(http.answer_cached(&mut request)).await {
                    continue;
                }
                match Box::pin(http.relay(*request)).await {
                    Some(back) => http = back,
                    None => return,
                }
            }
            Event::Large(request) => Box::pin(http.answer_at_length(*request)).await,
            Event::Http2 => return Box::pin(http2::serve(door, http.into_http2())).await,
            Event::End(end) => return Box::pin(http.end(end)).await,
        }
    }
}

/// Tells a client that it has too many connections already.
pub(super) async fn turn_away(door: &Arc<Door>, socket: Socket) {
    let mut http = Http1::new(door, Connection::plain(socket, None, false));
    let refusal = Refusal::new(429, "there are too many connections from your address");
    let refused = Facts::refused(refusal, http.connection.peer());
    let mut answer = Output::default();
    http.refuse(&refused, &mut answer);
    http.unsent = answer;
    // Whatever it says, the connection ends.
    let _ = timeout(TURN_AWAY_TIME, poll_fn(|cx| http.poll_send(cx))).await;
    http.end(End::Linger).await;
}

/// The state of a connection between two wakes.
struct Http1<'d> {
    door: &'d Arc<Door>,
    connection: Connection,
    requests: u32,
    /// What has arrived and could not be used yet.
    unread: Vec<u8>,
    /// Whether `unread` has something that nobody looked at.
    is_news: bool,
    /// What the client has not taken yet.
    unsent: Output,
    needs_flush: bool,
    /// While a large answer is sent.
    held: Option<Held>,
    /// A request body that passes before its answer goes out.
    body: Option<Box<Passing>>,
    /// What is to be done when everything is sent.
    next: Option<Event>,
    wait: Wait,
    /// Requests that there were when it began to wait for this.
    waits_after: u32,
    idle_since: Instant,
    alarm: Pin<Box<Sleep>>,
    pace: Option<Box<Pace>>,
    /// Whether it waits for nothing but a request that may be on its way.
    is_parting: bool,
    draining: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    /// Whether alarm and drain know whom to wake.
    is_registered: bool,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The first bytes of all.
    First,
    /// The next request.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
    /// The client to take its answer.
    Send,
}

/// What a connection can't do by itself.
enum Event {
    Relay(Box<Handover>),
    Large(Box<Large>),
    Http2,
    End(End),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In good order. The client sends no more, as far as it knows.
    Close,
    /// In good order, when the client has heard of it: it may be sending still.
    Linger,
    /// The client is gone.
    Gone,
}

/// Buffers of a thread.
struct Buffers {
    input: Box<[u8]>,
    output: Output,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> =
        RefCell::new(Buffers { input: vec![0; INPUT].into(), output: Output::with_capacity(INPUT) });
}

impl<'d> Http1<'d> {
    fn new(door: &'d Arc<Door>, connection: Connection) -> Self {
        let mut state = door.drain.watch();
        Http1 {
            door,
            connection,
            requests: 0,
            unread: Vec::new(),
            is_news: false,
            unsent: Output::default(),
            needs_flush: false,
            held: None,
            body: None,
            next: None,
            wait: Wait::First,
            waits_after: 0,
            idle_since: Instant::now(),
            alarm: Box::pin(sleep(seconds(door.limits.head_time))),
            pace: None,
            is_parting: false,
            draining: Box::pin(async move {
                // An error means that the gateway is gone, and so is this.
                let _ = state.wait_for(|&state| state != State::Serving).await;
            }),
            is_registered: false,
        }
    }

    /// Goes on until something has to be waited for, or done elsewhere.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            match self.poll_send(cx) {
                Poll::Pending => {
                    ready!(self.poll_wait(cx, Wait::Send));
                    continue;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Event::End(End::Gone)),
                Poll::Ready(Ok(())) => {}
            }
            if let Some(event) = self.next.take() {
                return Poll::Ready(event);
            }
            if BUFFERS.with_borrow_mut(|buffers| self.poll_turn(cx, buffers)).is_pending() {
                let wait = match () {
                    () if self.body.is_some() => Wait::Body,
                    // Empty lines are no beginning.
                    () if self.unread.iter().any(|byte| !b"\r\n".contains(byte)) => Wait::Head,
                    () if self.requests == 0 => Wait::First,
                    () => Wait::Idle,
                };
                ready!(self.poll_wait(cx, wait));
            }
        }
    }

    /// Sends what could not be sent at once.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unsent.is_empty() {
            while !self.unsent.is_empty() {
                let sent = ready!(self.unsent.poll_send(&mut self.connection, cx))?;
                if let Some(pace) = &mut self.pace {
                    pace.passed(sent);
                }
            }
            self.unsent = Output::default();
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.connection).poll_flush(cx))?;
            self.needs_flush = false;
        }
        self.pace = None;
        self.held = None;
        Poll::Ready(Ok(()))
    }

    /// Reads once, answers what has wholly arrived, and sends the answers. What comes of it is in `next`.
    fn poll_turn(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Poll<()> {
        let Buffers { input, output } = buffers;
        let whole;
        let arrived = if std::mem::take(&mut self.is_news) {
            // It may be more than the buffer holds: what came while Pingora had the connection.
            whole = std::mem::take(&mut self.unread);
            &whole[..]
        } else {
            let kept = self.unread.len();
            input[..kept].copy_from_slice(&self.unread);
            let mut buf = ReadBuf::new(&mut input[kept..]);
            let read = ready!(Pin::new(&mut self.connection).poll_read(cx, &mut buf));
            let count = buf.filled().len();
            if read.is_err() || count == 0 {
                self.next = Some(Event::End(End::Gone));
                return Poll::Ready(());
            }
            let filled = kept + count;
            if kept > 0 && self.body.is_none() && filled < PATIENCE && !head::has_line_end(&input[kept..filled]) {
                self.unread.extend_from_slice(&input[kept..filled]);
                return Poll::Ready(());
            }
            &input[..filled]
        };
        let start = Instant::now();
        let before = self.requests;
        output.clear();
        let used = self.take_in(arrived, output, start);
        self.unread = arrived[used..].to_vec();
        self.write(cx, output);
        output.shrink(MOST_OUTPUT, INPUT);
        if self.requests > before {
            self.idle_since = start;
        }
        Poll::Ready(())
    }

    /// Sends what it can of `output`; the rest is kept.
    fn write(&mut self, cx: &mut Context<'_>, output: &mut Output) {
        let mut has_sent = false;
        while !output.is_empty() {
            match output.poll_send(&mut self.connection, cx) {
                Poll::Ready(Ok(_)) => has_sent = true,
                Poll::Ready(Err(_)) => {
                    self.next = Some(Event::End(End::Gone));
                    output.clear();
                    return;
                }
                Poll::Pending => {
                    self.unsent = output.take_rest();
                    break;
                }
            }
        }
        // What TLS has encrypted may still be in its own buffer.
        self.needs_flush = has_sent && self.connection.is_secure();
    }

    /// Waits no longer than the limits say. Ready if the time is over: `next` says what comes of it.
    fn poll_wait(&mut self, cx: &mut Context<'_>, wait: Wait) -> Poll<()> {
        if wait == Wait::Send {
            self.wait = wait;
            let rate = self.door.limits.min_rate;
            let pace = self.pace.get_or_insert_with(|| Box::new(Pace::new(rate)));
            ready!(pace.poll_slow(cx));
            self.door.metrics().limit(Limit::SendRate);
            self.unsent = Output::default();
            self.needs_flush = false;
            self.connection.abandon();
            self.next = Some(Event::End(End::Gone));
            return Poll::Ready(());
        }
        let is_another = self.requests != self.waits_after && matches!(wait, Wait::Head | Wait::Body);
        if wait != self.wait || is_another {
            // The first head has its time from the start of the connection.
            let goes_on = (self.wait, wait) == (Wait::First, Wait::Head);
            (self.wait, self.waits_after) = (wait, self.requests);
            let limits = &self.door.limits;
            if !goes_on {
                let time = seconds(if wait == Wait::Idle { limits.idle_time } else { limits.head_time });
                self.set_alarm(Instant::now() + time);
            }
        }
        if wait == Wait::Idle && !self.is_parting && !self.door.drain.is_serving() {
            // A request may be on its way: closed at once, the connection would be reset under it.
            self.is_parting = true;
            self.set_alarm(Instant::now() + PARTING);
        }
        ready!(self.poll_alarm(cx));
        let door = self.door;
        let mut output = Output::default();
        match wait {
            Wait::Idle => {
                // The alarm is not set anew for each request; only now it is asked how long it has really been.
                let end = self.idle_since + seconds(door.limits.idle_time);
                if end > Instant::now() && !self.is_parting {
                    self.set_alarm(end);
                    return Poll::Ready(());
                }
                if !self.is_parting {
                    door.metrics().limit(Limit::IdleTime);
                }
                self.next = Some(Event::End(End::Close));
            }
            Wait::First => {
                door.metrics().limit(Limit::HeadTime);
                self.next = Some(Event::End(End::Close));
            }
            Wait::Head | Wait::Body | Wait::Send => {
                let refused = match self.body.take() {
                    Some(body) => body.facts.refuse(Refusal::BODY_TOO_SLOW),
                    None => Facts::refused(HEAD_TOO_SLOW, self.connection.peer()),
                };
                self.refuse(&refused, &mut output);
            }
        }
        self.unread = Vec::new();
        self.write(cx, &mut output);
        Poll::Ready(())
    }

    /// Ready when the alarm rings. When draining begins it only wakes.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_registered {
            return if self.alarm.is_elapsed() { Poll::Ready(()) } else { Poll::Pending };
        }
        // A task is always woken by the same waker, so once is enough. Unconstrained: with its budget spent, tokio would
        // answer without having taken the waker.
        self.is_registered = true;
        if self.door.drain.is_serving() && pin!(unconstrained(self.draining.as_mut())).poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        pin!(unconstrained(self.alarm.as_mut())).poll(cx)
    }

    fn set_alarm(&mut self, time: Instant) {
        self.alarm.as_mut().reset(time);
        self.is_registered = false;
    }

    async fn end(mut self, end: End) {
        if end == End::Gone {
            return;
        }
        self.connection.lingers = end == End::Linger;
        // An error means that the client is gone, which ends the connection as well.
        let _ = self.connection.shutdown().await;
    }
}

const HEAD_TOO_SLOW: Refusal = Refusal::limited(408, "the head of the request took too long", Limit::HeadTime);

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// Bytes of a thread's buffer. A head has at most 60,000.
const INPUT: usize = 64 * 1024;

/// Bytes that may be waiting before they are looked at once more without a line having ended.
const PATIENCE: usize = 8 * 1024;

/// Bytes that a thread's buffer of answers may keep.
const MOST_OUTPUT: usize = 1024 * 1024;

/// How long an idle connection stays when draining begins.
const PARTING: Duration = Duration::from_secs(1);

/// How long a client may take for the word that it is turned away.
const TURN_AWAY_TIME: Duration = Duration::from_secs(2);
