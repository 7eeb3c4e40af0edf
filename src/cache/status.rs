//! `Cache-Status` (RFC 9211), and the look-up that it tells of.

use std::fmt::Write;

use http::{HeaderName, HeaderValue};

/// Why a request went to the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// Nothing is stored for the URL.
    UriMiss,
    /// Nothing of what is stored suits the request.
    VaryMiss,
    /// What is stored is too old.
    Stale,
    /// The client wanted it so.
    Request,
    /// The request is not for a cache.
    Bypass,
    /// The method isn't.
    Method,
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Stored and fresh.
    Hit,
    /// Stored and stale, which the client allows.
    StaleAllowed,
    /// Stored and stale, and being replaced.
    StaleWhileRevalidate,
    /// Stored and stale, since the platform has answered with this status, or not at all.
    StaleIfError(Option<u16>),
    /// Stored and stale, since the platform is known to be down: it was not asked.
    StaleIfDown,
    /// Stored, and confirmed by the platform, which was asked for this reason.
    Revalidated(Forward),
    /// The platform's own.
    Fetched {
        /// Why it was asked.
        forward: Forward,
        /// The status it answered with.
        status: u16,
        /// Whether the answer is being stored.
        stored: bool,
    },
}

impl Source {
    /// The word for logs.
    pub fn name(self) -> &'static str {
        match self {
            Source::Hit => "hit",
            Source::StaleAllowed => "stale-allowed",
            Source::StaleWhileRevalidate => "stale-while-revalidate",
            Source::StaleIfError(_) => "stale-if-error",
            Source::StaleIfDown => "stale-if-down",
            Source::Revalidated(_) => "revalidated",
            Source::Fetched { .. } => "miss",
        }
    }
}

/// The name of the field.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Writes the member that this cache adds to the field. `ttl` is in seconds.
pub(super) fn write(source: Source, collapsed: bool, ttl: i64) -> HeaderValue {
    let mut text = String::with_capacity(64);
    text.push_str("Waypost; ");
    // Writing to a String can't fail.
    let _ = match source {
        Source::Hit => write!(text, "hit; ttl={ttl}"),
        Source::StaleAllowed => write!(text, "hit; ttl={ttl}; detail=max-stale"),
        Source::StaleWhileRevalidate => write!(text, "hit; ttl={ttl}; detail=stale-while-revalidate"),
        Source::StaleIfDown => write!(text, "hit; ttl={ttl}; detail=stale-if-down"),
        Source::StaleIfError(Some(status)) => {
            write!(text, "fwd=stale; fwd-status={status}; ttl={ttl}; detail=stale-if-error")
        }
        Source::StaleIfError(None) => write!(text, "fwd=stale; ttl={ttl}; detail=stale-if-error"),
        Source::Revalidated(forward) => write!(text, "fwd={}; fwd-status=304; ttl={ttl}", forward.name()),
        Source::Fetched { forward, status, stored: true } => {
            write!(text, "fwd={}; fwd-status={status}; ttl={ttl}; stored", forward.name())
        }
        Source::Fetched { forward, status, stored: false } => {
            write!(text, "fwd={}; fwd-status={status}", forward.name())
        }
    };
    if collapsed {
        text.push_str("; collapsed");
    }
    HeaderValue::try_from(text).expect("it is printable ASCII")
}

impl Forward {
    fn name(self) -> &'static str {
        match self {
            Forward::UriMiss => "uri-miss",
            Forward::VaryMiss => "vary-miss",
            Forward::Stale => "stale",
            Forward::Request => "request",
            Forward::Bypass => "bypass",
            Forward::Method => "method",
        }
    }
}

/// Why a request goes to the platform without the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The site isn't cached.
    Off,
    /// HEAD, and nothing is stored that is fresh.
    Head,
    /// The request has a body.
    Body,
    /// `no-store`.
    NoStore,
    /// `If-Match` or `If-Unmodified-Since`: only the platform knows.
    Precondition,
    /// A range of what isn't stored.
    Range,
    /// Credentials, and what is stored is not for everybody.
    Authorization,
    /// A cookie that makes the request personal.
    Cookie,
}

impl Pass {
    /// The member that this cache adds to `Cache-Status`.
    pub fn cache_status(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Pass::Off => "Waypost; fwd=bypass; detail=off",
            Pass::Head => "Waypost; fwd=method; detail=head",
            Pass::Body => "Waypost; fwd=bypass; detail=body",
            Pass::NoStore => "Waypost; fwd=request; detail=no-store",
            Pass::Precondition => "Waypost; fwd=request; detail=precondition",
            Pass::Range => "Waypost; fwd=partial; detail=range",
            Pass::Authorization => "Waypost; fwd=bypass; detail=authorization",
            Pass::Cookie => "Waypost; fwd=bypass; detail=cookie",
        })
    }
}

/// What [`super::Lookup::GatewayTimeout`] adds to `Cache-Status`.
pub const ONLY_IF_CACHED: HeaderValue = HeaderValue::from_static("Waypost; detail=only-if-cached");
