//! What the gateway believes of a request's head: which host and target it is for.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Version, header};
use pingora::http::RequestHeader;

use crate::model::Method;
use crate::routing::Request;
use crate::url::split_absolute;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request as the decision and the pages need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts<'a> {
    pub method: Method,
    pub host: Option<Cow<'a, [u8]>>,
    /// In origin-form.
    pub target: Cow<'a, [u8]>,
    pub secure: bool,
    pub accept_language: Option<Cow<'a, str>>,
    /// Why it is refused without asking the routes.
    pub refused: Option<&'static str>,
}

impl<'a> Facts<'a> {
    /// Reads a head. `sent` is the target as it was sent, where the head has it otherwise; `trusted` says whether the
    /// peer is a proxy whose word about the client's request counts.
    pub fn read(head: &'a RequestHeader, sent: Option<&'a [u8]>, trusted: bool) -> Self {
        let headers = &head.headers;
        let (authority, target) = split_target(sent.unwrap_or_else(|| head.raw_path()));
        let sent_host = headers.get(header::HOST).map(|value| value.as_bytes());
        // RFC 9112, 3.2.2: the host of an absolute-form target replaces the header's.
        let mut host = authority.or(sent_host);
        let mut secure = false;
        if trusted {
            host = first(headers, &FORWARDED_HOST).or(host);
            secure = first(headers, &FORWARDED_PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"));
        }
        let refused = if sent_host.is_none() && head.version == Version::HTTP_11 {
            // RFC 9112, 3.2. HTTP/1.0 has no Host, and no site either.
            Some("an HTTP/1.1 request needs a Host header")
        } else if head.method == http::Method::CONNECT {
            Some("CONNECT is for proxies, which this is not")
        } else {
            None
        };
        Facts {
            method: Method::parse(head.method.as_str()),
            host: host.map(Cow::Borrowed),
            target,
            secure,
            accept_language: headers
                .get(header::ACCEPT_LANGUAGE)
                .and_then(|value| value.to_str().ok())
                .map(Cow::Borrowed),
            refused,
        }
    }

    /// A request of which nothing could be read.
    pub fn unreadable(reason: &'static str) -> Self {
        Facts {
            method: Method::Other,
            host: None,
            target: Cow::Borrowed(b"/"),
            secure: false,
            accept_language: None,
            refused: Some(reason),
        }
    }

    /// What the decision looks at.
    pub fn request(&self) -> Request<'_> {
        Request { method: self.method, host: self.host.as_deref(), target: &self.target, secure: self.secure }
    }

    /// The same facts, independent of the connection they were read from.
    pub fn into_owned(self) -> Facts<'static> {
        Facts {
            method: self.method,
            host: self.host.map(|host| Cow::Owned(host.into_owned())),
            target: Cow::Owned(self.target.into_owned()),
            secure: self.secure,
            accept_language: self.accept_language.map(|languages| Cow::Owned(languages.into_owned())),
            refused: self.refused,
        }
    }
}

/// The first item of a list header: what the proxy nearest to the client wrote.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let value = headers.get(name)?.as_bytes();
    let item = value.split(|&b| b == b',').next().unwrap_or_default().trim_ascii();
    (!item.is_empty()).then_some(item)
}

/// The authority of an absolute-form target, and the target in origin-form.
fn split_target(raw: &[u8]) -> (Option<&[u8]>, Cow<'_, [u8]>) {
    let Some(absolute) = split_absolute(raw) else { return (None, Cow::Borrowed(without_fragment(raw))) };
    let target = without_fragment(absolute.target);
    let target = match target.first() {
        None => Cow::Borrowed(&b"/"[..]),
        Some(b'?') => Cow::Owned([b"/", target].concat()),
        Some(_) => Cow::Borrowed(target),
    };
    (Some(absolute.authority), target)
}

/// A fragment is no part of a target (RFC 9112, 3.2), but some clients send it.
fn without_fragment(target: &[u8]) -> &[u8] {
    target.split(|&b| b == b'#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        for &(name, value) in headers {
            head.append_header(name, value).unwrap();
        }
        head
    }

    fn seen(head: &RequestHeader, trusted: bool) -> (String, String, bool, bool) {
        let facts = Facts::read(head, None, trusted);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (
            facts.host.as_deref().map(text).unwrap_or_default(),
            text(&facts.target),
            facts.secure,
            facts.refused.is_some(),
        )
    }

    #[test]
    fn an_absolute_target_brings_its_own_host() {
        for (target, host, want) in [
            ("/a?b", "header.example", ("header.example", "/a?b")),
            ("http://target.example/a?b", "header.example", ("target.example", "/a?b")),
            ("HTTP://Target.Example:81/", "header.example", ("Target.Example:81", "/")),
            ("https://target.example", "header.example", ("target.example", "/")),
            ("http://target.example?b=/c", "header.example", ("target.example", "/?b=/c")),
            ("/http://target.example/", "header.example", ("header.example", "/http://target.example/")),
            ("*", "header.example", ("header.example", "*")),
        ] {
            let (seen_host, seen_target, _, refused) = seen(&head("GET", target, &[("host", host)]), false);
            assert_eq!((seen_host.as_str(), seen_target.as_str(), refused), (want.0, want.1, false), "{target}");
        }
    }

    #[test]
    fn the_target_is_the_one_that_was_sent() {
        let head = head("GET", "http://h.example/%D0%C2", &[("host", "h.example")]);
        let facts = Facts::read(&head, Some(b"http://h.example/\xd0\xc2#top"), false);
        assert_eq!((facts.host.as_deref(), &*facts.target), (Some(&b"h.example"[..]), &b"/\xd0\xc2"[..]));
    }

    #[test]
    fn a_host_is_needed_since_http_1_1() {
        assert!(seen(&head("GET", "/", &[]), false).3);
        assert!(seen(&head("GET", "http://target.example/", &[]), false).3);
        assert!(seen(&head("GET", "/", &[("x-forwarded-host", "a.example")]), true).3);
        let mut old = head("GET", "/", &[]);
        old.set_version(Version::HTTP_10);
        assert_eq!(seen(&old, false), (String::new(), "/".to_owned(), false, false));
        assert!(seen(&head("CONNECT", "a.example:443", &[("host", "a.example:443")]), false).3);
    }

    #[test]
    fn only_trusted_peers_speak_for_clients() {
        let forwarded = [
            ("host", "proxy.example"),
            ("x-forwarded-host", " old.example , inner.example"),
            ("x-forwarded-proto", "HTTPS, http"),
        ];
        let head_of = |headers| head("GET", "/a", headers);
        assert_eq!(seen(&head_of(&forwarded), false), ("proxy.example".to_owned(), "/a".to_owned(), false, false));
        assert_eq!(seen(&head_of(&forwarded), true), ("old.example".to_owned(), "/a".to_owned(), true, false));
        let empty = [("host", "proxy.example"), ("x-forwarded-host", ""), ("x-forwarded-proto", "http")];
        assert_eq!(seen(&head_of(&empty), true), ("proxy.example".to_owned(), "/a".to_owned(), false, false));
    }
}
