//! What is no answer of ours: the cache, and Pingora's `HttpProxy` for what is not for the cache.
//!
//! Owns: the way through the cache, for every [`Client`]; the phases of Pingora's proxy, which call the same [`Responder`]
//! as every lane; and the way to the platforms. Never does: reading from clients before a request's head is known to be good
//! (`door` has read it), deciding.
//!
//! Invariants: a request that comes here was let through by the door, with its [`Visit`]; it is decided here again on
//! what is live now, and answered here if the answer is ours by now (or if the door does not answer itself); it is
//! counted once. [`platforms`] says which origin it goes to, and whether it goes there again.
//!
//! Called by: `door`.

mod cached;
mod client;
mod date;
mod fault;
mod fetch;
mod forward;
mod inspect;
pub mod numbers;
mod origin;
mod phases;
pub mod platforms;
mod transform;

use std::{net::IpAddr, sync::Arc};

use http::HeaderMap;
use pingora::proxy::{HttpProxy, Session, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::{Error, ErrorSource};

use crate::answer::{Facts, Relayed, Responder, Sent, session::Ready};
use crate::cache::{Asked, Cache, KeyParts, Times};
use crate::guard::waf::Waf;
use crate::model::Method;
use crate::rewrite::Links;
use crate::telemetry::{Journal, Lane, Limit, TraceContext, Tracer};
pub use client::{Client, broke_off};
pub use date::AnswerDate;
use fault::is_taken_too_slowly;
use inspect::Head;
use platforms::{Platform, Platforms};

/// A request as the door hands it over.
#[derive(Clone, Debug)]
pub struct Visit {
    /// What was read of its head.
    pub facts: Facts<'static>,
    /// The way by which it came.
    pub lane: Lane,
    /// Whom the connection comes from.
    pub peer: Option<IpAddr>,
    /// Whether it is a proxy whose word about its own clients counts.
    pub trusted: bool,
    /// Whether the connection ends with it (HTTP/1).
    pub is_last: bool,
    /// Where the date of a platform's answer is left for the door.
    pub date: AnswerDate,
    /// Whether the cache has been asked, and has nothing to do with it.
    pub passed: bool,
    /// The trace that it belongs to, as soon as that is known.
    pub trace: Option<TraceContext>,
}

/// Pingora's proxy with our phases, and the shorter way through the cache alone.
pub struct Proxy {
    relay: Relay,
    http: Arc<HttpProxy<Relay>>,
}

/// The phases. Clones are the same.
#[derive(Clone)]
pub struct Relay {
    responder: Arc<Responder>,
    platforms: Arc<Platforms>,
    cache: Cache,
    waf: Arc<Waf>,
    tracer: Tracer,
    journal: Arc<Journal>,
}

/// The proxy of a gateway.
pub fn proxy(
    conf: &Arc<ServerConf>,
    responder: Arc<Responder>,
    platforms: Arc<Platforms>,
    cache: Cache,
    waf: Arc<Waf>,
    tracer: Tracer,
) -> Arc<Proxy> {
    let relay = Relay { responder, platforms, cache, waf, tracer, journal: Arc::default() };
    Arc::new(Proxy { http: Arc::new(http_proxy(conf, relay.clone())), relay })
}

/// What came of a request that the cache was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is answered.
    Whole,
    /// The client has no answer, or only a part of one, and can see that; or it is gone.
    Cut,
    /// Nothing has been done: it is for the proxy, with [`Visit::passed`].
    Passed,
}

impl Proxy {
    /// Pingora's proxy.
    pub fn http(&self) -> &Arc<HttpProxy<Relay>> {
        &self.http
    }

    /// Answers a GET or HEAD without a body through the cache, and counts it. `fields` are its fields. Its trace is left in
    /// `visit`.
    pub async fn answer_cached(
        &self,
        client: &mut impl Client,
        fields: &HeaderMap,
        visit: &mut Visit,
        relayed: &Relayed,
    ) -> Answered {
        let relay = &self.relay;
        visit.trace = relay.trace(fields, visit);
        let visit = &*visit;
        let occupied = relay.responder.occupy(&visit.facts);
        let head_only = visit.facts.method == Method::Head;
        let refusal = match &occupied {
            Ok(_) => {
                let method = if head_only { "HEAD" } else { "GET" };
                let head = Head { method, version: client.version(), fields };
                inspect::ask(&relay.waf, &relay.responder, visit, relayed, head, None).await
            }
            Err(refusal) => Some(*refusal),
        };
        let mut sent = Sent { trace: visit.trace, ..Sent::default() };
        if let Some(refusal) = refusal {
            let answered = match relay.responder.refuse(&visit.facts, refusal, visit.lane, Ready::new) {
                Ok(page) => cached::send_page(client, page, head_only, &mut sent).await,
                Err(error) => Err(error),
            };
            return if answered.is_ok() { Answered::Whole } else { Answered::Cut };
        }
        let answered = match relay.answer_cached(client, fields, visit, relayed, &mut sent).await {
            Ok(true) => Answered::Whole,
            Ok(false) => return Answered::Passed,
            Err(error) => {
                relay.note(&error, relayed);
                Answered::Cut
            }
        };
        relay.responder.count_relayed(relayed, &visit.facts, visit.lane, sent);
        answered
    }
}

impl Relay {
    /// The trace that a request with these fields belongs to.
    fn trace(&self, fields: &HeaderMap, visit: &Visit) -> Option<TraceContext> {
        let is_believed = visit.trusted || self.tracer.trusts_clients();
        self.tracer.span(if is_believed { forward::trace_parent(fields) } else { None })
    }

    /// Notes why a request had no whole answer.
    fn note(&self, error: &Error, relayed: &Relayed) {
        self.complain(error, Some(relayed));
        self.note_slow(error);
    }

    fn complain(&self, error: &Error, relayed: Option<&Relayed>) {
        if *error.esource() != ErrorSource::Downstream {
            let platform = relayed.map_or("", |relayed| relayed.platform.as_str());
            self.journal.note(|count| {
                log::warn!("platform `{platform}` can't be asked: {error} ({count} such faults since the last line)");
            });
        }
    }

    fn note_slow(&self, error: &Error) {
        if is_taken_too_slowly(error) {
            self.responder.metrics().connections().limit(Limit::SendRate);
        }
    }

    /// Tells the cache of an answer that went past it, in the shape in which it stores answers.
    fn observe(
        &self,
        session: &Session,
        status: u16,
        fields: &HeaderMap,
        visit: &Visit,
        relayed: &Relayed,
        requested: i64,
    ) {
        let Some(host) = visit.facts.host.as_deref() else { return };
        let asked = session.req_header();
        let rules = &relayed.serving().cache;
        let key = KeyParts { secure: visit.facts.secure, host, target: &visit.facts.target };
        let now = fetch::now();
        let head_only = visit.facts.method == Method::Head;
        let times = Times { requested, received: now };
        let asked_of_cache = Asked { key, head_only, fields: &asked.headers, rules, now, down: false };
        self.cache.observe(&asked_of_cache, &asked.method, status, fields, times);
    }
}

/// How links in an answer of a platform must look for a client, if they are rewritten.
fn links(visit: &Visit, relayed: &Relayed, platform: &Platform) -> Option<Links> {
    let rewriting = relayed.rewriting.as_ref()?;
    let map = match &rewriting.prefix {
        None => platform.links().clone(),
        Some((upstream, public)) => Arc::new(platform.links().with_prefix(upstream, public)),
    };
    let scheme = if visit.facts.secure { "https" } else { "http" };
    let host = str::from_utf8(visit.facts.host.as_deref()?).ok()?.to_ascii_lowercase();
    Some(Links::new(map, scheme, host))
}

/// Seconds after which a platform that gave no answer may be worth trying.
const RETRY_AFTER: u64 = 10;
