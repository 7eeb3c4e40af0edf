//! Answers out of stored responses, and out of those that are being stored.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    Asked, Entry, Reader, Source, conditions,
    entry::write_line,
    ranges,
    status::{self, CACHE_STATUS},
};

/// An answer, ready to be written.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Every field but those of the connection (`Connection`, `Transfer-Encoding`).
    pub fields: HeaderMap,
    /// The body; none for HEAD, whatever `Content-Length` says.
    pub body: Body,
    /// Where it comes from.
    pub source: Source,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// None.
    Empty,
    /// Pieces of what is stored, in order.
    Pieces(Vec<Bytes>),
    /// What is still coming.
    Stream(Reader),
}

/// A stored response that answers a request.
#[derive(Clone, Debug)]
pub struct Hit {
    pub(super) entry: Arc<Entry>,
    pub(super) source: Source,
    pub(super) collapsed: bool,
    pub(super) now: i64,
}

impl Hit {
    /// What is stored.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Where the answer comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// How old it is, in seconds.
    pub fn age(&self) -> u32 {
        self.entry.freshness.age(self.now)
    }

    /// Appends the fields as lines of HTTP/1: those of [`Self::respond`] to a plain request, byte by byte. Neither a status
    /// line nor the empty line.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.entry.head);
        write_line(out, &header::AGE, &self.age().into());
        write_line(out, &CACHE_STATUS, &self.cache_status());
    }

    /// The answer to a request: all of it, a part (RFC 9110, 14), or the word that the client has it (RFC 9111, 4.3.2).
    pub fn respond(&self, asked: &Asked<'_>) -> Reply {
        let entry = &*self.entry;
        let mut fields = entry.fields.clone();
        fields.insert(header::AGE, self.age().into());
        fields.append(CACHE_STATUS, self.cache_status());
        let reply = |status, fields, body| Reply { status, fields, body, source: self.source };
        // RFC 9110, 13.2.1 and 14.2: only where the answer would be a success.
        if (200..300).contains(&entry.status)
            && conditions::is_not_modified(asked.fields, &entry.fields, entry.freshness.received)
        {
            return reply(304, not_modified(fields), Body::Empty);
        }
        if asked.head_only {
            return reply(entry.status, fields, Body::Empty);
        }
        let whole = |fields| reply(entry.status, fields, Body::Pieces(vec![entry.body.clone()]));
        if entry.status != 200 || !conditions::allows_range(asked.fields, &entry.fields) {
            return whole(fields);
        }
        let length = entry.body.len();
        match ranges::asked(asked.fields, length) {
            ranges::Asked::Whole => whole(fields),
            ranges::Asked::Unsatisfiable => {
                let mut fields = without_content(fields);
                fields.insert(header::CONTENT_RANGE, ranges::no_range(length));
                fields.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
                reply(416, fields, Body::Empty)
            }
            ranges::Asked::Parts(parts) => {
                let pieces = match &*parts {
                    [part] => {
                        fields.insert(header::CONTENT_RANGE, ranges::content_range(part, length));
                        vec![entry.body.slice(part.clone())]
                    }
                    parts => {
                        // Nobody can have written it into the body: it is new each time.
                        let boundary = RandomState::new().hash_one(length);
                        let own = fields.get(header::CONTENT_TYPE);
                        let (content_type, pieces) = ranges::multipart(parts, &entry.body, own, boundary);
                        fields.insert(header::CONTENT_TYPE, content_type);
                        pieces
                    }
                };
                let sum: usize = pieces.iter().map(Bytes::len).sum();
                fields.insert(header::CONTENT_LENGTH, sum.into());
                reply(206, fields, Body::Pieces(pieces))
            }
        }
    }

    fn cache_status(&self) -> HeaderValue {
        status::write(self.source, self.collapsed, self.entry.freshness.ttl(self.now))
    }
}

/// The fields of a 304 (RFC 9110, 15.4.5): none that describe a body.
pub(super) fn not_modified(fields: HeaderMap) -> HeaderMap {
    let mut fields = without_content(fields);
    fields.remove(header::CONTENT_LENGTH);
    fields
}

fn without_content(mut fields: HeaderMap) -> HeaderMap {
    for name in OF_CONTENT {
        fields.remove(name);
    }
    fields
}

const OF_CONTENT: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::CONTENT_RANGE];
