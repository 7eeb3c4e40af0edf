//! An exchange over HTTP/1.1: a request without a body, and its answer (RFC 9112).
//!
//! What comes is read in large pieces and handed on without being copied.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use httparse::{EMPTY_HEADER, ParserConfig, Status};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, Sleep, sleep_until},
};

use super::chunks::{BadChunk, Chunks, Next};
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

/// How the rest of a body ends.
enum Body {
    /// After so many bytes.
    Length(u64),
    Chunked(Box<Chunks>),
    /// With the connection.
    Closed,
}

impl Exchange {
    pub fn new(wire: Box<Wire>, patience: Patience) -> Self {
        Exchange { wire, patience, buffer: BytesMut::new(), body: Body::Closed, persists: false }
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
        (self.persists && self.buffer.is_empty()).then_some(self.wire)
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

/// A head, and what follows from it.
struct Parsed {
    length: usize,
    head: Head,
    body: Body,
    persists: bool,
}

/// Why there is no understanding an answer.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("the head has no end")]
    Endless,
    #[error("the head is none: {0}")]
    Head(#[from] httparse::Error),
    #[error("a field's name or value is none")]
    Field,
    #[error("Content-Length is not one number")]
    Length,
    #[error("Transfer-Encoding is more than `chunked`")]
    Coding,
    #[error("it switches protocols, and nobody has asked for that")]
    Switches,
    #[error(transparent)]
    Chunk(#[from] BadChunk),
}

impl From<Malformed> for Box<Error> {
    fn from(malformed: Malformed) -> Self {
        Error::because(ErrorType::InvalidHTTPHeader, "an answer of a platform", malformed).into_up()
    }
}

/// Reads the head that `bytes` begin with, if it has wholly come.
fn parse(bytes: &[u8]) -> Result<Option<Parsed>, Malformed> {
    let mut few = [EMPTY_HEADER; FEW];
    match parse_with(bytes, &mut few) {
        Err(Malformed::Head(httparse::Error::TooManyHeaders)) => parse_with(bytes, &mut vec![EMPTY_HEADER; MAX_FIELDS]),
        parsed => parsed,
    }
}

fn parse_with<'b>(bytes: &'b [u8], fields: &mut [httparse::Header<'b>]) -> Result<Option<Parsed>, Malformed> {
    // Old servers do such things.
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
    let mut response = httparse::Response::new(fields);
    let Status::Complete(length) = config.parse_response(&mut response, bytes)? else { return Ok(None) };
    let status = response.code.unwrap_or_default();
    let is_1_1 = response.version == Some(1);
    // Of its own: what is stored should not keep the buffer, nor the page with it.
    let head = Bytes::copy_from_slice(&bytes[..length]);
    let mut fields = HeaderMap::with_capacity(response.headers.len());
    for field in &*response.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed::Field)?;
        fields.append(name, value(&head, bytes, field.value)?);
    }
    let (body, persists) = match status {
        101 => return Err(Malformed::Switches),
        100..200 => (Body::Length(0), false),
        _ => {
            let persists = persists(&fields, is_1_1);
            let body = body(status, &mut fields)?;
            (body.0, persists && body.1)
        }
    };
    Ok(Some(Parsed { length, head: Head { status, fields }, body, persists }))
}

/// A value, as a part of `head`, which is a copy of the beginning of `bytes`.
fn value(head: &Bytes, bytes: &[u8], value: &[u8]) -> Result<HeaderValue, Malformed> {
    let value = if memchr::memchr(b'\n', value).is_some() {
        // A line that goes on (RFC 9112, 5.2).
        value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
    } else {
        let start = value.as_ptr() as usize - bytes.as_ptr() as usize;
        head.slice(start..start + value.len())
    };
    HeaderValue::from_maybe_shared(value).map_err(|_| Malformed::Field)
}

/// How the body ends, and whether the connection may stay after it (RFC 9112, 6.3).
fn body(status: u16, fields: &mut HeaderMap) -> Result<(Body, bool), Malformed> {
    if fields.contains_key(header::TRANSFER_ENCODING) {
        let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
        let coding = codings.next().map(|coding| coding.as_bytes().trim_ascii()).unwrap_or_default();
        let is_only = codings.next().is_none();
        if !is_only || !coding.eq_ignore_ascii_case(b"chunked") && !coding.eq_ignore_ascii_case(b"identity") {
            return Err(Malformed::Coding);
        }
        if coding.eq_ignore_ascii_case(b"chunked") {
            // What else is said of a length counts for nothing.
            fields.remove(header::CONTENT_LENGTH);
            return match status {
                204 | 304 => Ok((Body::Length(0), true)),
                _ => Ok((Body::Chunked(Box::new(Chunks::new())), true)),
            };
        }
        // RFC 2616 had a word for none.
        fields.remove(header::TRANSFER_ENCODING);
    }
    let length = content_length(fields)?;
    if length.is_some() && fields.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        // Said twice, it is no less true.
        let first = fields.remove(header::CONTENT_LENGTH);
        first.map(|first| fields.insert(header::CONTENT_LENGTH, first));
    }
    Ok(match (status, length) {
        (204 | 304, _) => (Body::Length(0), true),
        (_, Some(length)) => (Body::Length(length), true),
        (_, None) => (Body::Closed, false),
    })
}

/// What `Content-Length` says; the same number several times is as good as one (RFC 9110, 8.6).
fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for line in fields.get_all(header::CONTENT_LENGTH) {
        for number in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let digits = str::from_utf8(number).ok().filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
            let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(Malformed::Length)?;
            if *length.get_or_insert(number) != number {
                return Err(Malformed::Length);
            }
        }
    }
    Ok(length)
}

/// Whether the origin keeps the connection (RFC 9112, 9.3).
fn persists(fields: &HeaderMap, is_1_1: bool) -> bool {
    let mut persists = is_1_1;
    for line in fields.get_all(header::CONNECTION) {
        for option in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            // An HTTP/1.0 server that sends chunks doesn't know what it says (RFC 9112, 6.1).
            persists |= option.eq_ignore_ascii_case(b"keep-alive") && !fields.contains_key(header::TRANSFER_ENCODING);
        }
    }
    persists
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

/// Bytes of a head, and fields in it.
const MAX_HEAD: usize = 1024 * 1024;
const MAX_FIELDS: usize = 256;

/// Fields that most heads have room in.
const FEW: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, the fields, how the body ends, and whether the connection stays.
    fn read(head: &str) -> (u16, Vec<(String, String)>, &'static str, bool) {
        let head = format!("HTTP/1.1 {head}\r\n\r\n");
        for part in 0..head.len() {
            assert!(matches!(parse(&head.as_bytes()[..part]), Ok(None)), "{part} of {head:?}");
        }
        let Parsed { length, head: read, body, persists } = parse(head.as_bytes()).unwrap().unwrap();
        assert_eq!(length, head.len());
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let fields = read.fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = match body {
            Body::Length(0) => "none",
            Body::Length(_) => "length",
            Body::Chunked(_) => "chunks",
            Body::Closed => "closed",
        };
        (read.status, fields, body, persists)
    }

    #[test]
    fn a_body_ends_as_its_head_says() {
        for (head, body, persists) in [
            ("200 OK\r\nContent-Length: 3", "length", true),
            ("200 \r\nContent-Length: 3, 3\r\nContent-Length: 3", "length", true),
            ("200 OK\r\nContent-Length: 0", "none", true),
            ("200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: Chunked", "chunks", true),
            ("200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 3", "length", true),
            ("200 OK", "closed", false),
            ("200 OK\r\nConnection: x, Close\r\nContent-Length: 3", "length", false),
            ("204 No Content\r\nContent-Length: 3", "none", true),
            ("304 Not Modified\r\nTransfer-Encoding: chunked", "none", true),
            ("100 Continue", "none", false),
        ] {
            let (_, fields, got, stays) = read(head);
            assert_eq!((got, stays), (body, persists), "{head}");
            let lengths: Vec<_> = fields.iter().filter(|(name, _)| name == "content-length").collect();
            assert!(lengths.len() <= 1 && (body != "chunks" || lengths.is_empty()), "{head}: {lengths:?}");
        }
    }

    #[test]
    fn the_last_century_closes_unless_it_says_otherwise() {
        for (fields, want) in [("", false), ("Connection: Keep-Alive\r\n", true)] {
            let head = format!("HTTP/1.0 200 OK\r\n{fields}Content-Length: 1\r\n\r\n");
            assert_eq!(parse(head.as_bytes()).unwrap().unwrap().persists, want);
            let head = format!("HTTP/1.0 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
            assert!(!parse(head.as_bytes()).unwrap().unwrap().persists);
        }
    }

    #[test]
    fn old_ways_of_writing_fields_are_understood() {
        let (_, fields, ..) = read("200 OK\r\nX-Old : a\r\n  b\r\nServer:");
        assert_eq!(fields, [("x-old".to_owned(), "a    b".to_owned()), ("server".to_owned(), String::new())]);
        let many: String = (0..200).map(|number| format!("X-{number}: {number}\r\n")).collect();
        assert_eq!(read(&format!("200 OK\r\n{}", many.trim_end())).1.len(), 200);
    }

    #[test]
    fn what_could_be_measured_otherwise_is_refused() {
        for head in [
            "200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
            "200 OK\r\nContent-Length: 1, 2",
            "200 OK\r\nContent-Length: +1",
            "200 OK\r\nContent-Length: ",
            "200 OK\r\nContent-Length: 99999999999999999999",
            "200 OK\r\nTransfer-Encoding: gzip, chunked",
            "200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            "101 Switching Protocols\r\nUpgrade: websocket",
            "abc OK",
            "200 OK\r\nno field",
        ] {
            assert!(parse(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).is_err(), "{head}");
        }
        assert!(parse(b"SSH-2.0-OpenSSH_9.2\r\n").is_err());
        let many = "X: y\r\n".repeat(257);
        assert!(parse(format!("HTTP/1.1 200 OK\r\n{many}\r\n").as_bytes()).is_err());
    }
}
