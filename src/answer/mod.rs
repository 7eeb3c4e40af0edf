//! Verdict → answer: status, headers and body, the same for every lane.
//!
//! [`Responder`] is the one way of every lane: [`Facts`] of a request → decision on what is [`Live`] → count → [`answer`],
//! which makes an [`Answer`] without any type of Pingora. [`wire`] writes it straight into a connection's buffer,
//! [`session`] as the header of a Pingora session.
//!
//! Owns: what is believed of a request's head, which headers an answer has and which page it shows. Never does: the
//! decision itself, network.
//!
//! Invariants: a request is decided on one [`Live`], whatever is reloaded meanwhile, and counted once; every answer has a
//! `Content-Length`, also an empty one, or it would be delimited by the close of the connection; what a client sent comes
//! back only escaped; a refused target is never sent.
//!
//! Called by: `door` and `relay`.

mod clock;
mod facts;
mod live;
mod responder;
pub mod session;
pub mod sitemap;
mod told;
pub mod wire;

use std::{fmt::Write, sync::LazyLock};

use bytes::Bytes;
use http::header::{self, HeaderName};

use crate::config::{Frames, Protection};
use crate::model::{Denial, Gone, Methods, Reason, Verdict};
use crate::pages::{self, Lang, Page};
use crate::routing::{Decision, HostSet, Request, SiteTable};
use crate::telemetry::Limit;

pub use clock::Clock;
pub use facts::{Facts, Parts};
pub use live::{Live, LiveCell, Serving};
pub use responder::{Held, Relayed, Reply, Responder, Step};
pub use told::{Sent, Stored};

/// Why a request is refused before the routes are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// What is wrong, in English, for whoever repairs the client.
    pub reason: &'static str,
    /// The limit that the client met, which is counted.
    pub limit: Option<Limit>,
    /// What the guard has against it, if it is the guard who refuses it.
    pub denial: Option<Denial>,
}

impl Refusal {
    /// The connection was opened for another host (RFC 9110, 15.5.20).
    pub const MISDIRECTED: Refusal =
        Refusal::new(421, "this connection was opened for another host: open one for this host");

    /// A body that does not come.
    pub const BODY_TOO_SLOW: Refusal = Refusal::limited(408, "the body of the request took too long", Limit::BodyRate);

    /// A body that is malformed.
    pub const BODY_MALFORMED: Refusal =
        Refusal::limited(400, "the body is not framed as chunks should be", Limit::Malformed);

    /// Too many large answers are being sent.
    pub const BUSY: Refusal = Refusal::new(503, "too many large files are being sent: try again later");

    /// A request that came before a change and was to be answered after it, in a way that it can't be any more.
    pub const CHANGED: Refusal = Refusal::new(503, "the routes have changed meanwhile: try again");

    /// With this status.
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Refusal { status, reason, limit: None, denial: None }
    }

    /// With this status, since the client met a limit.
    pub const fn limited(status: u16, reason: &'static str, limit: Limit) -> Self {
        Refusal { status, reason, limit: Some(limit), denial: None }
    }

    /// By the guard.
    pub fn denied(denial: Denial) -> Self {
        Refusal { status: denial.status, reason: denial.reason.text(), limit: None, denial: Some(denial) }
    }

    /// 400.
    pub const fn bad(reason: &'static str) -> Self {
        Refusal::new(400, reason)
    }
}

/// An answer, ready to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// Where the client is sent.
    pub location: Option<&'a str>,
    /// `Cache-Control`.
    pub cache_control: &'a str,
    /// `Strict-Transport-Security`: only over HTTPS, where browsers believe it (RFC 6797, 7.2).
    pub hsts: Option<&'a str>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// Whether `Vary` names `User-Agent`, so that no cache gives a crawler's redirect to a person.
    pub by_agent: bool,
    /// `Allow`: the methods that are taken.
    pub allow: Option<Methods>,
    /// What browsers are told of a page, where the site has an opinion.
    pub protection: Option<&'a Protection>,
    /// What the body is; none without a body.
    pub content: Option<Content<'a>>,
    /// The body, also for HEAD, where it is measured and not sent.
    pub body: Bytes,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// One of our pages, in this language.
    Page(Lang),
    /// Anything else, by its `Content-Type`.
    Type(&'a str),
}

impl Answer<'_> {
    /// Tells each header of the answer but `Content-Length`, `Date` and `Connection`, which belong to the lane.
    pub fn headers(&self, mut tell: impl FnMut(HeaderName, &str)) {
        if let Some(location) = self.location {
            tell(header::LOCATION, location);
        }
        if !self.cache_control.is_empty() {
            tell(header::CACHE_CONTROL, self.cache_control);
        }
        if let Some(hsts) = self.hsts {
            tell(header::STRICT_TRANSPORT_SECURITY, hsts);
        }
        if let Some(seconds) = self.retry_after {
            tell(header::RETRY_AFTER, &seconds.to_string());
        }
        let vary = match (self.content, self.by_agent) {
            (Some(Content::Page(_)), false) => Some("Accept-Language"),
            (Some(Content::Page(_)), true) => Some("Accept-Language, User-Agent"),
            (_, true) => Some("User-Agent"),
            (_, false) => None,
        };
        if let Some(vary) = vary {
            tell(header::VARY, vary);
        }
        if let Some(methods) = self.allow {
            tell(header::ALLOW, &methods.to_string());
        }
        match self.content {
            None => {}
            Some(Content::Type(content_type)) => {
                tell(header::CONTENT_TYPE, content_type);
                tell(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
            }
            Some(Content::Page(lang)) => {
                tell(header::CONTENT_TYPE, "text/html; charset=utf-8");
                tell(header::CONTENT_LANGUAGE, lang.tag());
                tell(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
                let protection = self.protection.unwrap_or(&USUAL);
                tell(header::CONTENT_SECURITY_POLICY, page_policy(protection.frames));
                tell(header::REFERRER_POLICY, &protection.referrer);
                if !protection.permissions.is_empty() {
                    tell(PERMISSIONS_POLICY, &protection.permissions);
                }
                if let Some(option) = protection.frames.option() {
                    tell(header::X_FRAME_OPTIONS, option);
                }
            }
        }
    }
}

/// A page has one inline style and an empty `data:` icon, and nothing else that could be loaded or sent.
fn page_policy(frames: Frames) -> &'static str {
    macro_rules! policy {
        ($more:literal) => {
            concat!(
                "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'",
                $more
            )
        };
    }
    match frames {
        Frames::Deny => policy!("; frame-ancestors 'none'"),
        Frames::SameOrigin => policy!("; frame-ancestors 'self'"),
        Frames::Allow => policy!(""),
    }
}

/// What the pages are told that belong to no site.
static USUAL: LazyLock<Protection> = LazyLock::new(Protection::default);

/// Not in the registry of the crate.
pub(crate) const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// Answers that tell nothing about a page: the next request may find a site that knows better.
const NO_STORE: &str = "no-store";

/// Seconds after which a target that is frozen may be worth trying.
const THAW: u64 = 3_600;

/// Longest URL, in bytes, that is shown on a page or handed to the report-an-error page. Browsers and servers on the
/// way take about 2,000; a longer one helps nobody to find a page.
const MAX_URL: usize = 2_000;

/// Makes the answer to a request. `cache_control` is the gateway's, for sites that have none of their own.
///
/// A sitemap is built here and now, which takes milliseconds for large tables: see [`sitemap::is_large`].
pub fn answer<'a>(
    decision: &Decision<'a>,
    request: &Request<'_>,
    accept_language: Option<&str>,
    cache_control: &'a str,
) -> Answer<'a> {
    let site = decision.site.map(|(_, site)| &**site);
    let cache_control = site.and_then(|site| site.cache_control.as_deref()).unwrap_or(cache_control);
    let hsts = site.filter(|_| request.secure).and_then(|site| site.hsts.as_deref());
    let status = decision.verdict.status();
    let other = |content_type, body: Bytes| Answer {
        status,
        location: None,
        cache_control,
        hsts,
        retry_after: None,
        by_agent: false,
        allow: None,
        protection: None,
        content: Some(Content::Type(content_type)),
        body,
    };
    let page = |page, cache_control, links| {
        let lang = Lang::negotiate(accept_language);
        let place = Place { site, request, frozen: decision.frozen };
        Answer { hsts, ..page_answer(status, page, lang, cache_control, &place, links) }
    };
    let none = Gone::default();
    let by_agent = decision.is_by_agent();
    match decision.verdict {
        Verdict::Redirect { location, .. } => {
            Answer { status, location: Some(location), cache_control, hsts, by_agent, ..Answer::default() }
        }
        Verdict::Notice { location } => Answer { by_agent, ..page(Page::Notice { location }, cache_control, none) },
        Verdict::Leaving { location } => page(Page::Leaving { location }, cache_control, none),
        Verdict::Frozen { .. } => Answer { retry_after: Some(THAW), ..page(Page::Frozen, NO_STORE, none) },
        Verdict::Gone(links) => page(Page::Gone, cache_control, links),
        Verdict::NotFound(links) => page(Page::NotFound, cache_control, links),
        Verdict::Text { body, content_type } => other(content_type, Bytes::copy_from_slice(body.as_bytes())),
        Verdict::Robots => other("text/plain; charset=utf-8", pages::robots(decision.host, request.secure).into()),
        Verdict::Sitemap(part) => {
            let file = site.and_then(|site| sitemap::render(site, decision.host, request.secure, part));
            match file {
                Some(file) => other("application/xml; charset=utf-8", file.into()),
                None => Answer { status: 404, ..page(Page::NotFound, cache_control, none) },
            }
        }
        Verdict::Serve { .. } => page(Page::NotServed, NO_STORE, none),
        Verdict::Refused { .. } => page(Page::Refused, NO_STORE, none),
        Verdict::HttpsRequired { location } => page(Page::HttpsRequired { location }, NO_STORE, none),
        Verdict::Health => {
            Answer { cache_control: NO_STORE, ..other("text/plain; charset=utf-8", Bytes::from_static(b"ok\n")) }
        }
        // Whoever has the account's key says what is to be answered.
        Verdict::Challenge { .. } => challenge(None),
        Verdict::UnknownHost => page(Page::UnknownHost, NO_STORE, none),
        Verdict::BadRequest(reason) => page(Page::BadRequest { reason }, NO_STORE, none),
        // Scanners read no pages.
        Verdict::Denied(Denial { reason: Reason::Probe, .. }) => {
            Answer { cache_control: NO_STORE, ..other("text/plain; charset=utf-8", Bytes::from_static(b"not found\n")) }
        }
        Verdict::Denied(denial) => Answer {
            retry_after: denial.retry_after.map(u64::from),
            allow: denial.allow,
            ..page(Page::Denied { reason: denial.reason.text() }, NO_STORE, none)
        },
    }
}

/// The answer to an authority that asks whether a host leads here: its key authorization (RFC 8555, 8.3), or that there
/// is none.
fn challenge<'a>(key_authorization: Option<String>) -> Answer<'a> {
    let (status, body) = match key_authorization {
        Some(text) => (200, text.into()),
        None => (404, Bytes::from_static(b"there is no account at an authority yet\n")),
    };
    Answer { status, cache_control: NO_STORE, content: Some(Content::Type("text/plain")), body, ..Answer::default() }
}

/// The answer to a request that is refused.
fn refused<'a>(
    refusal: Refusal,
    decision: &Decision<'a>,
    request: &Request<'_>,
    accept_language: Option<&str>,
) -> Answer<'a> {
    Answer { status: refusal.status, ..answer(decision, request, accept_language, NO_STORE) }
}

/// The answer for a platform that gives none. `stand_by` is the site's own page.
fn unavailable<'a>(
    status: u16,
    place: &Place<'a, '_>,
    stand_by: Option<Bytes>,
    accept_language: Option<&str>,
) -> Answer<'a> {
    let hsts = place.site.filter(|_| place.request.secure).and_then(|site| site.hsts.as_deref());
    let lang = Lang::negotiate(accept_language);
    let page = match stand_by {
        Some(body) => {
            let content = Some(Content::Type("text/html; charset=utf-8"));
            Answer { status, cache_control: NO_STORE, content, body, ..Answer::default() }
        }
        None => page_answer(status, Page::Unavailable, lang, NO_STORE, place, Gone::default()),
    };
    Answer { hsts, ..page }
}

/// What a page is about, and what it may not link to.
struct Place<'a, 'r> {
    site: Option<&'a SiteTable>,
    request: &'r Request<'r>,
    frozen: &'a HostSet,
}

fn page_answer<'a>(
    status: u16,
    page: Page<'_>,
    lang: Lang,
    cache_control: &'a str,
    place: &Place<'a, '_>,
    links: Gone<'_>,
) -> Answer<'a> {
    let Place { site, request, frozen } = *place;
    let url = asked_url(request);
    let code = site.and_then(|site| site.code.as_deref());
    let report = site.zip(code).map(|(site, code)| pages::report_link(&site.report, code, &url));
    let facts = pages::Facts {
        site_name: site.map(|site| site.name.as_str()),
        home: site
            .and_then(|site| site.home.as_ref())
            .map(|home| home.as_str())
            .filter(|home| !frozen.contains_url(home)),
        url: &url,
        suggest: links.suggest,
        archive: links.archive,
        report: report.as_deref(),
        code,
    };
    let body = pages::render(page, &facts, lang).into();
    let protection = site.map(|site| &site.protection);
    Answer { status, cache_control, protection, content: Some(Content::Page(lang)), body, ..Answer::default() }
}

/// The URL that was asked for, in printable ASCII whatever was sent; empty without a host.
fn asked_url(request: &Request<'_>) -> String {
    let Some(host) = request.host.filter(|host| !host.is_empty()) else { return String::new() };
    let scheme = if request.secure { "https://" } else { "http://" };
    let mut url = String::with_capacity(scheme.len() + host.len() + request.target.len());
    url.push_str(scheme);
    for &byte in host.iter().chain(request.target) {
        if url.len() >= MAX_URL {
            break;
        }
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'\'' => push_escape(&mut url, byte),
            0x21..=0x7E => url.push(char::from(byte)),
            _ => push_escape(&mut url, byte),
        }
    }
    url
}

fn push_escape(url: &mut String, byte: u8) {
    // Writing to a String can't fail.
    let _ = write!(url, "%{byte:02X}");
}

#[cfg(test)]
mod tests;
