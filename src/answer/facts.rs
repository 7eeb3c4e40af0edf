//! What the gateway believes of a request's head: which host and target it is for, and by which way it came.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Instant};

use super::Refusal;
use crate::model::{Host, Method};
use crate::routing::Request;
use crate::telemetry::Protocol;
use crate::url::{Absolute, split_absolute};

/// A request as the decision and the pages need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// When the head had come.
    pub since: Instant,
    /// The method.
    pub method: Method,
    /// The method's name; empty if there is none.
    pub method_name: Cow<'a, str>,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// Whom the request is for, as sent; none in HTTP/1.0 without a Host.
    pub host: Option<Cow<'a, [u8]>>,
    /// The target in origin-form, as sent.
    pub target: Cow<'a, [u8]>,
    /// Whether the client came by HTTPS.
    pub secure: bool,
    /// `Accept-Language`, where it is text.
    pub accept_language: Option<Cow<'a, str>>,
    /// `Referer`, for logs and counts.
    pub referer: Cow<'a, [u8]>,
    /// `User-Agent`, for logs and counts.
    pub user_agent: Cow<'a, [u8]>,
    /// Who sent it; none behind a Unix socket that names nobody.
    pub client: Option<IpAddr>,
    /// Whether that is a trusted proxy which names nobody, and so may stand for many.
    pub is_many: bool,
    /// Tags that rules of the guard gave it.
    pub tags: Vec<Arc<str>>,
    /// Why it is refused without asking the routes.
    pub refused: Option<Refusal>,
    /// Where it is sent instead, with the refusal's status.
    pub location: Option<Arc<str>>,
}

/// The parts of a head that [`Facts`] are made from, whatever protocol they came by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// The method's name.
    pub method: &'a str,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// The target in origin-form or absolute-form.
    pub target: &'a [u8],
    /// The Host header, or HTTP/2's `:authority`.
    pub host: Option<&'a [u8]>,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// The name that the client gave in its TLS handshake.
    pub sni: Option<&'a str>,
    /// The address of the connection, or what the PROXY protocol says of it.
    pub client: Option<IpAddr>,
    /// Whether that is a trusted proxy which names nobody.
    pub is_many: bool,
    /// Whether the peer is a proxy whose word about the client's request counts.
    pub trusted: bool,
    /// `X-Forwarded-Host`.
    pub forwarded_host: Option<&'a [u8]>,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: Option<&'a [u8]>,
    /// `Accept-Language`.
    pub accept_language: Option<&'a [u8]>,
    /// `Referer`.
    pub referer: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    /// Reads a head that had come at `since`.
    pub fn read(parts: &Parts<'a>, since: Instant) -> Self {
        let (absolute, target) = split_target(parts.target);
        let mut refused = None;
        if let (Some(absolute), Some(host)) = (absolute, parts.host)
            && !same_authority(absolute.authority, host, absolute.secure)
        {
            // RFC 9112, 3.2.2 lets the target win; two parties on the way that read it differently are how requests
            // are smuggled.
            refused = Some(Refusal::bad("the target names another host than the Host header"));
        }
        // An absolute-form target's scheme says nothing about how the request came.
        let mut host = absolute.map(|absolute| absolute.authority).or(parts.host);
        let mut secure = parts.secure;
        if let Some(name) = parts.sni
            && let Some(asked) = host
            && !same_name(asked, name)
            // What is no host at all is malformed, not misdirected; the decision says so. An international name has
            // several spellings, and TLS one.
            && Host::parse(asked).is_ok_and(|asked| !same_name(asked.as_str().as_bytes(), name))
        {
            refused = refused.or(Some(Refusal::MISDIRECTED));
        }
        if parts.trusted {
            host = parts.forwarded_host.and_then(first).or(host);
            secure |= parts.forwarded_proto.and_then(first).is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"));
        }
        match (parts.method, target.first()) {
            ("CONNECT", _) => refused = Some(Refusal::bad("CONNECT is for proxies, which this is not")),
            (_, Some(b'/')) => {}
            ("OPTIONS", Some(b'*')) if target.len() == 1 => {}
            _ => refused = refused.or(Some(Refusal::bad("the target is no path"))),
        }
        Facts {
            since,
            method: Method::parse(parts.method),
            method_name: Cow::Borrowed(parts.method),
            protocol: parts.protocol,
            host: host.map(Cow::Borrowed),
            target,
            secure,
            accept_language: parts.accept_language.and_then(|value| str::from_utf8(value).ok()).map(Cow::Borrowed),
            referer: Cow::Borrowed(parts.referer.unwrap_or_default()),
            user_agent: Cow::Borrowed(parts.user_agent.unwrap_or_default()),
            client: parts.client,
            is_many: parts.is_many,
            tags: Vec::new(),
            refused,
            location: None,
        }
    }

    /// Whether it is refused whatever the routes say: Pingora would do so too, in its own words.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some() || self.host.as_deref().is_some_and(|host| Host::parse(host).is_err())
    }

    /// A request of `client` that could not be read, or not from this connection.
    pub fn refused(refusal: Refusal, client: Option<IpAddr>) -> Self {
        Facts {
            since: Instant::now(),
            method: Method::Other,
            method_name: Cow::Borrowed(""),
            protocol: Protocol::default(),
            host: None,
            target: Cow::Borrowed(b"/"),
            secure: false,
            accept_language: None,
            referer: Cow::default(),
            user_agent: Cow::default(),
            client,
            is_many: false,
            tags: Vec::new(),
            refused: Some(refusal),
            location: None,
        }
    }

    /// The same request, refused.
    pub fn refuse(self, refusal: Refusal) -> Self {
        Facts { refused: Some(refusal), ..self }
    }

    /// What the decision looks at.
    pub fn request(&self) -> Request<'_> {
        Request {
            method: self.method,
            host: self.host.as_deref(),
            target: &self.target,
            secure: self.secure,
            user_agent: &self.user_agent,
        }
    }

    /// The same facts, independent of the connection they were read from.
    pub fn into_owned(self) -> Facts<'static> {
        Facts {
            since: self.since,
            method: self.method,
            method_name: Cow::Owned(self.method_name.into_owned()),
            protocol: self.protocol,
            host: self.host.map(|host| Cow::Owned(host.into_owned())),
            target: Cow::Owned(self.target.into_owned()),
            secure: self.secure,
            accept_language: self.accept_language.map(|languages| Cow::Owned(languages.into_owned())),
            referer: Cow::Owned(self.referer.into_owned()),
            user_agent: Cow::Owned(self.user_agent.into_owned()),
            client: self.client,
            is_many: self.is_many,
            tags: self.tags,
            refused: self.refused,
            location: self.location,
        }
    }
}

/// The first item of a list header: what the proxy nearest to the client wrote.
fn first(value: &[u8]) -> Option<&[u8]> {
    let item = value.split(|&b| b == b',').next().unwrap_or_default().trim_ascii();
    (!item.is_empty()).then_some(item)
}

/// The parts of an absolute-form target, and the target in origin-form.
fn split_target(raw: &[u8]) -> (Option<Absolute<'_>>, Cow<'_, [u8]>) {
    if raw.first() == Some(&b'/') {
        return (None, Cow::Borrowed(without_fragment(raw)));
    }
    let Some(absolute) = split_absolute(raw) else { return (None, Cow::Borrowed(without_fragment(raw))) };
    let target = without_fragment(absolute.target);
    let target = match target.first() {
        None => Cow::Borrowed(&b"/"[..]),
        Some(b'?') => Cow::Owned([b"/", target].concat()),
        Some(_) => Cow::Borrowed(target),
    };
    (Some(absolute), target)
}

/// A fragment is no part of a target (RFC 9112, 3.2), but some clients send it.
fn without_fragment(target: &[u8]) -> &[u8] {
    match memchr::memchr(b'#', target) {
        Some(at) => &target[..at],
        None => target,
    }
}

/// Whether two authorities are one, the scheme's own port being the same as none.
fn same_authority(one: &[u8], other: &[u8], secure: bool) -> bool {
    let default: &[u8] = if secure { b":443" } else { b":80" };
    let bare = |authority: &'_ [u8]| authority.strip_suffix(default).map_or(authority.len(), <[u8]>::len);
    one[..bare(one)].eq_ignore_ascii_case(&other[..bare(other)])
}

/// Whether an authority is for the name that TLS was asked for; a port and the root's dot don't matter.
fn same_name(authority: &[u8], name: &str) -> bool {
    let host = match memchr::memrchr(b':', authority) {
        Some(colon) if !authority.ends_with(b"]") => &authority[..colon],
        _ => authority,
    };
    let bare = |host: &'_ [u8]| host.strip_suffix(b".").map_or(host.len(), <[u8]>::len);
    let name = name.as_bytes();
    host[..bare(host)].eq_ignore_ascii_case(&name[..bare(name)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(parts: Parts<'_>) -> (String, String, bool, Option<u16>) {
        let facts = Facts::read(&parts, Instant::now());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (
            facts.host.as_deref().map(text).unwrap_or_default(),
            text(&facts.target),
            facts.secure,
            facts.refused.map(|refusal| refusal.status),
        )
    }

    fn get<'a>(target: &'a str, host: &'a str) -> Parts<'a> {
        Parts { method: "GET", target: target.as_bytes(), host: Some(host.as_bytes()), ..Parts::default() }
    }

    #[test]
    fn an_absolute_target_agrees_with_the_host_or_is_refused() {
        for (target, host, want_host, want_target, refused) in [
            ("/a?b", "h.example", "h.example", "/a?b", None),
            ("http://h.example/a?b", "h.example", "h.example", "/a?b", None),
            ("HTTP://H.Example:81/", "h.example:81", "H.Example:81", "/", None),
            ("http://h.example:80/", "h.example", "h.example:80", "/", None),
            ("https://h.example", "h.example:443", "h.example", "/", None),
            ("http://h.example?b=/c", "h.example", "h.example", "/?b=/c", None),
            ("http://other.example/", "h.example", "other.example", "/", Some(400)),
            ("http://h.example:81/", "h.example", "h.example:81", "/", Some(400)),
            ("/http://other.example/", "h.example", "h.example", "/http://other.example/", None),
            ("/a#b?c", "h.example", "h.example", "/a", None),
            ("*", "h.example", "h.example", "*", Some(400)),
            ("h.example:80", "h.example", "h.example", "h.example:80", Some(400)),
            ("ftp://h.example/", "h.example", "h.example", "ftp://h.example/", Some(400)),
        ] {
            let want = (want_host.to_owned(), want_target.to_owned(), false, refused);
            assert_eq!(seen(get(target, host)), want, "{target} for {host}");
        }
        assert_eq!(seen(Parts { method: "OPTIONS", ..get("*", "h.example") }).3, None);
        assert_eq!(seen(Parts { method: "CONNECT", ..get("h.example:443", "h.example:443") }).3, Some(400));
    }

    #[test]
    fn a_tls_connection_is_for_the_name_it_was_asked_for() {
        for (host, sni, refused) in [
            ("a.example", "a.example", None),
            ("A.example.:8443", "a.EXAMPLE", None),
            ("b.example", "a.example", Some(421)),
            ("www.a.example", "a.example", Some(421)),
            ("a b", "a.example", None),
            ("青山.example", "xn--rht138k.example", None),
            ("青山。Example:8443", "xn--rht138k.example", None),
            ("青山.example", "a.example", Some(421)),
            ("[::1]:443", "a.example", Some(421)),
        ] {
            let parts = Parts { sni: Some(sni), secure: true, ..get("/", host) };
            assert_eq!(seen(parts).3, refused, "{host} on {sni}");
        }
        assert_eq!(seen(Parts { secure: true, ..get("/", "b.example") }).3, None);
    }

    #[test]
    fn only_trusted_peers_speak_for_clients() {
        let parts = Parts {
            forwarded_host: Some(b" old.example , inner.example"),
            forwarded_proto: Some(b"HTTPS, http"),
            ..get("/a", "proxy.example")
        };
        assert_eq!(seen(parts), ("proxy.example".to_owned(), "/a".to_owned(), false, None));
        let trusted = Parts { trusted: true, ..parts };
        assert_eq!(seen(trusted), ("old.example".to_owned(), "/a".to_owned(), true, None));
        let empty = Parts { forwarded_host: Some(b""), forwarded_proto: Some(b"http"), ..trusted };
        assert_eq!(seen(empty), ("proxy.example".to_owned(), "/a".to_owned(), false, None));
    }
}
