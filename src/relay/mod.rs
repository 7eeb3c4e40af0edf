//! What is no answer of ours: Pingora's `HttpProxy`, for requests that a platform answers.
//!
//! Owns: the phases of Pingora's proxy, which call the same [`Responder`] as every lane, and the way to the platforms.
//! Never does: reading from clients before a request's head is known to be good (`door` has read it), deciding.
//!
//! Invariants: a request that comes here was let through by the door, with its [`Visit`]; it is decided here again on
//! what is live now, and answered here if the answer is ours by now (or if the door does not answer itself); it is
//! counted once. (Balancing, health checks, rewriting and the cache come with the next issue: origins take turns.)
//!
//! Called by: `door`.

use std::{
    any::Any,
    collections::HashMap,
    io::ErrorKind,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::header;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, Session, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::time::Instant;

use crate::answer::{Facts, Refusal, Relayed, Responder, Step, session::Ready};
use crate::config::{Gateway, Platform};
use crate::model::Method;
use crate::telemetry::{Journal, Lane, Limit};
use crate::url::split_absolute;

/// A request as the door hands it over.
#[derive(Clone, Debug)]
pub struct Visit {
    /// What was read of its head.
    pub facts: Facts<'static>,
    /// The way by which it came.
    pub lane: Lane,
    /// Who the client is.
    pub client: Option<IpAddr>,
    /// Whether it is a proxy whose word about its own clients counts.
    pub trusted: bool,
    /// Whether the connection ends with it (HTTP/1).
    pub is_last: bool,
    /// When it came.
    pub since: Instant,
}

/// Pingora's proxy with our phases.
pub type Proxy = HttpProxy<Relay>;

/// The phases.
pub struct Relay {
    responder: Arc<Responder>,
    platforms: HashMap<String, Upstream>,
    journal: Journal,
}

/// A platform, as a client of it sees it.
struct Upstream {
    origins: Vec<Origin>,
    next: AtomicUsize,
    host: Option<String>,
}

/// An address of a platform.
struct Origin {
    secure: bool,
    /// Name or address, and port.
    address: String,
    /// The name that its certificate must have.
    name: String,
}

/// The proxy of a gateway.
pub fn proxy(gateway: &Gateway, conf: &Arc<ServerConf>, responder: Arc<Responder>) -> Arc<Proxy> {
    let platforms = gateway.platforms.iter().map(|(name, platform)| (name.clone(), Upstream::new(platform)));
    let relay = Relay { responder, platforms: platforms.collect(), journal: Journal::default() };
    Arc::new(http_proxy(conf, relay))
}

impl Upstream {
    fn new(platform: &Platform) -> Self {
        let host = platform.host.as_ref().map(ToString::to_string);
        let origins = platform.origins.iter().filter_map(|origin| Origin::parse(origin, host.as_deref()));
        Upstream { origins: origins.collect(), next: AtomicUsize::new(0), host }
    }

    /// Each origin in turn.
    fn origin(&self) -> Option<&Origin> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.origins.get(turn.checked_rem(self.origins.len())?)
    }
}

impl Origin {
    fn parse(url: &str, host: Option<&str>) -> Option<Self> {
        let absolute = split_absolute(url.as_bytes())?;
        let authority = str::from_utf8(absolute.authority).ok()?;
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let port = if absolute.secure { 443 } else { 80 };
        let address = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
        let name = address.rsplit_once(':').map_or("", |(name, _)| name);
        Some(Origin { secure: absolute.secure, name: host.unwrap_or(name).to_owned(), address })
    }
}

/// What is remembered of a request from phase to phase.
#[derive(Default)]
pub struct Context {
    visit: Option<Visit>,
    relayed: Option<Relayed>,
}

#[async_trait]
impl ProxyHttp for Relay {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    /// HTTP/1: the door hands the visit over as what the connection remembers.
    fn on_connection_reuse(&self, _session: &mut Session, ctx: &mut Context, from_door: Box<dyn Any + Send + Sync>) {
        ctx.visit = from_door.downcast().ok().map(|visit| *visit);
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        // HTTP/2: it comes with the head.
        if let Some(visit) = session.req_header().extensions.get::<Visit>() {
            ctx.visit = Some(visit.clone());
        }
        // The door bounds how slow a client may be. Another protocol has its own idea of how long to be silent.
        let silence = session.is_upgrade_req().then_some(PLATFORM_TIME);
        session.set_read_timeout(silence);
        // The door counts idle time itself; here it matters only whether the connection stays at all.
        let stays = session.get_keepalive().is_some() && ctx.visit.as_ref().is_some_and(|visit| !visit.is_last);
        session.set_keepalive(stays.then_some(PLATFORM_TIME.as_secs()));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let Some(visit) = &ctx.visit else {
            return Error::e_explain(ErrorType::InternalError, "a request came past the door");
        };
        // Until the answer is sent.
        let mut held = None;
        let ready = match self.responder.respond(&visit.facts, visit.lane, Ready::new) {
            Step::Answered(ready) => ready?,
            Step::Large => {
                let ready;
                (ready, held) = self.responder.respond_at_length(visit.facts.clone(), visit.lane, Ready::new).await;
                ready?
            }
            Step::Relay(relayed) => {
                ctx.relayed = Some(relayed);
                return Ok(false);
            }
        };
        write(ready, session, visit).await?;
        drop(held);
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let unreachable = |why: String| Error::explain(ErrorType::ConnectNoRoute, why).into_up();
        let name = ctx.relayed.as_ref().map(|relayed| relayed.platform.as_str()).unwrap_or_default();
        let origin = self
            .platforms
            .get(name)
            .and_then(Upstream::origin)
            .ok_or_else(|| unreachable(format!("platform `{name}` has no origin")))?;
        // Names are looked up each time; addresses, the usual case, cost nothing.
        let mut addresses = tokio::net::lookup_host(&origin.address)
            .await
            .map_err(|error| unreachable(format!("{}: {error}", origin.address)))?;
        let address = addresses.next().ok_or_else(|| unreachable(format!("{} has no address", origin.address)))?;
        let mut peer = HttpPeer::new(address, origin.secure, origin.name.clone());
        let options = &mut peer.options;
        options.connection_timeout = Some(CONNECT_TIME);
        options.total_connection_timeout = Some(2 * CONNECT_TIME);
        options.read_timeout = Some(PLATFORM_TIME);
        options.write_timeout = Some(PLATFORM_TIME);
        options.idle_timeout = Some(PLATFORM_TIME);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let (Some(visit), Some(relayed)) = (&ctx.visit, &ctx.relayed) else { return Ok(()) };
        let path = relayed
            .path
            .parse()
            .map_err(|error| Error::because(ErrorType::InternalError, "the rule's path can't be asked for", error))?;
        request.set_uri(path);
        let asked = session.req_header();
        let host = visit.facts.host.as_deref().map(header::HeaderValue::from_bytes).and_then(std::result::Result::ok);
        let own = self.platforms.get(&relayed.platform).and_then(|upstream| upstream.host.clone());
        match (own, &host) {
            (Some(own), _) => request.insert_header(header::HOST, own)?,
            (None, Some(host)) => request.insert_header(header::HOST, host.clone())?,
            (None, None) => {}
        }
        if !visit.trusted {
            FORWARDED.iter().for_each(|name| drop(request.remove_header(*name)));
        }
        if let Some(client) = visit.client {
            // A proxy says who came before it.
            request.append_header("x-forwarded-for", client.to_canonical().to_string())?;
        }
        request.insert_header("x-forwarded-proto", if visit.facts.secure { "https" } else { "http" })?;
        if let Some(host) = host {
            request.insert_header("x-forwarded-host", host)?;
        }
        request.append_header("via", format!("{} waypost", version(asked.version)))?;
        // The client is told to send its body now that there is somebody to take it, whatever the platform thinks of such
        // expectations (RFC 9110, 10.1.1). An HTTP/1.0 client has none.
        if request.remove_header(&header::EXPECT).is_some() && session.req_header().version == http::Version::HTTP_11 {
            // Pingora thinks that an interim answer before the end of the body ends the connection.
            let stays = session.get_keepalive();
            session.write_continue_response().await?;
            session.set_keepalive(stays);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        response.remove_header(&header::SERVER);
        // Browsers believe it over HTTPS only (RFC 6797, 7.2).
        if let (Some(Visit { facts, .. }), Some(relayed)) = (&ctx.visit, &ctx.relayed)
            && facts.secure
            && let Some(hsts) = relayed.site().and_then(|site| site.hsts.as_deref())
        {
            response.insert_header(header::STRICT_TRANSPORT_SECURITY, hsts)?;
        }
        Ok(())
    }

    /// No client may fill the log: what concerns platforms is told here, once in a while.
    fn suppress_error_log(&self, _session: &Session, ctx: &Context, error: &Error) -> bool {
        if *error.esource() != ErrorSource::Downstream {
            let platform = ctx.relayed.as_ref().map_or("", |relayed| relayed.platform.as_str());
            self.journal.note(|count| {
                log::warn!("platform `{platform}` can't be asked: {error} ({count} such faults since the last line)");
            });
        }
        true
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let fault = Fault::of(error);
        let status = fault.status();
        if status > 0 && session.response_written().is_none_or(|written| written.status.is_informational()) {
            session.set_keepalive(None);
            if let Some(visit) = &ctx.visit {
                let ready = match fault {
                    Fault::Client(refusal) => {
                        // It is counted as what it is, and not as relayed.
                        ctx.relayed = None;
                        self.responder.refuse(&visit.facts, refusal, visit.lane, Ready::new).ok()
                    }
                    _ => self.responder.fail(&visit.facts, status, Ready::new).ok(),
                };
                if let Some(ready) = ready {
                    // An error means that the client is gone.
                    let _ = write(ready, session, visit).await;
                }
            }
            if session.as_http1().is_some() {
                // Pingora would drop the connection, and the answer with it if the client is still sending.
                session.downstream_session.shutdown().await;
            }
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, _session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        if error.is_some_and(is_taken_too_slowly) {
            self.responder.metrics().connections().limit(Limit::SendRate);
        }
        let Some(visit) = &ctx.visit else { return };
        if let Some(relayed) = &ctx.relayed {
            self.responder.count_relayed(relayed, visit.lane);
        }
        self.responder.metrics().observe(visit.since.elapsed());
    }
}

/// Whose fault it is that a request came to nothing.
enum Fault {
    /// The client's, which is told so.
    Client(Refusal),
    /// The client is gone.
    Gone,
    /// The platform's, or ours: the status says more.
    Other(u16),
}

impl Fault {
    fn of(error: &Error) -> Self {
        match (error.etype(), error.esource()) {
            (ErrorType::HTTPStatus(status), _) => Fault::Other(*status),
            (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream) => {
                Fault::Client(Refusal::bad("the head of the request is malformed"))
            }
            // What the door says of the body.
            (ErrorType::ReadError, ErrorSource::Downstream) if has_kind(error, ErrorKind::InvalidData) => {
                Fault::Client(Refusal::BODY_MALFORMED)
            }
            (ErrorType::ReadError, ErrorSource::Downstream) if has_kind(error, ErrorKind::TimedOut) => {
                Fault::Client(Refusal::BODY_TOO_SLOW)
            }
            (_, ErrorSource::Downstream) => Fault::Gone,
            (ErrorType::ReadTimedout | ErrorType::ConnectTimedout, ErrorSource::Upstream) => Fault::Other(504),
            (_, ErrorSource::Upstream) => Fault::Other(502),
            _ => Fault::Other(500),
        }
    }

    /// 0 if there is nobody to be told.
    fn status(&self) -> u16 {
        match self {
            Fault::Client(refusal) => refusal.status,
            Fault::Gone => 0,
            Fault::Other(status) => *status,
        }
    }
}

/// Whether an error says that the client took nothing for too long: the door's word, or the system's.
fn is_taken_too_slowly(error: &Error) -> bool {
    *error.esource() != ErrorSource::Upstream
        && match error.etype() {
            ErrorType::WriteTimedout => true,
            ErrorType::WriteError => has_kind(error, ErrorKind::TimedOut),
            _ => false,
        }
}

/// Whether an error comes from one of the connection, of this kind.
fn has_kind(error: &Error, kind: ErrorKind) -> bool {
    error.root_cause().downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == kind)
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

async fn write(ready: Ready, session: &mut Session, visit: &Visit) -> Result<()> {
    let is_empty = ready.body.is_empty() || visit.facts.method == Method::Head;
    session.write_response_header(ready.header, is_empty).await?;
    if is_empty { Ok(()) } else { session.write_response_body(Some(ready.body), true).await }
}

/// What a client says about whom it speaks for.
const FORWARDED: &[&str] =
    &["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip"];

/// How long a connection to a platform may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long a platform may be silent, and how long a connection to it is kept.
const PLATFORM_TIME: Duration = Duration::from_secs(60);
