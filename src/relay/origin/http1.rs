//! An exchange over HTTP/1.1: a request without a body, and its answer (RFC 9112).
//!
//! What comes is read in large pieces and handed on without being copied.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, Sleep, sleep_until},
};

use super::chunks::Next;
use super::head::{Body, Malformed, Parsed, parse};
use super::{Head, Patience};
use crate::cache::write_line;
use crate::relay::platforms::Wire;

/// An exchange on its way.
pub(super) struct Exchange {
    wire: Box<Wire>,
    patience: Patience,
    /// What has come and was not handed on.
    buffer: BytesMut,
    body: Body,
    /// Whether another request may follow.
    persists: bool,
}

impl Exchange {
    pub fn new(wire: Box<Wire>, patience: Patience) -> Self {
        Exchange { wire, patience, buffer: Buffers::take(), body: Body::Closed, persists: false }
    }

    /// Sends a GET, with `more` fields.
    ///
    /// # Errors
    /// If it can't be sent, or the origin does not take it.
    pub async fn send(&mut self, request: &RequestHeader, more: &[(HeaderName, HeaderValue)]) -> Result<()> {
        let Wire { stream, alarm, out, .. } = &mut *self.wire;
        out.clear();
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(request.raw_path());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in request.headers.iter().chain(more.iter().map(|(name, value)| (name, value))) {
            write_line(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
        let sending = async {
            stream.write_all(out).await?;
            stream.flush().await
        };
        match within(sending, alarm, self.patience.write).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Error::because(ErrorType::WriteError, "sending a request", error).into_up()),
            None => Err(Error::explain(ErrorType::WriteTimedout, "the request is not taken").into_up()),
        }
    }

    /// Reads the next head. A final one is followed by the body.
    ///
    /// # Errors
    /// If none comes, or what comes is none.
    pub async fn head(&mut self) -> Result<Head> {
        loop {
            if !self.buffer.is_empty()
                && let Some(head) = self.take_head()?
            {
                return Ok(head);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(Malformed::Endless.into());
            }
            let most = self.patience.head.saturating_duration_since(Instant::now());
            if self.fill(FIRST, self.patience.read.min(most)).await? == 0 {
                let why = format!("it ends after {} bytes of a head", self.buffer.len());
                return Err(Error::explain(ErrorType::ConnectionClosed, why).into_up());
            }
        }
    }

    pub fn set_read_time(&mut self, time: Duration) {
        self.patience.read = time;
    }

    /// The next piece of the body, none after the last.
    ///
    /// # Errors
    /// If it breaks off, or is not framed as it should be.
    pub async fn piece(&mut self) -> Result<Option<Bytes>> {
        loop {
            let wanted = match &mut self.body {
                Body::Length(0) => return Ok(None),
                Body::Length(left) if !self.buffer.is_empty() => {
                    let some = (*left).min(self.buffer.len() as u64);
                    *left -= some;
                    return Ok(Some(self.buffer.split_to(some as usize).freeze()));
                }
                Body::Length(left) => usize::try_from(*left).map_or(MOST, |left| left.min(MOST)),
                Body::Chunked(chunks) => match chunks.next(&mut self.buffer).map_err(Malformed::Chunk)? {
                    Next::Piece(piece) => return Ok(Some(piece)),
                    Next::End => return Ok(None),
                    Next::More => MOST,
                },
                Body::Closed if !self.buffer.is_empty() => return Ok(Some(self.buffer.split().freeze())),
                Body::Closed => MOST,
            };
            if self.fill(wanted, self.patience.read).await? == 0 {
                return match self.body {
                    Body::Closed => {
                        self.body = Body::Length(0);
                        Ok(None)
                    }
                    _ => Err(Error::explain(ErrorType::ConnectionClosed, "the answer broke off").into_up()),
                };
            }
        }
    }

    /// The fields behind the body, when it has been read.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.body {
            Body::Chunked(chunks) => chunks.trailers(),
            Body::Length(_) | Body::Closed => None,
        }
    }

    /// The connection, if another request may follow on it. The body has been read to its end.
    pub fn into_wire(self) -> Option<Box<Wire>> {
        let Exchange { wire, buffer, persists, .. } = self;
        let is_over = buffer.is_empty();
        Buffers::give(buffer);
        (persists && is_over).then_some(wire)
    }

    /// Reads what there is, and has room for about `wanted` bytes; 0 at the end.
    async fn fill(&mut self, wanted: usize, silence: Duration) -> Result<usize> {
        let Exchange { wire, buffer, .. } = self;
        // Small pieces share what room there is.
        if buffer.capacity() - buffer.len() < wanted.min(LEAST) {
            buffer.reserve(wanted.max(LEAST));
        }
        let Wire { stream, alarm, .. } = &mut **wire;
        match within(stream.read_buf(buffer), alarm, silence).await {
            Some(Ok(count)) => Ok(count),
            Some(Err(error)) => Err(Error::because(ErrorType::ReadError, "reading an answer", error).into_up()),
            None => Err(Error::explain(ErrorType::ReadTimedout, "the answer does not come").into_up()),
        }
    }

    /// The head that the buffer begins with, if all of it has come.
    fn take_head(&mut self) -> Result<Option<Head>, Malformed> {
        let Some(Parsed { length, head, body, persists }) = parse(&self.buffer)? else { return Ok(None) };
        let _ = self.buffer.split_to(length);
        (self.body, self.persists) = (body, persists);
        Ok(Some(head))
    }
}

/// Buffers of a thread. What was read into them may be on its way to clients still: the one that has waited for the longest
/// time is the first to be used again. Else each would be asked of the system, and given back, page by page.
struct Buffers;

thread_local! {
    static BUFFERS: RefCell<VecDeque<BytesMut>> = RefCell::default();
}

impl Buffers {
    fn take() -> BytesMut {
        let first = BUFFERS.with_borrow_mut(VecDeque::pop_front);
        let free = first.and_then(|mut buffer| buffer.try_reclaim(FIRST).then_some(buffer));
        free.unwrap_or_else(|| BytesMut::with_capacity(FIRST))
    }

    fn give(mut buffer: BytesMut) {
        buffer.clear();
        BUFFERS.with_borrow_mut(|buffers| {
            if buffers.len() < MAX_BUFFERS {
                buffers.push_back(buffer);
            }
        });
    }
}

/// Waits for `work`, and no longer than `time` from when it first has to be waited for. `alarm` is used again and again.
async fn within<T>(work: impl Future<Output = T>, alarm: &mut Option<Pin<Box<Sleep>>>, time: Duration) -> Option<T> {
    let mut work = pin!(work);
    let mut end = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let end = *end.get_or_insert_with(|| Instant::now() + time);
        ready!(poll_until(alarm, end, cx));
        Poll::Ready(None)
    })
    .await
}

fn poll_until(alarm: &mut Option<Pin<Box<Sleep>>>, end: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(end)));
    if alarm.deadline() > end {
        alarm.as_mut().reset(end);
    }
    loop {
        // It may have been set for something that came in time.
        ready!(alarm.as_mut().poll(cx));
        if Instant::now() >= end {
            return Poll::Ready(());
        }
        alarm.as_mut().reset(end);
    }
}

/// Bytes that are made room for at first: a head, and most pages.
const FIRST: usize = 16 * 1024;

/// Bytes of a body that are read at a time, and of which there is room at least.
const MOST: usize = 64 * 1024;
const LEAST: usize = 4 * 1024;

/// Buffers that a thread keeps: two megabytes at most, of bodies that were read in large pieces.
const MAX_BUFFERS: usize = 32;

/// Bytes of a head.
const MAX_HEAD: usize = 1024 * 1024;
