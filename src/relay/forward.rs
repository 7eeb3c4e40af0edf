//! What a platform is told of a request: for which host and path it is, and for whom (RFC 9110, 7.6; RFC 7239).

use std::{cell::Cell, net::IpAddr};

use http::{HeaderName, HeaderValue, Version, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, OrErr, Result};
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use super::Visit;
use crate::answer::Relayed;

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
    if !visit.trusted {
        FORWARDED.iter().for_each(|name| drop(request.remove_header(*name)));
    }
    let proto = if visit.facts.secure { "https" } else { "http" };
    let mut element = format!("proto={proto}");
    if let Some(client) = visit.client {
        let client = client.to_canonical();
        // A proxy says who came before it.
        request.append_header("x-forwarded-for", client.to_string())?;
        element += &match client {
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
    request.append_header(header::FORWARDED, element)?;
    request.append_header(header::VIA, format!("{} waypost", name(version)))?;
    if !request.headers.contains_key(&REQUEST_ID) {
        request.insert_header(REQUEST_ID, request_id()?)?;
    }
    Ok(())
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

/// What a client says about whom it speaks for.
const FORWARDED: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];
