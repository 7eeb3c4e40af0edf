//! The head of an answer over HTTP/1, and what follows from it for the body and the connection (RFC 9112).
//!
//! Lenient in what old servers do and nobody can misunderstand; strict in what could be measured in two ways.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use httparse::{EMPTY_HEADER, ParserConfig, Status};
use pingora::{Error, ErrorType};

use super::Head;
use super::chunks::{BadChunk, Chunks};

/// A head, and what follows from it.
pub(super) struct Parsed {
    /// Bytes of the head.
    pub length: usize,
    pub head: Head,
    pub body: Body,
    /// Whether another request may follow.
    pub persists: bool,
}

/// How the rest of a body ends.
pub(super) enum Body {
    /// After so many bytes.
    Length(u64),
    Chunked(Box<Chunks>),
    /// With the connection.
    Closed,
}

/// Why there is no understanding an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
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
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Parsed>, Malformed> {
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
    let mut is_odd = false;
    if fields.contains_key(header::TRANSFER_ENCODING) {
        let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
        let coding = codings.next().map(|coding| coding.as_bytes().trim_ascii()).unwrap_or_default();
        let is_only = codings.next().is_none();
        let is = |name: &&str| coding.eq_ignore_ascii_case(name.as_bytes());
        if !is_only || coding.contains(&b',') || COMPRESSIONS.iter().any(&is) {
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
        // RFC 2616 had a word for none. A word that nobody knows is a slip of the server's, which has coded nothing; but on a
        // connection where it was said, nobody knows what comes next.
        is_odd = !is(&"identity");
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
        (_, Some(length)) => (Body::Length(length), !is_odd),
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

/// Codings that change a body (RFC 9112, 7.2).
const COMPRESSIONS: &[&str] = &["gzip", "x-gzip", "deflate", "compress", "x-compress"];

/// Fields in a head, and those that most heads have room in.
const MAX_FIELDS: usize = 256;
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
            ("200 OK\r\nTransfer-Encoding: what\r\nContent-Length: 3", "length", false),
            ("200 OK\r\nTransfer-Encoding: what", "closed", false),
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
            "200 OK\r\nTransfer-Encoding: X-GZip",
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
