//! GET and HEAD through the cache: answered from the store, or with what one fetch brings for all who wait for it.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use tokio::time::sleep;

use super::{
    Context, RETRY_AFTER, Relay, Visit,
    fetch::{Fetch, now},
    forward, links,
    platforms::{self, Platform},
    write,
};
use crate::answer::{Relayed, session::Ready};
use crate::cache::{
    Asked, Body, CACHE_STATUS, Flight, Followed, Follower, Interim, KeyParts, Lookup, ONLY_IF_CACHED, Reply, usual_name,
};
use crate::model::Method;

impl Relay {
    /// Answers a request that the cache may answer. False if it is for the proxy.
    pub(super) async fn answer_cached(&self, session: &mut Session, ctx: &Context) -> Result<bool> {
        let (Some(visit), Some(relayed)) = (&ctx.visit, &ctx.relayed) else { return Ok(false) };
        let rules = relayed.serving().cache.clone();
        if visit.facts.method == Method::Other || session.is_upgrade_req() || !rules.enabled {
            return Ok(false);
        }
        let (Some(host), Some(platform)) = (visit.facts.host.as_deref(), self.platforms.get(&relayed.platform)) else {
            return Ok(false);
        };
        let fields = session.req_header().headers.clone();
        let asked = Asked {
            key: KeyParts { secure: visit.facts.secure, host, target: &visit.facts.target },
            head_only: visit.facts.method == Method::Head,
            fields: &fields,
            rules: &rules,
            now: now(),
            down: platform.is_down(),
        };
        loop {
            let mut follower: Follower = match self.cache.lookup(&asked) {
                Lookup::Hit(hit) => return send(session, visit, hit.respond(&asked)).await,
                Lookup::Stale(hit, flight) => {
                    if let Some(flight) = flight {
                        self.fetch(session, visit, relayed, &platform, flight)?;
                    }
                    return send(session, visit, hit.respond(&asked)).await;
                }
                Lookup::Fetch(flight, follower) => {
                    self.fetch(session, visit, relayed, &platform, flight)?;
                    follower
                }
                Lookup::Join(follower) => follower,
                Lookup::Pass(_) => return Ok(false),
                Lookup::GatewayTimeout => {
                    let mut ready = self.responder.stand_in(&visit.facts, relayed, 504, None, Ready::new)?;
                    ready.header.insert_header(CACHE_STATUS, ONLY_IF_CACHED)?;
                    return write(ready, session, visit).await.map(|()| true);
                }
            };
            loop {
                match self.follow(session, follower, &asked, relayed.serving().patience).await? {
                    Followed::Interim(interim, again) => {
                        send_interim(session, &interim).await?;
                        follower = again;
                    }
                    Followed::Reply(reply) => return send(session, visit, reply).await,
                    Followed::Again => break,
                    Followed::Failed(failure) => {
                        let (status, time) = (failure.status(), Some(RETRY_AFTER));
                        let ready = self.responder.stand_in(&visit.facts, relayed, status, time, Ready::new)?;
                        return write(ready, session, visit).await.map(|()| true);
                    }
                }
            }
        }
    }

    /// Waits for what is being fetched, as long as the client does; not for long if something stale may be had instead.
    async fn follow(
        &self,
        session: &mut Session,
        follower: Follower,
        asked: &Asked<'_>,
        patience: Duration,
    ) -> Result<Followed> {
        let mut followed = pin!(follower.reply(asked));
        // The fetch goes on without the client: others may want it.
        let mut gone = pin!(session.downstream_session.read_body_or_idle(true));
        tokio::select! {
            followed = &mut followed => return Ok(followed),
            gone = &mut gone => return Err(gave_up(gone)),
            () = sleep(patience) => {
                if let Some(stale) = self.cache.stand_in(asked) {
                    return Ok(Followed::Reply(stale.respond(asked)));
                }
            }
        }
        tokio::select! {
            followed = followed => Ok(followed),
            gone = gone => Err(gave_up(gone)),
        }
    }

    /// Begins a fetch, which goes on without the client.
    fn fetch(
        &self,
        session: &Session,
        visit: &Visit,
        relayed: &Relayed,
        platform: &Arc<Platform>,
        flight: Flight,
    ) -> Result<()> {
        let asked = session.req_header();
        let mut request = RequestHeader::build_no_case("GET", b"/", Some(asked.headers.len() + 8))?;
        // What the client said of its own connection is not for the platform (RFC 9110, 7.6.1).
        let nominated: Vec<_> = asked.headers.get_all(header::CONNECTION).iter().cloned().collect();
        let is_nominated = |name: &str| {
            let mut options = nominated.iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        };
        for (name, value) in &asked.headers {
            if !(HOP_BY_HOP.contains(&name.as_str()) || Flight::NOT_SENT.contains(name) || is_nominated(name.as_str()))
            {
                request.append_header(name, value)?;
            }
        }
        forward::address(
            &mut request,
            visit,
            relayed,
            platform.config().host.as_ref().map(|host| host.as_str()),
            asked.version,
        )?;
        let host = visit.facts.host.as_deref().unwrap_or_default();
        let fetch = Fetch {
            platforms: self.platforms.clone(),
            platform: platform.clone(),
            request: Box::new(request),
            relayed: relayed.clone(),
            links: links(visit, relayed, platform),
            secure: visit.facts.secure,
            client: visit.facts.client,
            asked: host.to_vec(),
            url: platforms::hash(relayed.path.as_bytes(), platforms::hash(host, 0)),
        };
        // It is large, and tokio moves what it is given.
        tokio::spawn(Box::pin(fetch.run(flight)));
        Ok(())
    }
}

/// What it is that the client has closed the connection.
fn gave_up(gone: Result<Option<Bytes>>) -> Box<Error> {
    gone.err().unwrap_or_else(|| Error::new(ErrorType::ConnectionClosed)).into_down()
}

/// Sends the head of an interim answer, which a client of HTTP/1.0 can't take (RFC 9110, 15.2). (Pingora doesn't send it
/// over HTTP/2.)
async fn send_interim(session: &mut Session, interim: &Interim) -> Result<()> {
    if session.req_header().version == Version::HTTP_10 {
        return Ok(());
    }
    session.write_response_header(Box::new(head(interim.status, &interim.fields)?), false).await
}

/// Sends an answer of the cache.
async fn send(session: &mut Session, visit: &Visit, reply: Reply) -> Result<bool> {
    visit.date.leave(&reply.fields);
    let mut head = head(reply.status, &reply.fields)?;
    let is_stream = matches!(reply.body, Body::Stream(_));
    if is_stream && !reply.fields.contains_key(header::CONTENT_LENGTH) {
        match session.req_header().version {
            Version::HTTP_11 => head.insert_header(header::TRANSFER_ENCODING, "chunked")?,
            // The end of the connection is the end of the body.
            Version::HTTP_10 => session.set_keepalive(None),
            _ => {}
        }
    }
    session.write_response_header(Box::new(head), matches!(reply.body, Body::Empty)).await?;
    match reply.body {
        Body::Empty => {}
        Body::Pieces(pieces) => {
            let last = pieces.len().saturating_sub(1);
            for (number, piece) in pieces.into_iter().enumerate() {
                session.write_response_body(Some(piece), number == last).await?;
            }
        }
        Body::Stream(mut reader) => loop {
            let piece = tokio::select! {
                biased;
                piece = reader.next() => piece,
                gone = session.downstream_session.read_body_or_idle(true) => return Err(gave_up(gone)),
            };
            match piece {
                Some(Ok(piece)) => session.write_response_body(Some(piece), false).await?,
                Some(Err(aborted)) => {
                    // A client must not take what it has for all of it.
                    session.set_keepalive(None);
                    return Err(
                        Error::because(ErrorType::ConnectionClosed, "an answer of a platform", aborted).into_up()
                    );
                }
                None => {
                    match reader.trailers() {
                        Some(trailers) if session.req_header().version == Version::HTTP_2 => {
                            session.downstream_session.write_response_trailers(trailers).await?;
                        }
                        _ => session.write_response_body(None, true).await?,
                    }
                    break;
                }
            }
        },
    }
    Ok(true)
}

/// A head with names as the short way writes them. (Over HTTP/2 they are in lower case.)
fn head(status: u16, fields: &HeaderMap) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(fields.len() + 1))?;
    for (name, value) in fields {
        head.append_header(usual_name(name).collect::<Bytes>(), value)?;
    }
    Ok(head)
}

/// Fields that are about one connection (RFC 9110, 7.6.1), or that the gateway answers itself.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
