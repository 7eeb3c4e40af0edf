//! One address of an origin, and how Pingora is told to connect to it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use pingora::{Error, ErrorType, Result};

use super::circuit::Circuit;
use super::hash;
use super::idle::Idle;
use crate::config::{Origin, Platform};

/// An address that gets requests.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The origin, by number.
    pub origin: usize,
    /// Different for each address of each origin, and the same on every node.
    pub id: u64,
    /// Where it is, for the log.
    pub shown: String,
    /// Requests that it has now.
    pub requests: AtomicUsize,
    /// Whether it gets requests.
    pub circuit: Circuit,
    /// The connections of HTTP/1 that wait.
    pub idle: Arc<Idle>,
    peer: HttpPeer,
    /// How often its pool was abandoned.
    abandoned: AtomicU64,
    /// It offers HTTP/2, and can't speak it.
    only_http1: AtomicBool,
}

/// Where an endpoint is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// An address, of IP.
    Inet(SocketAddr),
    /// A path.
    Unix(&'a str),
}

/// What peers of one platform have in common.
pub(super) struct Common {
    group: u64,
    ca: Option<Arc<[WrappedX509]>>,
    identity: Option<Arc<CertKey>>,
}

impl Common {
    /// The certificates are known to be well-formed: the configuration has read them.
    pub fn new(name: &str, config: &Platform) -> Self {
        let ca = config.tls.ca.as_ref().map(|ca| {
            ca.certificates.iter().map(|der| WrappedX509::new(der.clone(), parse_x509)).collect::<Arc<[WrappedX509]>>()
        });
        let identity = config.tls.identity.as_ref();
        let identity = identity.map(|own| Arc::new(CertKey::new(own.chain.certificates.clone(), own.key.clone())));
        Common { group: hash(name.as_bytes(), 0), ca, identity }
    }
}

impl Endpoint {
    /// None if the system can't take such an address.
    pub fn new(common: &Common, config: &Platform, number: usize, origin: &Origin, place: Place<'_>) -> Option<Self> {
        // An empty name would turn all checks off, without a word: an origin with TLS always has one.
        let own_name = || origin.name();
        let configured = config.tls.sni.as_ref().or(config.host.as_ref());
        let sni = configured.map(|host| host.as_str().trim_matches(['[', ']']).to_owned()).or_else(own_name);
        let (mut peer, shown) = match place {
            Place::Inet(address) => {
                let sni = if origin.secure { sni.filter(|name| !name.is_empty())? } else { String::new() };
                let shown = match own_name() {
                    Some(name) if name != address.ip().to_string() => format!("{origin} ({})", address.ip()),
                    _ => origin.to_string(),
                };
                (HttpPeer::new(address, origin.secure, sni), shown)
            }
            Place::Unix(path) => (HttpPeer::new_uds(path, false, String::new()).ok()?, origin.to_string()),
        };
        peer.group_key = common.group;
        peer.client_cert_key.clone_from(&common.identity);
        let options = &mut peer.options;
        options.ca.clone_from(&common.ca);
        // A pin says more than any issuer could. The handshake still proves that the origin has the certificate's key.
        options.verify_cert = config.tls.pins.is_empty() || common.ca.is_some();
        options.alpn = if config.http2 && origin.secure { ALPN::H2H1 } else { ALPN::H1 };
        options.max_h2_streams = MAX_STREAMS;
        options.connection_timeout = Some(config.connect_time);
        options.total_connection_timeout = Some(config.connect_time);
        options.read_timeout = Some(config.read_time);
        options.write_timeout = Some(config.write_time);
        options.idle_timeout = Some(config.keep_alive);
        let id = hash(peer._address.to_string().as_bytes(), hash(origin.as_str().as_bytes(), 0));
        Some(Endpoint {
            origin: number,
            id,
            shown,
            requests: AtomicUsize::new(0),
            circuit: Circuit::default(),
            idle: Arc::default(),
            peer,
            abandoned: AtomicU64::new(0),
            only_http1: AtomicBool::new(false),
        })
    }

    /// From now on it is spoken to in HTTP/1.1.
    pub fn downgrade(&self) {
        self.only_http1.store(true, Relaxed);
    }

    /// Lets no request have a connection of the pool that is there now. (Pingora would keep one of HTTP/2 even if it was
    /// to nobody whom we know.)
    pub fn abandon_pool(&self) {
        self.abandoned.fetch_add(1, Relaxed);
        self.idle.abandon();
    }

    /// The peer for a request that may take at most `rest` until its answer begins.
    pub fn peer(&self, connection: Connection, rest: Duration) -> Box<HttpPeer> {
        let mut peer = Box::new(self.peer.clone());
        if connection == Connection::New || self.peer.options.idle_timeout == Some(Duration::ZERO) {
            // Nobody else asks for this key, and nobody will.
            peer.group_key = NEW.fetch_add(1, Relaxed);
            peer.options.idle_timeout = Some(Duration::ZERO);
        } else {
            peer.group_key = peer.group_key.wrapping_add(self.abandoned.load(Relaxed));
        }
        let options = &mut peer.options;
        if self.only_http1.load(Relaxed) {
            options.alpn = ALPN::H1;
        }
        for time in [
            &mut options.connection_timeout,
            &mut options.total_connection_timeout,
            &mut options.read_timeout,
            &mut options.write_timeout,
        ] {
            *time = time.map(|time| time.min(rest));
        }
        peer
    }
}

/// Which connection a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// One that is there, if there is one: it may be dead, so only requests that may be sent twice take it.
    Pooled,
    /// A new one.
    New,
}

/// Whether a connection, as its digest tells, is to whom it should be.
///
/// # Errors
/// If the certificate is none of those that are pinned.
pub(super) fn check_pins(config: &Platform, digest: Option<&pingora::protocols::Digest>) -> Result<()> {
    let pins = &config.tls.pins;
    let tls = digest.and_then(|digest| digest.ssl_digest.as_ref());
    let Some(tls) = tls.filter(|_| !pins.is_empty()) else { return Ok(()) };
    if pins.iter().any(|pin| tls.cert_digest == pin) {
        return Ok(());
    }
    let shown: String = tls.cert_digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Err(Error::explain(ErrorType::InvalidCert, format!("its certificate, {shown}, is not pinned")).into_up())
}

/// Requests that one connection of HTTP/2 takes at the same time, if the origin allows as many.
const MAX_STREAMS: usize = 100;

/// Keys of connections that are nobody else's. (A platform's own is a hash of 64 bits: none of the first billions.)
static NEW: AtomicU64 = AtomicU64::new(1);
