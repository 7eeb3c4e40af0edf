//! Fetching for the cache: a request to a platform that belongs to no client, and whose answer many may get.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{Version, header};
use jiff::Timestamp;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::{Error, ErrorType, OrErr, Result};

use super::platforms::{Connection, Platform, Platforms, Stage, Turn};
use super::transform::{Transform, Wanted};
use crate::answer::Relayed;
use crate::cache::{Failure, Filling, Flight, Outcome, Times};
use crate::rewrite::Links;

/// A fetch that is to be made.
pub(super) struct Fetch {
    pub platforms: Arc<Platforms>,
    pub platform: Arc<Platform>,
    /// The request, but for what the cache asks besides.
    pub request: Box<RequestHeader>,
    pub relayed: Relayed,
    pub links: Option<Links>,
    /// Whether clients came by HTTPS.
    pub secure: bool,
    pub client: Option<IpAddr>,
    /// The host that clients asked for.
    pub asked: Vec<u8>,
    /// A hash of the URL, by which platforms may be chosen.
    pub url: u64,
}

/// What comes of a try.
enum Try {
    Done,
    Again(Flight),
}

impl Fetch {
    /// Makes it, and hands what comes to `flight`.
    pub async fn run(self, mut flight: Flight) {
        let mut turn = match self.platform.enter(self.client, self.url).await {
            Ok(turn) => turn,
            Err(_busy) => return flight.fail(Failure::Unreachable, now()),
        };
        if flight.has_stand_in(now()) {
            turn.hurry();
        }
        while let Try::Again(again) = self.attempt(&mut turn, flight).await {
            flight = again;
        }
    }

    async fn attempt(&self, turn: &mut Turn, flight: Flight) -> Try {
        let Ok(peer) = turn.peer(Connection::Pooled).await else {
            flight.fail(Failure::Unreachable, now());
            return Try::Done;
        };
        let connector = self.platforms.connector();
        let connected = connector.get_http_session(&*peer).await;
        let connected = connected.and_then(|(session, reused)| {
            turn.connected(session.digest())?;
            Ok((session, reused))
        });
        let (mut session, reused) = match connected {
            Ok(connected) => connected,
            Err(error) => return failed(turn, flight, &error, Stage::Connecting),
        };
        session.set_read_timeout(peer.options.read_timeout);
        session.set_write_timeout(peer.options.write_timeout);
        let requested = now();
        let asked = flight.fields();
        let accept_encoding =
            asked.iter().find(|(name, _)| name == header::ACCEPT_ENCODING).map(|(_, value)| value.clone());
        let mut request = self.request.clone();
        for (name, value) in asked {
            // A valid name and value can be inserted.
            let _ = request.insert_header(name, value);
        }
        let hsts = self.relayed.site().and_then(|site| site.hsts.as_deref()).filter(|_| self.secure);
        let mut wanted = Wanted {
            links: self.links.as_ref(),
            relayed: &self.relayed,
            asked: &self.asked,
            own: self.platform.config().host.as_ref().map(|host| host.as_str()),
            hsts,
            accept_encoding: accept_encoding.as_ref().and_then(|value| value.to_str().ok()),
            has_body: false,
        };
        let interim = |head: &ResponseHeader| {
            let (status, mut fields) = (head.status.as_u16(), head.headers.clone());
            Transform::new(status, &mut fields, &wanted);
            flight.interim(status, fields);
        };
        let head = match ask(&mut session, request, interim).await {
            Ok(head) => head,
            Err(error) => {
                session.shutdown().await;
                return failed(turn, flight, &error, Stage::Sent { reused, repeatable: true });
            }
        };
        let status = head.status.as_u16();
        turn.answered(status);
        session.set_read_timeout(Some(self.platform.config().read_time));
        let mut fields = head.headers.clone();
        wanted.has_body = true;
        let transform = Transform::new(status, &mut fields, &wanted);
        match flight.head(status, fields, Times { requested, received: now() }) {
            Outcome::Again(flight) => {
                session.shutdown().await;
                return Try::Again(flight);
            }
            Outcome::Done => {
                if !is_over(&mut session).await {
                    session.shutdown().await;
                    return Try::Done;
                }
            }
            Outcome::Body(filling) => {
                if fill(&mut session, *filling, transform, turn).await.is_err() {
                    session.shutdown().await;
                    return Try::Done;
                }
            }
        }
        connector.release_http_session(session, &*peer, Some(self.platform.config().keep_alive)).await;
        Try::Done
    }
}

fn failed(turn: &mut Turn, flight: Flight, error: &Error, stage: Stage) -> Try {
    if turn.failed(error, stage) {
        return Try::Again(flight);
    }
    flight.fail(Failure::of(error), now());
    Try::Done
}

/// Sends a request and waits for the head of its final answer; `interim` gets those before it.
async fn ask(
    session: &mut HttpSession,
    mut request: Box<RequestHeader>,
    interim: impl Fn(&ResponseHeader),
) -> Result<Box<ResponseHeader>> {
    match session {
        HttpSession::H1(_) => request.set_version(Version::HTTP_11),
        _ => {
            // Host is the authority there.
            let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
            let uri =
                format!("https://{host}{path}").parse().or_err(ErrorType::InternalError, "an authority for HTTP/2")?;
            request.remove_header(&header::HOST);
            request.set_uri(uri);
            request.set_version(Version::HTTP_2);
        }
    }
    session.write_request_header(request).await.map_err(Error::into_up)?;
    session.finish_request_body().await.map_err(Error::into_up)?;
    loop {
        session.read_response_header().await.map_err(Error::into_up)?;
        match session.response_header() {
            Some(head) if head.status.is_informational() => interim(head),
            Some(head) => return Ok(Box::new(head.clone())),
            None => {
                return Error::e_explain(ErrorType::InvalidHTTPHeader, "an answer without a head")
                    .map_err(|error: Box<Error>| error.into_up());
            }
        }
    }
}

/// Passes the body on; the connection can be used again if that went well.
async fn fill(session: &mut HttpSession, mut filling: Filling, mut transform: Transform, turn: &Turn) -> Result<()> {
    // What is dropped unfinished broke off: whoever reads is told, and nothing is stored.
    let stopped = |_| Error::explain(ErrorType::InternalError, "nobody wants the rest");
    let broken = |failure| {
        turn.broke();
        Error::because(ErrorType::InvalidHTTPHeader, "changing an answer", failure)
    };
    // Trailers may be about the body as it was.
    let is_changed = transform.is_some();
    while let Some(piece) = session.read_response_body().await? {
        let piece = transform.write(piece).map_err(broken)?;
        filling.write(piece).await.map_err(stopped)?;
    }
    // HTTP/1 has them too, but Pingora doesn't tell.
    let trailers = match session {
        HttpSession::H2(session) => session.read_trailers().await?,
        _ => None,
    };
    if !session.response_done() {
        return Error::e_explain(ErrorType::ConnectionClosed, "the answer broke off");
    }
    let rest = transform.end().map_err(broken)?;
    filling.write(rest).await.map_err(stopped)?;
    filling.end(trailers.filter(|_| !is_changed)).map_err(stopped)
}

/// Whether nothing is left of an answer that nobody needs, such as a 304.
async fn is_over(session: &mut HttpSession) -> bool {
    while !session.response_done() {
        match tokio::time::timeout(REST_TIME, session.read_response_body()).await {
            Ok(Ok(Some(piece))) if piece.len() < REST => {}
            Ok(Ok(None)) => break,
            _ => return false,
        }
    }
    true
}

/// Unix seconds.
pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// How long, and how large a piece, is waited for of a body that nobody needs.
const REST_TIME: Duration = Duration::from_millis(100);
const REST: usize = 16 * 1024;
