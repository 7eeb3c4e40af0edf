//! Handshakes with authorities that ask whether a host leads here (`tls-alpn-01`; RFC 8737).

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    Knows,
    challenges::{ACME_TLS, Challenges},
    policy::provider,
};

/// Makes the settings of such handshakes. Those of citizens know nothing of the protocol: to offer it by chance, or by
/// design, is to offer one that nobody speaks.
pub(super) struct Proofs {
    challenges: Arc<Challenges>,
    knows: Knows,
    provider: Arc<CryptoProvider>,
}

impl Proofs {
    pub fn new(challenges: Arc<Challenges>, knows: Knows) -> Self {
        Proofs { challenges, knows, provider: Arc::new(provider()) }
    }

    /// The settings for a host, if its name is being proven. No file is looked for unless the host is served.
    pub fn config(&self, host: &str) -> Option<Arc<ServerConfig>> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let certified = (self.knows)(host).then(|| self.challenges.alpn_certificate(host))??;
        self.around(certified).ok().map(Arc::new)
    }

    fn around(&self, certified: Arc<CertifiedKey>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            // RFC 8737, 3: TLS 1.2 or higher, whatever the policy for citizens.
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        // Nothing follows the handshake, and nobody comes back to it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs").field("challenges", &self.challenges).finish_non_exhaustive()
    }
}
