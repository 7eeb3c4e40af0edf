//! What a platform is told of a request: for which host and path it is, from which page, for whom (RFC 9110, 7.6;
//! RFC 7239), and as a part of which trace (W3C Trace Context).

use std::{cell::Cell, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, OrErr, Result};
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use super::Visit;
use crate::answer::Relayed;
use crate::telemetry::TraceContext;

/// Makes `request`, which has the client's fields but for those of its connection, one to a platform whose own host is
/// `own`. `version` is the client's.
pub(super) fn address(
    request: &mut RequestHeader,
    visit: &Visit,
    relayed: &Relayed,
    own: Option<&str>,
    version: Version,
) -> Result<()> {
    let path = relayed.path.parse().or_err(ErrorType::InternalError, "the rule's path can't be asked for")?;
    request.set_uri(path);
    let host = visit.facts.host.as_deref().and_then(|host| HeaderValue::from_bytes(host).ok());
    match (own, &host) {
        (Some(own), _) => request.insert_header(header::HOST, own)?,
        (None, Some(host)) => request.insert_header(header::HOST, host.clone())?,
        (None, None) => {}
    }
    if let (Some(own), Some(rewriting), Some(host)) = (own, &relayed.rewriting, &host) {
        let prefix = rewriting.prefix.as_ref().map(|(upstream, public)| (&**upstream, &**public));
        for name in [header::REFERER, header::ORIGIN] {
            let page = request.headers.get(&name).and_then(|page| from_own_page(page, host, own, prefix));
            if let Some(page) = page {
                request.insert_header(name, page)?;
            }
        }
    }
    if !visit.trusted {
        FORWARDED.iter().for_each(|name| drop(request.remove_header(*name)));
    }
    // What a proxy says of its client stays only as far as it could be believed: many platforms take the first address.
    request.remove_header("x-forwarded-for");
    let (client, peer) =
        (visit.facts.client.map(|client| client.to_canonical()), visit.peer.map(|peer| peer.to_canonical()));
    for address in client.into_iter().chain(peer.filter(|_| peer != client)) {
        request.append_header("x-forwarded-for", address.to_string())?;
    }
    let proto = if visit.facts.secure { "https" } else { "http" };
    let mut element = format!("proto={proto}");
    if let Some(peer) = peer {
        // A proxy says who came before it.
        element += &match peer {
            IpAddr::V4(address) => format!(";for={address}"),
            IpAddr::V6(address) => format!(";for=\"[{address}]\""),
        };
    }
    request.insert_header("x-forwarded-proto", proto)?;
    if let Some(host) = host {
        if let Some(text) = host.to_str().ok().filter(|text| !text.contains(['"', '\\'])) {
            element += &format!(";host=\"{text}\"");
        }
        request.insert_header("x-forwarded-host", host)?;
    }
    let is_continued = visit.trace.is_some_and(|trace| trace.parent_id.is_some());
    if !is_continued {
        // It tells more about another trace.
        request.remove_header(&TRACE_STATE);
    }
    match visit.trace {
        Some(trace) => request.insert_header(TRACE_PARENT, trace.to_string())?,
        None => drop(request.remove_header(&TRACE_PARENT)),
    }
    request.append_header(header::FORWARDED, element)?;
    request.append_header(header::VIA, format!("{} waypost", name(version)))?;
    if !request.headers.contains_key(&REQUEST_ID) {
        request.insert_header(REQUEST_ID, request_id()?)?;
    }
    Ok(())
}

/// The span that a client with these fields is in, if it says so, once.
pub(super) fn trace_parent(fields: &HeaderMap) -> Option<TraceContext> {
    let mut values = fields.get_all(&TRACE_PARENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    TraceContext::parse(value.as_bytes())
}

/// What a page under the old `host` is called by the platform that it comes from, `own`; `None` for pages of others.
/// `prefix` is the platform's path prefix and the one that visitors see.
///
/// Old sites take forms from their own pages only, and tell by these fields.
fn from_own_page(
    page: &HeaderValue,
    host: &HeaderValue,
    own: &str,
    prefix: Option<(&str, &str)>,
) -> Option<HeaderValue> {
    let page = page.as_bytes();
    let start = memchr::memmem::find(page, b"://")? + 3;
    let len = page[start..].iter().position(|&byte| byte == b'/').unwrap_or(page.len() - start);
    let (authority, path) = page[start..].split_at(len);
    if !authority.eq_ignore_ascii_case(host.as_bytes()) {
        return None;
    }
    let mapped =
        prefix.and_then(|(upstream, public)| Some([upstream.as_bytes(), path.strip_prefix(public.as_bytes())?]));
    let [path, rest] = mapped.unwrap_or([path, b""]);
    HeaderValue::from_bytes(&[&page[..start], own.as_bytes(), path, rest].concat()).ok()
}

fn name(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// By which logs of the platform and of the gateway can be brought together: a number of its thread's, which is chosen at
/// random (random numbers for each request would each be a call of the system), and how many came before.
fn request_id() -> Result<String> {
    thread_local! {
        static NEXT: Cell<Option<u128>> = const { Cell::new(None) };
    }
    let id = NEXT.get().map_or_else(random, Ok)?;
    NEXT.set(Some(id.wrapping_add(1)));
    Ok(format!("{id:032x}"))
}

fn random() -> Result<u128> {
    let mut bytes = [0; 16];
    let installed = CryptoProvider::get_default().map(|provider| provider.secure_random);
    let random = installed.unwrap_or(aws_lc_rs::default_provider().secure_random);
    random
        .fill(&mut bytes)
        .map_err(|_| Error::explain(ErrorType::InternalError, "the system has no random numbers"))?;
    Ok(u128::from_be_bytes(bytes))
}

/// A name for the request on its whole way.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The span that a request is sent from, and what other tools say of the trace (W3C Trace Context).
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// What a client says about whom it speaks for.
const FORWARDED: &[&str] = &[
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    // By these, servers of some kinds take another path than that of the request, on which it was decided.
    "x-original-url",
    "x-rewrite-url",
    "x-real-ip",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_under_the_old_host_are_the_platforms() {
        let prefix = Some(("/interaction/mail/", "/mailbox/"));
        for (page, prefix, want) in [
            (
                "http://old.example/a?b=http://old.example/",
                None,
                Some("http://www.new.example/a?b=http://old.example/"),
            ),
            ("https://Old.example", None, Some("https://www.new.example")),
            ("http://old.example/mailbox/1", prefix, Some("http://www.new.example/interaction/mail/1")),
            ("http://old.example/", prefix, Some("http://www.new.example/")),
            ("http://old.example:8080/", None, None),
            ("http://old.example.evil.example/", None, None),
            ("http://old.example@evil.example/", None, None),
            ("http://evil.example/?://old.example/", None, None),
            ("http://evil.example/http://old.example/", None, None),
            ("null", None, None),
            ("", None, None),
        ] {
            let page = HeaderValue::from_static(page);
            let got = from_own_page(&page, &HeaderValue::from_static("old.example"), "www.new.example", prefix);
            assert_eq!(got.as_ref().map(HeaderValue::as_bytes), want.map(str::as_bytes), "{page:?}");
        }
    }
}
