//! The door: connections, and the requests that come through them.
//!
//! Owns: the listening sockets ([`listen`]), the worker threads ([`Workers`]), the connections and their bounds, what is
//! well-formed, keep-alive, what happens to request bodies nobody asked for. Never does: deciding or making answers
//! ([`crate::answer`]); it hands requests to the one function and its answers to the client.
//!
//! Invariants: every request that could be read is answered and counted once; both lanes get only what `head` lets
//! through; no client holds anything for longer than the limits say; nothing is logged per request or connection, so
//! that no client can fill the log.
//!
//! The way of a connection: accepted by a worker ([`Door::accepted`]) → let in, if there is room (`clients`) → PROXY
//! header, where the listener has one (`proxy_protocol`) → TLS (`handshake`) → `http1` or `http2`. Requests of HTTP/1
//! are parsed from the connection's buffer (`head`) and answered straight from there; what is no answer of ours is answered
//! through the cache, or goes to Pingora's proxy ([`crate::relay`]), within bounds that the `connection` keeps, and the
//! connection comes back.

pub mod body;
mod clients;
mod connection;
mod drain;
mod handshake;
pub mod head;
mod http1;
mod http2;
pub mod listen;
mod outgoing;
mod pace;
mod proxy_protocol;
mod stream;
mod workers;

use std::{net::IpAddr, sync::Arc, time::Duration};

use prometheus::IntGauge;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::answer::Responder;
use crate::cache::Cache;
use crate::config::{Gateway, Limits};
use crate::guard::{
    Fields,
    addresses::{self, AddressSet},
};
use crate::relay::Proxy;
use crate::telemetry::{Connections, Limit, Refused};
use crate::tls::Tls;
use connection::{Connection, Socket};
use handshake::Handshakes;
use listen::{Kind, Origin};
use proxy_protocol::Named;

pub use clients::{Admitted, Clients};
pub use drain::{Drain, Guard, State};
pub use workers::{Accepted, Serve, Workers};

/// What stands behind every public address.
pub struct Door {
    responder: Arc<Responder>,
    proxy: Arc<Proxy>,
    handshakes: Option<Handshakes>,
    drain: Arc<Drain>,
    clients: Arc<Clients>,
    trusted_proxies: AddressSet,
    limits: Limits,
    cache: Cache,
    fast_lane: bool,
    h2c: bool,
    /// Clients that may be told at the same time that they have too many connections.
    turning_away: Semaphore,
}

impl Door {
    /// The door of a gateway; `tls` where it has addresses for HTTPS.
    pub fn new(
        gateway: &Gateway,
        responder: Arc<Responder>,
        proxy: Arc<Proxy>,
        tls: Option<Arc<Tls>>,
        cache: Cache,
        drain: Arc<Drain>,
    ) -> Arc<Self> {
        let limits = gateway.limits;
        Arc::new(Door {
            responder,
            proxy,
            handshakes: tls.map(Handshakes::new),
            drain,
            clients: Clients::new(room(limits.connections), limits.connections_per_client),
            trusted_proxies: gateway.trusted_proxies.iter().copied().collect(),
            limits,
            cache,
            fast_lane: gateway.fast_lane,
            h2c: gateway.h2c,
            turning_away: Semaphore::new(TURNED_AWAY),
        })
    }

    fn metrics(&self) -> &Connections {
        self.responder.metrics().connections()
    }

    /// Whether an address is that of a proxy in front.
    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.contains(address)
    }

    /// Who sent a request that came from `peer`, whose word counts if it is `trusted`.
    fn client(&self, peer: Option<IpAddr>, trusted: bool, fields: &dyn Fields) -> Option<IpAddr> {
        addresses::client(peer, trusted, fields, &self.trusted_proxies)
    }

    /// Whether a client that a peer stands for may be many: trusted proxies name others, or should.
    fn is_many(&self, client: Option<IpAddr>, trusted: bool) -> bool {
        trusted && client.is_some_and(|client| self.trusts(client))
    }

    /// The way of a connection.
    async fn welcome(self: Arc<Self>, accepted: Accepted, origin: Arc<Origin>, mut admitted: Admitted) {
        let (mut socket, peer) = match accepted {
            Accepted::Tcp(stream, peer) => (Socket::Tcp(stream), Some(peer)),
            Accepted::Unix(stream) => (Socket::Unix(stream), None),
        };
        // Who may open a Unix socket is for its file's mode to say.
        let mut trusted = peer.is_none_or(|peer| self.trusts(peer.ip()));
        let mut client = peer;
        let deadline = Instant::now() + Duration::from_secs(self.limits.handshake_time.into());
        if origin.proxy_protocol {
            if !trusted {
                return self.metrics().refused(Refused::UntrustedProxy);
            }
            match timeout_at(deadline, Box::pin(proxy_protocol::read(&mut socket))).await {
                // Such a proxy passes on what its client sends as it is: the headers are that client's word.
                Ok(Ok(Named::Client(named))) => (client, trusted) = (Some(named), self.trusts(named.ip())),
                Ok(Ok(Named::Nobody)) => trusted = false,
                Ok(Err(_)) => return self.metrics().refused(Refused::BadProxyHeader),
                Err(_) => return self.metrics().limit(Limit::HandshakeTime),
            }
        }
        if let Some(client) = client
            && !self.trusts(client.ip())
            && let Err(refused) = admitted.name(client)
        {
            self.metrics().refused(refused);
            // Who is turned away slowly takes room from others.
            if origin.kind == Kind::Http
                && let Ok(_turn) = self.turning_away.try_acquire()
            {
                Box::pin(http1::turn_away(&self, socket)).await;
            }
            return;
        }
        let connection = match (origin.kind, &self.handshakes) {
            (Kind::Http, _) => Connection::plain(socket, client, trusted),
            (Kind::Https, None) => return,
            (Kind::Https, Some(handshakes)) => {
                // Boxed: a handshake takes much more room than a connection that waits.
                match Box::pin(handshakes.shake(socket, client, deadline, self.metrics())).await {
                    Some(stream) => Connection::encrypted(stream, client, trusted),
                    None => return,
                }
            }
        };
        if connection.is_http2() {
            Box::pin(http2::serve(&self, connection)).await;
        } else {
            http1::serve(&self, connection).await;
        }
    }
}

impl Serve for Door {
    fn accepted(self: &Arc<Self>, stream: Accepted, origin: &Arc<Origin>) {
        let gauge = self.metrics().accepted(origin.kind == Kind::Https);
        let admitted = match self.clients.enter() {
            Ok(admitted) => admitted,
            Err(refused) => return self.metrics().refused(refused),
        };
        let guard = self.drain.guard();
        let way = self.clone().welcome(stream, origin.clone(), admitted);
        let open = Open(gauge);
        open.0.inc();
        tokio::spawn(async move {
            way.await;
            drop((open, guard));
        });
    }

    fn not_accepted(&self, _error: &std::io::Error, _origin: &Origin) {
        self.metrics().refused(Refused::Descriptors);
    }
}

/// A connection in the gauge of those that are open.
struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Clients that are told at the same time that they have too many connections; others are cut off.
const TURNED_AWAY: usize = 64;

/// How many connections may be open: as many as asked for, but never so many that no file could be opened any more.
pub(crate) fn room(asked: u32) -> u32 {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = u32::try_from(files - files / 10).unwrap_or(u32::MAX).max(1);
    if asked == 0 { room } else { asked.min(room) }
}
