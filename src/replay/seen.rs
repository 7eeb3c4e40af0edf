//! What lists keep of a URL or host that was seen, and how it is told.

use super::frequent::Merge;
use super::judge::Asked;

/// A URL or host that was seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub site: Option<usize>,
    pub key: Box<[u8]>,
    /// A URL that it was asked for by.
    pub example: String,
    /// Where it was first seen.
    pub place: (usize, u64),
    /// Hits by the class of the old status; the first is for none.
    pub statuses: [u64; 6],
}

impl Seen {
    /// Counts a hit, by the status that the old server had answered.
    pub fn count(&mut self, status: u16) {
        self.statuses[usize::from(status / 100).min(5)] += 1;
    }

    /// How often it was seen.
    pub fn hits(&self) -> u64 {
        self.statuses.iter().sum()
    }
}

impl Merge for Seen {
    fn merge(&mut self, other: Self) {
        let mut statuses = self.statuses;
        statuses.iter_mut().zip(other.statuses).for_each(|(own, other)| *own += other);
        if other.place < self.place {
            *self = other;
        }
        self.statuses = statuses;
    }
}

/// The URL that was asked for.
pub(super) fn url(asked: &Asked<'_>, target: &[u8]) -> String {
    let scheme = if asked.secure { "https" } else { "http" };
    let host = without_port(asked.host.unwrap_or_default());
    let url = [scheme.as_bytes(), b"://", host, target].concat();
    cut(&url, MAX_KEPT)
}

/// A host without the port that many logs write behind it.
pub(super) fn without_port(host: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', host) {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) && !host.ends_with(b"]") => &host[..colon],
        _ => host,
    }
}

/// Bytes of a log as text: what is no UTF-8 and no printable character is escaped by percent.
pub(super) fn cut(bytes: &[u8], length: usize) -> String {
    let mut out = String::new();
    for chunk in bytes[..bytes.len().min(length)].utf8_chunks() {
        let mut rest = chunk.valid();
        // Most is printable from one end to the other.
        let plain = rest.bytes().take_while(|byte| matches!(byte, 0x20..0x7F)).count();
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
        for c in rest.chars() {
            match c.is_control() {
                true => c.to_string().bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}"))),
                false => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
    }
    out
}

/// As much of bytes as is kept.
pub(super) fn cut_bytes(bytes: &[u8]) -> Box<[u8]> {
    bytes[..bytes.len().min(MAX_KEPT)].into()
}

/// Longest part of a URL that is kept, in bytes.
const MAX_KEPT: usize = 1024;
