//! A request and its answer, as everybody is told who counts or logs it.

use std::net::{IpAddr, Ipv6Addr};

use super::Lane;
use crate::model::{Outcome, Reason};

/// The versions of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// All of them, in the order of their numbers.
    pub const ALL: [Protocol; 3] = [Protocol::Http10, Protocol::Http11, Protocol::Http2];

    /// As logs name it: `HTTP/1.1`.
    pub fn name(self) -> &'static str {
        ["HTTP/1.0", "HTTP/1.1", "HTTP/2.0"][self as usize]
    }

    /// As metrics name it: `http/1.1`.
    pub fn label(self) -> &'static str {
        ["http/1.0", "http/1.1", "http/2"][self as usize]
    }
}

/// One request and its answer. What a client sent is as it sent it: whoever shows it escapes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// When the request's head had come, in Unix microseconds.
    pub at: i64,
    /// From then until its answer was made, or sent to its end where it takes time, in microseconds.
    pub took: u32,
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// What kind of answer it is.
    pub outcome: Outcome,
    /// Why the guard refused it.
    pub reason: Option<Reason>,
    /// The way that it took.
    pub lane: Lane,
    /// The version of the request.
    pub protocol: Protocol,
    /// Whether the client came by HTTPS.
    pub secure: bool,
    /// Whether nothing of the site says where the URL went.
    pub unmapped: bool,
    /// Who sent it.
    pub client: Option<IpAddr>,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// Bytes of the request's body, as far as it was read.
    pub received: u64,
    /// Id of the site; empty if no site has the host.
    pub site: &'a str,
    /// Name of the method.
    pub method: &'a str,
    /// The host that it was for, as it was sent.
    pub host: &'a [u8],
    /// The target in origin-form, as it was sent.
    pub target: &'a [u8],
    /// The canonical URL that was looked up: path, and what of the query names a page. Empty if nothing was looked up.
    pub key: &'a [u8],
    /// `Location` of the answer, or the target of a page that leads there.
    pub location: &'a str,
    /// The file that said so, and the line; empty for what no file says.
    pub file: &'a str,
    /// The line, counted from 1.
    pub line: u32,
    /// The platform that was asked.
    pub platform: &'a str,
    /// What the cache had to do with it: `hit`, `miss` and others as `cache::Source` names them, `pass`, or nothing.
    pub cache: &'a [u8],
    /// `Referer`.
    pub referer: &'a [u8],
    /// `User-Agent`.
    pub user_agent: &'a [u8],
    /// The tags that request rules gave it, with spaces between them.
    pub tags: &'a str,
    /// Id of the trace that it belongs to, in hexadecimal digits (W3C Trace Context); empty if there is none.
    pub trace: &'a str,
    /// Id of the request's own span in that trace; 0 if there is none.
    pub span: u64,
    /// Id of the span that it is a part of; 0 where the trace begins.
    pub parent: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl Default for Exchange<'_> {
    /// An empty one.
    fn default() -> Self {
        Exchange {
            at: 0,
            took: 0,
            status: 0,
            outcome: Outcome::BadRequest,
            reason: None,
            lane: Lane::Fast,
            protocol: Protocol::default(),
            secure: false,
            unmapped: false,
            client: None,
            sent: 0,
            received: 0,
            site: "",
            method: "",
            host: b"",
            target: b"",
            key: b"",
            location: "",
            file: "",
            line: 0,
            platform: "",
            cache: b"",
            referer: b"",
            user_agent: b"",
            tags: "",
            trace: "",
            span: 0,
            parent: 0,
            sampled: false,
        }
    }
}

impl Exchange<'_> {
    /// Appends it to `out`, to be read by [`Exchange::take`]. Texts are cut where they are longer than 65,535 bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.secure)
            | u8::from(self.unmapped) << 1
            | u8::from(self.client.is_some()) << 2
            | u8::from(self.span != 0) << 3
            | u8::from(self.sampled) << 4;
        let reason = self.reason.map_or(NONE, |reason| reason as u8);
        let texts = self.texts();
        let lengths = texts.map(|text| u16::try_from(text.len()).unwrap_or(u16::MAX));
        let all = lengths.iter().map(|&length| usize::from(length)).sum::<usize>();
        // All at once: this is where clients wait.
        out.reserve(MOST_FIXED + all);
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.sent.to_le_bytes());
        out.extend_from_slice(&self.received.to_le_bytes());
        out.extend_from_slice(&self.took.to_le_bytes());
        out.extend_from_slice(&self.line.to_le_bytes());
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&[self.outcome as u8, reason, self.lane as u8, self.protocol as u8, flags]);
        out.extend_from_slice(lengths.map(u16::to_le_bytes).as_flattened());
        if let Some(client) = self.client {
            let address = match client {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            out.extend_from_slice(&address.octets());
        }
        if self.span != 0 {
            out.extend_from_slice(&self.span.to_le_bytes());
            out.extend_from_slice(&self.parent.to_le_bytes());
        }
        for (text, length) in texts.iter().zip(lengths) {
            if length > 0 {
                out.extend_from_slice(&text[..usize::from(length)]);
            }
        }
    }

    fn texts(&self) -> [&[u8]; TEXTS] {
        [
            self.site.as_bytes(),
            self.method.as_bytes(),
            self.host,
            self.target,
            self.key,
            self.location.as_bytes(),
            self.file.as_bytes(),
            self.platform.as_bytes(),
            self.cache,
            self.referer,
            self.user_agent,
            self.tags.as_bytes(),
            self.trace.as_bytes(),
        ]
    }
}

impl<'a> Exchange<'a> {
    /// The exchange that `bytes` begin with, which they are shortened by; none if there is none.
    pub fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let (at, sent, received) = (number(bytes)?, number(bytes)?, number(bytes)?);
        let (took, line, status) = (number(bytes)?, number(bytes)?, number(bytes)?);
        let [outcome, reason, lane, protocol, flags] = array(bytes)?;
        let lengths = array::<{ 2 * TEXTS }>(bytes)?;
        let client = if flags & 4 == 0 { None } else { Some(Ipv6Addr::from(array::<16>(bytes)?)) };
        let (span, parent) = if flags & 8 == 0 { (0, 0) } else { (number(bytes)?, number(bytes)?) };
        let mut texts = [&b""[..]; TEXTS];
        for (text, length) in texts.iter_mut().zip(lengths.as_chunks().0) {
            *text = bytes.split_off(..usize::from(u16::from_le_bytes(*length)))?;
        }
        let [site, method, host, target, key, location, file, platform, cache, referer, user_agent, tags, trace] =
            texts;
        Some(Exchange {
            at,
            took,
            status,
            outcome: *Outcome::ALL.get(usize::from(outcome))?,
            reason: Reason::ALL.get(usize::from(reason)).copied(),
            lane: *Lane::ALL.get(usize::from(lane))?,
            protocol: *Protocol::ALL.get(usize::from(protocol))?,
            secure: flags & 1 != 0,
            unmapped: flags & 2 != 0,
            client: client.map(|client| IpAddr::from(client).to_canonical()),
            sent,
            received,
            site: text(site),
            method: text(method),
            host,
            target,
            key,
            location: text(location),
            file: text(file),
            line,
            platform: text(platform),
            cache,
            referer,
            user_agent,
            tags: text(tags),
            trace: text(trace),
            span,
            parent,
            sampled: flags & 16 != 0,
        })
    }
}

trait Number: Sized {
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Number for $number {
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                array(bytes).map(<$number>::from_le_bytes)
            }
        })*
    };
}

numbers!(u16, u32, u64, i64);

fn number<N: Number>(bytes: &mut &[u8]) -> Option<N> {
    N::read(bytes)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*array)
}

/// A text that was one when it was written, and may have been cut.
fn text(bytes: &[u8]) -> &str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

const TEXTS: usize = 13;

/// Bytes of all that is no text, at most.
const MOST_FIXED: usize = 128;

/// No reason.
const NONE: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(70_000);
        let exchange = Exchange {
            at: 1_790_000_000_123_456,
            took: 42,
            status: 301,
            outcome: Outcome::Redirect,
            reason: None,
            lane: Lane::Http2,
            protocol: Protocol::Http2,
            secure: true,
            unmapped: false,
            client: Some([192, 0, 2, 1].into()),
            sent: u64::MAX,
            received: 7,
            site: "county/jyj",
            method: "GET",
            host: b"jyj.old.example",
            target: b"/a.htm?id=7&\xff",
            key: b"/a.htm?id=7",
            location: "https://www.new.example/a",
            file: "county/jyj.csv",
            line: 12,
            platform: "",
            cache: b"",
            referer: b"https://search.example/",
            user_agent: b"Mozilla/5.0",
            tags: "school old",
            trace: "",
            span: 0,
            parent: 0,
            sampled: false,
        };
        let other = Exchange {
            reason: Some(Reason::Waf),
            client: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
            unmapped: true,
            secure: false,
            trace: "4bf92f3577b34da6a3ce929d0e0e4736",
            span: u64::MAX,
            parent: 7,
            sampled: true,
            ..exchange
        };
        let mut bytes = Vec::new();
        for exchange in [exchange, other, Exchange { client: None, ..exchange }] {
            exchange.write(&mut bytes);
        }
        Exchange { user_agent: long.as_bytes(), ..exchange }.write(&mut bytes);
        let mut rest = &bytes[..];
        assert_eq!(Exchange::take(&mut rest), Some(exchange));
        assert_eq!(Exchange::take(&mut rest), Some(other));
        assert_eq!(Exchange::take(&mut rest), Some(Exchange { client: None, ..exchange }));
        assert_eq!(Exchange::take(&mut rest).map(|cut| cut.user_agent.len()), Some(65_535));
        assert_eq!((rest.len(), Exchange::take(&mut rest)), (0, None));
        for end in 0..bytes.len().min(300) {
            // What is cut short is none.
            let _ = Exchange::take(&mut &bytes[..end]);
        }
    }
}
