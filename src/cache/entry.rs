//! A stored response, ready to be sent.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    Rules, date,
    freshness::{Freshness, Times},
    lists::list,
    policy::{self, NotStored, Storing},
    vary::Selecting,
};

/// A stored response.
#[derive(Debug)]
pub struct Entry {
    pub(super) status: u16,
    pub(super) fields: HeaderMap,
    /// The fields as lines of HTTP/1.
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    pub(super) freshness: Freshness,
    pub(super) selecting: Selecting,
    pub(super) for_authorized: bool,
    pub(super) tags: Box<[Box<[u8]>]>,
    /// The purges that it has seen: all before it was asked for.
    pub(super) born: u64,
    /// The purges that it is known to have survived.
    pub(super) checked: AtomicU64,
}

impl Entry {
    /// `fields` are those of [`stored_fields`].
    pub(super) fn new(status: u16, mut fields: HeaderMap, body: Bytes, storing: Storing, born: u64) -> Self {
        fields.insert(header::CONTENT_LENGTH, body.len().into());
        if status == 204 {
            // RFC 9110, 8.6.
            fields.remove(header::CONTENT_LENGTH);
        }
        let mut head = Vec::with_capacity(fields.len() * 40);
        for (name, value) in &fields {
            write_line(&mut head, name, value);
        }
        Entry {
            status,
            head: head.into(),
            tags: tags(&fields),
            fields,
            body,
            freshness: storing.freshness,
            selecting: storing.selecting,
            for_authorized: storing.for_authorized,
            born,
            checked: AtomicU64::new(born),
        }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The fields as they are stored; a response has `Age` and `Cache-Status` as well.
    pub fn fields(&self) -> &HeaderMap {
        &self.fields
    }

    /// [`Self::fields`] as lines of HTTP/1, each with its end; neither a status line nor the empty line.
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        let own = |value: &[u8]| value.len() + 16;
        let fields: usize = self.fields.values().map(|value| value.len() + FIELD_OVERHEAD).sum();
        let selecting: usize = self.selecting.others.iter().map(|(_, value)| own(value) + FIELD_OVERHEAD).sum();
        self.body.len()
            + self.head.len()
            + fields
            + selecting
            + self.tags.iter().map(|tag| own(tag)).sum::<usize>()
            + OVERHEAD
    }

    pub(super) fn has_validator(&self) -> bool {
        policy::has_validator(&self.fields)
    }

    /// Until when it is of any use, in Unix seconds.
    pub(super) fn useful_until(&self) -> i64 {
        let stale = self.freshness.longest_stale(self.has_validator());
        let fresh = i64::from(self.freshness.lifetime) - i64::from(self.freshness.initial_age);
        self.freshness.received.saturating_add(fresh).saturating_add(stale.into())
    }

    /// This response with the fields of a 304, or of a response to HEAD (RFC 9111, 3.2, 4.3.4 and 4.3.5); a cookie that
    /// comes with one is not stored.
    ///
    /// # Errors
    /// If it must not be stored any more; it still is the answer to who asked.
    pub(super) fn freshened(
        &self,
        request: &HeaderMap,
        mut new: HeaderMap,
        rules: &Rules,
        times: Times,
        born: u64,
    ) -> (Self, Option<NotStored>) {
        policy::remove_hop_by_hop(&mut new);
        for name in NOT_UPDATED {
            new.remove(name);
        }
        if !new.contains_key(header::DATE) {
            new.insert(header::DATE, date::write(times.received));
        }
        let weak = |value: &HeaderValue| value.as_bytes().starts_with(b"W/");
        if self.fields.get(header::ETAG).is_some_and(weak) {
            // The gateway weakens the tags of what it rewrites, and knows the body; the platform doesn't.
            new.remove(header::ETAG);
        }
        let mut fields = self.fields.clone();
        for name in new.keys() {
            fields.remove(name);
        }
        for (name, value) in &new {
            fields.append(name, value.clone());
        }
        let storing = policy::storing(request, self.status, &fields, rules, times);
        let refused = storing.as_ref().err().copied();
        let storing = storing.unwrap_or_else(|_| Storing {
            freshness: Freshness { received: times.received, ask_always: true, strict: true, ..Freshness::default() },
            selecting: self.selecting.clone(),
            withheld: Vec::new(),
            for_authorized: false,
        });
        let fields = stored_fields(&fields, &storing.withheld, times);
        (Entry::new(self.status, fields, self.body.clone(), storing, born), refused)
    }

    pub(super) fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    pub(super) fn set_checked(&self, generation: u64) {
        self.checked.fetch_max(generation, Ordering::Relaxed);
    }
}

/// The fields of a response that are stored (RFC 9111, 3.1), with a date (RFC 9110, 6.6.1) and without an age.
pub(super) fn stored_fields(fields: &HeaderMap, withheld: &[HeaderName], times: Times) -> HeaderMap {
    let mut stored = fields.clone();
    policy::remove_hop_by_hop(&mut stored);
    for name in withheld {
        stored.remove(name);
    }
    stored.remove(header::AGE);
    // In the form in which it is sent (RFC 9110, 5.6.7).
    let date = date::of(&stored, &header::DATE).unwrap_or(times.received);
    stored.insert(header::DATE, date::write(date));
    stored
}

/// The name of a field as it is usual in HTTP/1. Names mean the same in any case (RFC 9110, 5.1), but some old clients know
/// only this one.
pub fn usual_name(name: &HeaderName) -> impl Iterator<Item = u8> + '_ {
    let mut first = true;
    name.as_str().bytes().map(move |byte| {
        let upper = std::mem::replace(&mut first, byte == b'-');
        if upper { byte.to_ascii_uppercase() } else { byte }
    })
}

/// Appends a field as a line, its name as it is usual.
pub fn write_line(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    out.reserve(name.len() + value.len() + 4);
    let start = out.len();
    out.extend_from_slice(name);
    let mut first = true;
    for byte in &mut out[start..] {
        if std::mem::replace(&mut first, *byte == b'-') {
            byte.make_ascii_uppercase();
        }
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The tags that a response can be purged by.
fn tags(fields: &HeaderMap) -> Box<[Box<[u8]>]> {
    let mut tags: Vec<Box<[u8]>> = Vec::new();
    for name in &TAG_FIELDS {
        let words = list(fields, name).flat_map(|member| member.split(|byte| matches!(byte, b' ' | b'\t')));
        tags.extend(words.filter(|word| !word.is_empty()).map(Box::from));
    }
    tags.sort();
    tags.dedup();
    tags.into()
}

/// Fields of a 304 that say nothing of the stored response (RFC 9111, 3.2): its body is not that of the 304, and the
/// gateway may have encoded it, or changed its links, itself.
const NOT_UPDATED: [HeaderName; 10] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
    header::SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    HeaderName::from_static("cache-status"),
];

const TAG_FIELDS: [HeaderName; 3] =
    [HeaderName::from_static("cache-tag"), HeaderName::from_static("surrogate-key"), HeaderName::from_static("xkey")];

/// What an entry takes beside its texts, in bytes: measured with an empty body and ten fields.
const OVERHEAD: usize = 1_024;

/// What a field takes beside its value.
const FIELD_OVERHEAD: usize = 104;
