//! Connections to the admin address: accepted by our own workers, spoken to by Pingora's HTTP/1.1.

use std::{os::fd::AsRawFd, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Response, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Ssl, Stream};
use pingora::server::ShutdownWatch;
use tokio::time::timeout;

use super::access::{Peer, Way};
use super::answers::{AdminAnswer, text};
use super::{Admin, refusal::Refusal, tls};
use crate::door::{Accepted, Clients, Drain, Serve, listen::Origin};
use crate::telemetry::Journal;

/// The service on the admin address.
pub struct AdminService {
    admin: Arc<Admin>,
    tls: Option<Acceptor>,
    drain: Arc<Drain>,
    clients: Arc<Clients>,
    journal: Journal,
}

impl AdminService {
    /// What serves `admin`, until `drain` says that it is over.
    pub(super) fn new(admin: Admin, tls: Option<Acceptor>, drain: &Arc<Drain>) -> Arc<Self> {
        let clients = Clients::new(MAX_CONNECTIONS, MAX_PER_CLIENT);
        Arc::new(AdminService {
            admin: Arc::new(admin),
            tls,
            drain: drain.clone(),
            clients,
            journal: Journal::default(),
        })
    }

    /// The life of a connection.
    async fn serve(&self, accepted: Accepted) {
        let Ok(Some((mut stream, peer))) = timeout(HANDSHAKE_TIME, self.greet(accepted)).await else { return };
        let shutdown = self.drain.shutdown_watch();
        let mut ahead = None;
        loop {
            let mut session = ServerSession::new_http1(stream);
            if let Some(ahead) = ahead {
                session.set_pipelined_prefix(ahead);
            }
            session.set_keepalive(Some(IDLE_TIME.as_secs()));
            let exchange = timeout(EXCHANGE_TIME, self.exchange(session, &peer, &shutdown)).await;
            match exchange {
                Ok(Some((next, prefix))) => (stream, ahead) = (next, prefix),
                _ => return,
            }
        }
    }

    /// Finds out who is there. None if the handshake fails.
    async fn greet(&self, accepted: Accepted) -> Option<(Stream, Peer)> {
        let (stream, way) = match accepted {
            Accepted::Tcp(stream, peer) => (L4Stream::from(stream), Way::Inet(peer)),
            Accepted::Unix(stream) => {
                let user = rustix::net::sockopt::socket_peercred(&stream).ok().map(|peer| peer.uid.as_raw());
                (L4Stream::from(stream), Way::Unix(user))
            }
        };
        let mut stream = stream;
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        stream.set_socket_digest(digest);
        let Some(acceptor) = &self.tls else {
            return Some((Box::new(stream), Peer { way, certificate: None, secure: false }));
        };
        match acceptor.tls_handshake(stream).await {
            Ok(stream) => {
                let shown = stream.get_ssl().and_then(|ssl| ssl.peer_certificate_der().map(<[u8]>::to_vec));
                // One that has been verified and can't be read names nobody.
                let certificate = shown.and_then(|shown| tls::subject(&shown));
                Some((Box::new(stream), Peer { way, certificate, secure: true }))
            }
            Err(error) => {
                self.journal.note(|count| {
                    log::info!(
                        "admin address: {count} handshakes failed since the last such line; now {way:?}: {error}"
                    );
                });
                None
            }
        }
    }

    /// One request and its answer. The connection, if there may be another.
    async fn exchange(
        &self,
        mut session: ServerSession,
        peer: &Peer,
        shutdown: &ShutdownWatch,
    ) -> Option<(Stream, Option<bytes::BytesMut>)> {
        // An error means that there is no request, or none that could be understood and answered.
        let is_there = session.read_request().await.ok()?;
        if !is_there {
            return None;
        }
        session.set_keepalive((!*shutdown.borrow()).then_some(IDLE_TIME.as_secs()));
        // Bodies are not read, so a request that brings one ends the connection.
        if !session.is_body_empty() {
            session.set_keepalive(None);
        }
        let head = session.req_header();
        let (answer, refusal) = match self.admin.access.admit(peer, &head.method, &head.headers).await {
            Ok(author) => (self.admin.answer(head, author).await, None),
            Err(refusal) => {
                self.admin.refused(refusal);
                self.journal.note(|count| {
                    let why = refusal.name();
                    log::warn!(
                        "admin address: {count} requests refused since the last such line; now {why} from {:?}",
                        peer.way
                    );
                });
                (text(refusal.status(), refusal.text()), Some(refusal))
            }
        };
        let is_head = head.method == Method::HEAD;
        let body = answer.body.clone();
        session.write_response_header(Box::new(response(&answer, refusal)?)).await.ok()?;
        if !body.is_empty() && !is_head {
            session.write_response_body(body.into(), true).await.ok()?;
        }
        session.finish().await.ok()?.map(|next| next.into_parts())
    }
}

impl Serve for AdminService {
    fn accepted(self: &Arc<Self>, stream: Accepted, _origin: &Arc<Origin>) {
        let Ok(mut admitted) = self.clients.enter() else { return };
        if let Accepted::Tcp(_, peer) = &stream
            && admitted.name(*peer).is_err()
        {
            return;
        }
        let (service, guard) = (self.clone(), self.drain.guard());
        tokio::spawn(async move {
            service.serve(stream).await;
            drop((admitted, guard));
        });
    }
}

fn response(answer: &AdminAnswer, refusal: Option<Refusal>) -> Option<ResponseHeader> {
    let mut builder = Response::builder()
        .status(answer.status)
        .header(header::CONTENT_TYPE, answer.content_type)
        .header(header::CONTENT_LENGTH, answer.body.len())
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::X_FRAME_OPTIONS, "DENY")
        .header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    if answer.status == StatusCode::UNAUTHORIZED {
        builder = builder.header(header::WWW_AUTHENTICATE, "Bearer realm=\"waypost admin\"");
    }
    if let Some(seconds) = refusal.and_then(Refusal::retry_after) {
        builder = builder.header(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Some(builder.body(()).ok()?.into_parts().0.into())
}

/// Scrapes and probes are few, and each connection may hold a head of 1 MiB (Pingora's bound).
const MAX_CONNECTIONS: u32 = 128;

/// Nobody can take all of them.
const MAX_PER_CLIENT: u32 = 32;

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How long a connection may wait for its next request.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// How long it may take from one answer to the end of the next, the waiting included.
const EXCHANGE_TIME: Duration = Duration::from_secs(90);
