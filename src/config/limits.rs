//! `[limits]` of gateway.toml: what one client may take of the node.

use super::keys::{Key, Kind, key};

/// The bounds of connections and requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all; 0 is as many as there are file descriptors for.
    pub connections: u32,
    /// Connections of one client; 0 is no bound.
    pub connections_per_client: u32,
    /// Requests of one connection; 0 is no bound.
    pub requests: u32,
    /// Seconds of a TLS handshake, and of a PROXY header.
    pub handshake_time: u32,
    /// Seconds from a connection, or from a head's first byte, to the head's end.
    pub head_time: u32,
    /// Seconds that a connection may wait for its next request.
    pub idle_time: u32,
    /// Bytes a second that a client must send of a body, and take of an answer.
    pub min_rate: u32,
    /// Bytes of a request target.
    pub target: u32,
    /// Bytes of a head.
    pub head: u32,
    /// Header fields of a request.
    pub fields: u32,
    /// Streams of an HTTP/2 connection at a time.
    pub streams: u32,
    /// Streams of an HTTP/2 connection that may be malformed, or reset before their answer is complete.
    pub resets: u32,
}

impl Limits {
    pub(super) fn read(number: impl Fn(&str) -> i64) -> Self {
        let mut limits = Limits::default();
        for key in LIMITS {
            if let Some(field) = limits.field(key.name) {
                // The table of keys bounds every number.
                *field = u32::try_from(number(key.name)).unwrap_or(u32::MAX);
            }
        }
        limits
    }

    /// The value of a key, by its name.
    pub(super) fn value(mut self, name: &str) -> u32 {
        self.field(name).map_or(0, |field| *field)
    }

    fn field(&mut self, name: &str) -> Option<&mut u32> {
        Some(match name {
            "connections" => &mut self.connections,
            "connections-per-client" => &mut self.connections_per_client,
            "requests" => &mut self.requests,
            "handshake-time" => &mut self.handshake_time,
            "head-time" => &mut self.head_time,
            "idle-time" => &mut self.idle_time,
            "min-rate" => &mut self.min_rate,
            "target" => &mut self.target,
            "head" => &mut self.head,
            "fields" => &mut self.fields,
            "streams" => &mut self.streams,
            "resets" => &mut self.resets,
            _ => return None,
        })
    }
}

/// `[limits]`.
pub const LIMITS: &[Key] = &[
    key(
        "connections",
        Kind::Number(0, 10_000_000),
        "0",
        "Open connections in all; more are closed at once. 0 is as many as the process may have files open, less some.",
    ),
    key(
        "connections-per-client",
        Kind::Number(0, 10_000_000),
        "1000",
        "Open connections of one client (an IPv4 address, or an IPv6 /64); more are answered 429 over plain HTTP and closed over HTTPS. 0 is no bound. Trusted proxies are exempt, since they stand for many.",
    ),
    key(
        "requests",
        Kind::Number(0, 1_000_000_000),
        "10000",
        "Requests of one connection, after which it is closed in good order. 0 is no bound.",
    ),
    key(
        "handshake-time",
        Kind::Number(1, 3600),
        "10",
        "Seconds that a TLS handshake may take, and a PROXY header; then the connection is closed.",
    ),
    key(
        "head-time",
        Kind::Number(1, 3600),
        "10",
        "Seconds that the whole head of a request may take, from its first byte (or from the start of the connection), and a body that nobody wants; then 408. A connection that has sent nothing is closed without a word.",
    ),
    key(
        "idle-time",
        Kind::Number(1, 3600),
        "10",
        "Seconds that a connection may wait for its next request; then it is closed.",
    ),
    key(
        "min-rate",
        Kind::Number(0, 1_000_000),
        "500",
        "Bytes a second that a client must send of a body for a platform (else 408) and take of an answer (else the connection is closed), over any ten seconds in which they are waited for. 0 is no bound.",
    ),
    key("target", Kind::Number(64, 8192), "8192", "Bytes of a request target, the line's longest part; more is 414."),
    key(
        "head",
        Kind::Number(1024, 60_000),
        "32768",
        "Bytes of a request's head, or of the field list of an HTTP/2 request; more is 431.",
    ),
    key("fields", Kind::Number(1, 256), "100", "Header fields of a request; more is 431."),
    key("streams", Kind::Number(1, 10_000), "100", "Streams of an HTTP/2 connection at a time; more are refused."),
    key(
        "resets",
        Kind::Number(1, 10_000),
        "100",
        "Streams of an HTTP/2 connection that may be malformed, or that the client may reset before their answer is complete; then GOAWAY.",
    ),
];
