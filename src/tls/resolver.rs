//! What rustls asks for each handshake.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    pki_types::UnixTime,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{development::Development, index::Index};

/// Finds the certificate of a handshake. Takes no lock, and allocates only to make a certificate.
#[derive(Debug)]
pub(super) struct Resolver {
    pub index: ArcSwap<Index>,
    /// Who makes certificates for hosts that have none, if anyone does.
    pub development: Option<Development>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked it and made it lower-case. A trailing dot is against RFC 6066, and harmless.
        let name = hello.server_name().map(|name| name.strip_suffix('.').unwrap_or(name));
        let offered = hello.signature_schemes();
        let now = UnixTime::now().as_secs() as i64;
        match self.index.load().pick(name, offered, now) {
            Some(entry) => Some(entry.certified_at(now).clone()),
            None => self.development.as_ref()?.certificate(name, offered),
        }
    }
}
