//! A line of an access log → the request that it tells of.
//!
//! One [`Format`] is for one file, or for a part of one: [`Format::detect`] finds it from the first lines. Reading a line
//! allocates nothing, unless it has escapes; it never panics, and takes a time that grows with the line's length only.

mod detect;
mod json;
mod moment;
mod pattern;
mod urls;
mod w3c;

use std::fmt;

use thiserror::Error;

pub use json::Json;
pub use moment::Moment;
pub use pattern::{Pattern, PatternError};
pub use urls::Urls;
pub use w3c::Columns;

/// How the lines of a log are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text with fields at places: Apache's and nginx's formats.
    Text(Pattern),
    /// W3C extended, as IIS writes it; the columns are those of the last `#Fields:`.
    W3c(Columns),
    /// JSON lines of the gateway's own access log.
    Json(Json),
    /// No log, but a list of URLs.
    Urls(Urls),
}

/// What a line says of a request. What it doesn't say is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line<'a> {
    /// The client's address, as text.
    pub client: &'a [u8],
    /// The host that was asked, with or without a port.
    pub host: &'a [u8],
    /// Whether the client came by HTTPS, if the line says so.
    pub secure: Option<bool>,
    /// The method.
    pub method: &'a [u8],
    /// The target, as it was sent.
    pub target: &'a [u8],
    /// Whether the target was decoded before it was written: what is beyond ASCII stands in UTF-8, whatever the client sent.
    pub is_decoded: bool,
    /// The status of the answer; 0 if it isn't said.
    pub status: u16,
    /// `Referer`.
    pub referer: &'a [u8],
    /// `User-Agent`.
    pub user_agent: &'a [u8],
    /// When it was.
    pub moment: Moment<'a>,
}

/// What a line is, if no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoLine {
    /// A comment, or empty.
    #[error("a comment")]
    Comment,
    /// Somebody connected, and sent nothing that is a request.
    #[error("no request was sent")]
    NoRequest,
    /// It can't be read.
    #[error("{0}")]
    Unreadable(&'static str),
}

/// Space for what of a line can't be borrowed from it.
#[derive(Debug, Default)]
pub struct LineScratch {
    target: Vec<u8>,
    referer: Vec<u8>,
    user_agent: Vec<u8>,
    host: Vec<u8>,
}

impl Format {
    /// Reads a line, without its end.
    ///
    /// # Errors
    /// What it is instead.
    pub fn read<'a>(&self, line: &'a [u8], scratch: &'a mut LineScratch) -> Result<Line<'a>, NoLine> {
        match line.len() {
            0 => return Err(NoLine::Comment),
            1..=MAX_LINE => {}
            _ => return Err(NoLine::Unreadable("it is longer than 64 KiB")),
        }
        match self {
            Format::Text(pattern) => pattern.read(line, scratch),
            Format::W3c(columns) => columns.read(line, scratch),
            Format::Json(json) => json.read(line, scratch),
            Format::Urls(urls) => urls.read(line),
        }
    }

    /// The format of a list of URLs, if most of the first lines of a file are such.
    pub fn detect_urls(start: &[u8]) -> Option<Format> {
        Urls::detect(start).map(Format::Urls)
    }

    /// The format of what follows a comment that says so; none if it says nothing of it, or is none.
    pub fn after(&self, line: &[u8]) -> Option<Format> {
        match self {
            Format::W3c(_) => Columns::parse(line).map(Format::W3c),
            _ => None,
        }
    }

    /// Whether lines within a file may say that its format changes; such lines begin with `#`.
    pub fn may_change(&self) -> bool {
        matches!(self, Format::W3c(_))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Text(pattern) => f.write_str(pattern.name()),
            Format::W3c(_) => f.write_str("iis"),
            Format::Json(_) => f.write_str("json"),
            Format::Urls(_) => f.write_str("urls"),
        }
    }
}

/// Method and target of a request line.
fn split_request(request: &[u8]) -> Result<(&[u8], &[u8]), NoLine> {
    let request = request.trim_ascii();
    let space = memchr::memchr(b' ', request).ok_or(NoLine::NoRequest)?;
    let (method, rest) = (&request[..space], request[space + 1..].trim_ascii_start());
    if !is_method(method) || rest.is_empty() {
        return Err(NoLine::NoRequest);
    }
    let target = match memchr::memrchr(b' ', rest) {
        Some(last) if rest[last + 1..].starts_with(b"HTTP/") => rest[..last].trim_ascii_end(),
        // HTTP/0.9 has no version; a target with spaces is what a client made of it.
        _ => rest,
    };
    Ok((method, target))
}

/// Whether bytes may be the name of a method: letters, as all that there are have no others.
fn is_method(method: &[u8]) -> bool {
    (1..=MAX_METHOD).contains(&method.len()) && method.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-')
}

/// A status; 0 if it is none.
fn status(text: &[u8]) -> u16 {
    match text {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => 0,
    }
}

/// What logs write for nothing.
fn said(text: &[u8]) -> &[u8] {
    if text == b"-" { b"" } else { text }
}

/// Longest line that is read, in bytes.
const MAX_LINE: usize = 64 << 10;

/// Longest name of a method.
const MAX_METHOD: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let split = |line: &'static str| split_request(line.as_bytes());
        assert_eq!(split("GET /a HTTP/1.1"), Ok((&b"GET"[..], &b"/a"[..])));
        assert_eq!(split("GET /a b.htm HTTP/1.0"), Ok((&b"GET"[..], &b"/a b.htm"[..])));
        assert_eq!(split("GET /a"), Ok((&b"GET"[..], &b"/a"[..])));
        assert_eq!(split("VERSION-CONTROL /a HTTP/1.1"), Ok((&b"VERSION-CONTROL"[..], &b"/a"[..])));
        for none in ["", "-", "GET", "GET ", "\\x16\\x03\\x01", "\u{16}\u{3} x", "G=T /a HTTP/1.1"] {
            assert_eq!(split(none), Err(NoLine::NoRequest), "{none:?}");
        }
    }
}
