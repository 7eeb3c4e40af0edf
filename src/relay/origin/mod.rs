//! Asking an origin on behalf of the cache: HTTP/1.1 by ourselves, HTTP/2 through Pingora's session.
//!
//! Owns: what is sent and what comes back over one connection, its bounds in time and size. Never does: choosing an origin,
//! trying again, keeping connections ([`super::platforms`]).

mod chunks;
mod head;
mod http1;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::time::Instant;

use super::platforms::{Turn, Wire};
use http1::Exchange;

/// An origin that is asked.
pub(super) struct Origin(Protocol);

enum Protocol {
    Http1(Exchange),
    // Boxed: it is seldom.
    Http2(Box<Http2>),
}

struct Http2 {
    session: HttpSession,
    peer: Box<HttpPeer>,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub status: u16,
    pub fields: HeaderMap,
}

/// How long an origin may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Until it takes the request.
    write: Duration,
    /// Between any two pieces of the answer.
    read: Duration,
    /// When the answer must have begun.
    head: Instant,
}

impl Origin {
    /// Asks over a connection that is there.
    pub fn reuse(wire: Box<Wire>, turn: &Turn) -> Self {
        Origin(Protocol::Http1(Exchange::new(wire, patience(turn))))
    }

    /// Connects; whether the connection was there already, which over HTTP/2 many may share.
    ///
    /// # Errors
    /// If the origin can't be reached, or is not who it should be.
    pub async fn connect(connector: &Connector, peer: Box<HttpPeer>, turn: &Turn) -> Result<(Self, bool)> {
        let (session, reused) = connector.get_http_session(&*peer).await?;
        turn.connected(session.digest())?;
        match session {
            HttpSession::H1(session) => Ok((Origin::reuse(turn.wire(session.into_inner()), turn), reused)),
            mut session => {
                session.set_read_timeout(peer.options.read_timeout);
                session.set_write_timeout(peer.options.write_timeout);
                Ok((Origin(Protocol::Http2(Box::new(Http2 { session, peer }))), reused))
            }
        }
    }

    /// Sends a GET, with `more` fields, and waits for the head of its final answer; `interim` gets those before it.
    ///
    /// # Errors
    /// If there is none.
    pub async fn ask(
        &mut self,
        request: &RequestHeader,
        more: &[(HeaderName, HeaderValue)],
        interim: impl Fn(Head),
    ) -> Result<Head> {
        match &mut self.0 {
            Protocol::Http1(exchange) => {
                exchange.send(request, more).await?;
                loop {
                    match exchange.head().await? {
                        head if head.status < 200 => interim(head),
                        head => return Ok(head),
                    }
                }
            }
            Protocol::Http2(http2) => http2.ask(request, more, interim).await,
        }
    }

    /// Lets the origin be silent for so long from now on.
    pub fn set_read_time(&mut self, time: Duration) {
        match &mut self.0 {
            Protocol::Http1(exchange) => exchange.set_read_time(time),
            Protocol::Http2(http2) => http2.session.set_read_timeout(Some(time)),
        }
    }

    /// The next piece of the body, none after the last.
    ///
    /// # Errors
    /// If it breaks off, or is not framed as it should be.
    pub async fn piece(&mut self) -> Result<Option<Bytes>> {
        match &mut self.0 {
            Protocol::Http1(exchange) => exchange.piece().await,
            Protocol::Http2(http2) => http2.session.read_response_body().await,
        }
    }

    /// The fields behind the body, when it has been read.
    ///
    /// # Errors
    /// If they don't come, or the body broke off.
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>> {
        match &mut self.0 {
            Protocol::Http1(exchange) => Ok(exchange.trailers()),
            Protocol::Http2(http2) => {
                let trailers = match &mut http2.session {
                    HttpSession::H2(session) => session.read_trailers().await?,
                    _ => None,
                };
                if !http2.session.response_done() {
                    return Error::e_explain(ErrorType::ConnectionClosed, "the answer broke off");
                }
                Ok(trailers)
            }
        }
    }

    /// The answer has been read to its end: gives the connection back for others, if it can be used again.
    pub async fn release(self, connector: &Connector, turn: &Turn) {
        match self.0 {
            Protocol::Http1(exchange) => exchange.into_wire().into_iter().for_each(|wire| turn.keep(wire)),
            Protocol::Http2(http2) => {
                let Http2 { session, peer } = *http2;
                let idle = turn.platform().config().keep_alive;
                connector.release_http_session(session, &*peer, Some(idle)).await;
            }
        }
    }

    /// Nobody wants the rest, or there can't be any.
    pub async fn abandon(self) {
        match self.0 {
            Protocol::Http1(_) => {}
            Protocol::Http2(mut http2) => http2.session.shutdown().await,
        }
    }
}

impl Http2 {
    async fn ask(
        &mut self,
        request: &RequestHeader,
        more: &[(HeaderName, HeaderValue)],
        interim: impl Fn(Head),
    ) -> Result<Head> {
        let mut request = Box::new(request.clone());
        for (name, value) in more {
            request.insert_header(name, value)?;
        }
        // Host is the authority there.
        let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri =
            format!("https://{host}{path}").parse().or_err(ErrorType::InternalError, "an authority for HTTP/2")?;
        request.remove_header(&header::HOST);
        request.set_uri(uri);
        request.set_version(Version::HTTP_2);
        self.session.write_request_header(request).await.map_err(Error::into_up)?;
        self.session.finish_request_body().await.map_err(Error::into_up)?;
        loop {
            self.session.read_response_header().await.map_err(Error::into_up)?;
            let head = self.session.response_header();
            let head = head.map(|head| Head { status: head.status.as_u16(), fields: head.headers.clone() });
            match head {
                Some(head) if head.status < 200 => interim(head),
                Some(head) => return Ok(head),
                None => {
                    let error: Box<Error> = Error::explain(ErrorType::InvalidHTTPHeader, "an answer without a head");
                    return Err(error.into_up());
                }
            }
        }
    }
}

fn patience(turn: &Turn) -> Patience {
    let (config, rest) = (turn.platform().config(), turn.rest());
    Patience { write: config.write_time.min(rest), read: config.read_time.min(rest), head: Instant::now() + rest }
}
