//! The phases of Pingora's proxy: what goes past the cache, and what the door does not answer by itself.

use std::{
    any::Any,
    os::fd::RawFd,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::client::SessionClient;
use super::fault::Fault;
use super::inspect::{self, Head, Pending};
use super::platforms::{self, Busy, Connection, Stage, Turn};
use super::transform::{Transform, Wanted};
use super::{RETRY_AFTER, Relay, Visit, fetch, forward, links};
use crate::answer::{Refusal, Relayed, Sent, Step, session::Ready};
use crate::cache::Encodings;
use crate::guard::{Occupied, waf::Mode};
use crate::model::Method;

/// What is remembered of a request from phase to phase.
#[derive(Default)]
pub struct Context {
    visit: Option<Visit>,
    relayed: Option<Relayed>,
    /// It is one of its client's, to its end.
    occupied: Option<Occupied>,
    turn: Option<Turn>,
    busy: Option<Busy>,
    /// Whether it may be sent twice.
    repeatable: bool,
    /// What happens to the answer's body. (Only the mutex lets it be shared, which Pingora asks for; it is never locked.)
    transform: Mutex<Transform>,
    /// When it was sent, in Unix seconds.
    requested: i64,
    /// What the firewall has still to see.
    pending: Pending,
    /// Why the request is refused on its way.
    refused: Option<Refusal>,
    /// What the cache has to do with the answer.
    cache: &'static str,
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
        let Some(visit) = &mut ctx.visit else {
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
            Step::Relay(relayed) => match self.responder.occupy(&visit.facts) {
                Ok(occupied) => {
                    ctx.occupied = occupied;
                    let relayed = ctx.relayed.insert(relayed);
                    if !visit.passed {
                        visit.trace = self.trace(&session.req_header().headers, visit);
                        let head = Head::of(session.req_header());
                        ctx.refused = inspect::ask(&self.waf, &self.responder, visit, relayed, head, None).await;
                        if ctx.refused.is_some() {
                            return Err(inspect::failure());
                        }
                    }
                    if relayed.policy().waf.mode != Mode::Off
                        && !session.is_upgrade_req()
                        && !session.as_mut().is_body_empty()
                    {
                        ctx.pending = Pending::Body(BytesMut::new());
                    }
                    ctx.cache = PASS;
                    if visit.passed || session.is_upgrade_req() {
                        return Ok(false);
                    }
                    let fields = session.req_header().headers.clone();
                    let mut client = SessionClient { session, date: &visit.date };
                    let mut sent = Sent { cache: PASS, ..Sent::default() };
                    let answered = self.answer_cached(&mut client, &fields, visit, relayed, &mut sent).await;
                    ctx.cache = sent.cache;
                    return answered;
                }
                Err(refusal) => self.responder.refuse(&visit.facts, refusal, visit.lane, Ready::new)?,
            },
        };
        write(ready, session, visit).await?;
        drop(held);
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let turn = match &mut ctx.turn {
            Some(turn) => turn,
            none => {
                let name = ctx.relayed.as_ref().map(|relayed| relayed.platform.as_str()).unwrap_or_default();
                let platform = self.platforms.get(name).ok_or_else(|| {
                    Error::explain(ErrorType::ConnectNoRoute, format!("platform `{name}` has no origin")).into_up()
                })?;
                let path = ctx.relayed.as_ref().map(|relayed| relayed.path.as_bytes()).unwrap_or_default();
                let visit = ctx.visit.as_ref();
                let host = visit.and_then(|visit| visit.facts.host.as_deref()).unwrap_or_default();
                let url = platforms::hash(path, platforms::hash(host, 0));
                match platform.enter(visit.and_then(|visit| visit.facts.client), url).await {
                    Ok(turn) => none.insert(turn),
                    Err(busy) => {
                        ctx.busy = Some(busy);
                        return Err(Error::explain(ErrorType::HTTPStatus(503), busy.to_string()).into_up());
                    }
                }
            }
        };
        ctx.repeatable = may_repeat(session);
        turn.peer(if ctx.repeatable { Connection::Pooled } else { Connection::New }).await
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.turn.as_ref().map_or(Ok(()), |turn| turn.connected(digest))
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(ctx.turn.as_mut().is_some_and(|turn| turn.failed(&error, Stage::Connecting)));
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        // What else fails is the client's doing, or ours.
        let turn = ctx.turn.as_mut().filter(|_| *error.esource() == ErrorSource::Upstream);
        let begun = session.response_written().is_some_and(|written| !written.status.is_informational());
        let stage = match begun {
            true => Stage::Answering,
            // Of a body that is longer than it seemed, Pingora may not have all any more.
            false => Stage::Sent { reused, repeatable: ctx.repeatable && !session.as_ref().retry_buffer_truncated() },
        };
        error.set_retry(turn.is_some_and(|turn| turn.failed(&error, stage)));
        error
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let status = response.status.as_u16();
        if let Some(turn) = &mut ctx.turn
            && (status == 101 || !response.status.is_informational())
        {
            turn.answered(status);
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        piece: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        let (Some(visit), Some(relayed)) = (&ctx.visit, &ctx.relayed) else { return Ok(()) };
        let limit = self.waf.bounds().body;
        let ask = async |body, whole| {
            inspect::ask(
                &self.waf,
                &self.responder,
                visit,
                relayed,
                Head::of(session.req_header()),
                Some((body, whole)),
            )
            .await
        };
        ctx.refused = inspect::body(&mut ctx.pending, piece, end_of_stream, limit, ask).await;
        match ctx.refused {
            Some(_) => Err(inspect::failure()),
            None => Ok(()),
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let (Some(visit), Some(relayed)) = (&ctx.visit, &ctx.relayed) else { return Ok(()) };
        ctx.requested = fetch::now();
        ctx.pending.restart();
        let version = session.req_header().version;
        let own = ctx.turn.as_ref().and_then(|turn| turn.platform().config().host.as_ref()).map(|host| host.as_str());
        forward::address(request, visit, relayed, own, version)?;
        if relayed.rewriting.is_some() {
            // Of a page whose links change, parts are not the same parts; what comes has to be readable.
            request.remove_header(&header::RANGE);
            request.remove_header(&header::IF_RANGE);
            let codings = Encodings::of(&request.headers).as_str();
            if codings.is_empty() {
                request.remove_header(&header::ACCEPT_ENCODING);
            } else {
                request.insert_header(header::ACCEPT_ENCODING, codings)?;
            }
        }
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
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let (Some(visit), Some(relayed)) = (&ctx.visit, &ctx.relayed) else { return Ok(()) };
        if response.status.is_informational() && response.status != 101 {
            return Ok(());
        }
        let platform = ctx.turn.as_ref().map(Turn::platform);
        let links = platform.and_then(|platform| links(visit, relayed, platform));
        let accept_encoding = session.req_header().headers.get(header::ACCEPT_ENCODING);
        let wanted = Wanted {
            links: links.as_ref(),
            relayed,
            asked: visit.facts.host.as_deref().unwrap_or_default(),
            own: platform.and_then(|platform| platform.config().host.as_ref()).map(|host| host.as_str()),
            // Browsers believe it over HTTPS only (RFC 6797, 7.2).
            hsts: relayed.site().and_then(|site| site.hsts.as_deref()).filter(|_| visit.facts.secure),
            accept_encoding: accept_encoding.and_then(|value| value.to_str().ok()),
            has_body: session.req_header().method != http::Method::HEAD,
        };
        let status = response.status.as_u16();
        if status != 101 {
            // After that comes no other answer, but another protocol.
            visit.date.leave(&response.headers);
        }
        let mut fields = response.headers.clone();
        let transform = Transform::new(status, &mut fields, &wanted);
        self.observe(session, status, &fields, visit, relayed, ctx.requested);
        let names: Vec<_> = response.headers.keys().cloned().collect();
        for name in &names {
            response.remove_header(name);
        }
        for (name, value) in &fields {
            response.append_header(name, value)?;
        }
        if transform.is_some() {
            match session.req_header().version {
                http::Version::HTTP_11 => response.insert_header(header::TRANSFER_ENCODING, "chunked")?,
                http::Version::HTTP_10 => session.set_keepalive(None),
                _ => {}
            }
        }
        *ctx.transform.get_mut().unwrap_or_else(PoisonError::into_inner) = transform;
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        let transform = ctx.transform.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !transform.is_some() {
            return Ok(None);
        }
        let turn = ctx.turn.as_ref();
        let broken = |failure| {
            turn.into_iter().for_each(Turn::broke);
            Error::because(ErrorType::InvalidHTTPHeader, "changing an answer", failure).into_up()
        };
        let mut out = transform.write(body.take().unwrap_or_default()).map_err(broken)?;
        if end_of_stream {
            let rest = transform.end().map_err(broken)?;
            out = if out.is_empty() { rest } else { [out, rest].concat().into() };
        }
        *body = Some(out);
        Ok(None)
    }

    /// No client may fill the log: what concerns platforms is told here, once in a while.
    fn suppress_error_log(&self, _session: &Session, ctx: &Context, error: &Error) -> bool {
        self.complain(error, ctx.relayed.as_ref());
        true
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let fault = Fault::of(error);
        let status = fault.status();
        if status > 0 && session.response_written().is_none_or(|written| written.status.is_informational()) {
            session.set_keepalive(None);
            if let Some(visit) = &ctx.visit {
                let fault = ctx.refused.map_or(fault, Fault::Client);
                let ready = match fault {
                    Fault::Client(refusal) => {
                        // It is counted as what it is, and not as relayed.
                        ctx.relayed = None;
                        self.responder.refuse(&visit.facts, refusal, visit.lane, Ready::new).ok()
                    }
                    _ => ctx.relayed.as_ref().and_then(|relayed| {
                        let retry_after = ctx.busy.as_ref().map_or(RETRY_AFTER, Busy::seconds);
                        self.responder.stand_in(&visit.facts, relayed, status, Some(retry_after), Ready::new).ok()
                    }),
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

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        if let Some(error) = error {
            self.note_slow(error);
        }
        let Some(visit) = &ctx.visit else { return };
        if let Some(relayed) = &ctx.relayed {
            let sent = Sent {
                status: session.response_written().map_or(0, |written| written.status.as_u16()),
                bytes: session.body_bytes_sent() as u64,
                received: session.body_bytes_read() as u64,
                cache: ctx.cache,
                trace: visit.trace,
                ..Sent::default()
            };
            self.responder.count_relayed(relayed, &visit.facts, visit.lane, sent);
        }
    }
}

/// Whether a request may be sent twice, should the first time come to nothing: its method is idempotent (RFC 9110,
/// 9.2.2), and its body, if any, is so short that Pingora keeps it until an answer begins.
fn may_repeat(session: &mut Session) -> bool {
    let is_empty = session.as_mut().is_body_empty();
    let head = session.req_header();
    let length =
        head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let is_short = match length {
        Some(length) => length <= KEPT_BODY,
        None => is_empty,
    };
    head.method.is_idempotent() && is_short
}

async fn write(ready: Ready, session: &mut Session, visit: &Visit) -> Result<()> {
    let is_empty = ready.body.is_empty() || visit.facts.method == Method::Head;
    session.write_response_header(ready.header, is_empty).await?;
    if is_empty { Ok(()) } else { session.write_response_body(Some(ready.body), true).await }
}

/// What is said in logs of answers that the cache has nothing to do with.
const PASS: &str = "pass";

/// How long a client may be silent that speaks another protocol by now, and how long Pingora keeps a connection of which
/// the door says that it stays.
const PLATFORM_TIME: Duration = Duration::from_secs(60);

/// What Pingora keeps of a request's body, in bytes (its `BODY_BUF_LIMIT`).
const KEPT_BODY: usize = 64 * 1024;
