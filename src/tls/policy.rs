//! Versions, ciphers, key exchange, resumption.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use rustls::{
    ServerConfig,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, Ticketer, cipher_suite as suite, kx_group as group},
    },
    server::{ProducesTickets, ResolvesServerCert, StoresServerSessions},
    version::{TLS12, TLS13},
};

use super::TlsError;
use crate::config::TlsPolicy;

/// Sessions that are remembered for TLS 1.2 clients that take no tickets: a dozen for each of 5,000 hosts. About 200
/// bytes each, and only as many as there are.
const MAX_SESSIONS: u64 = 65_536;

/// How long a session can be resumed: as long as a ticket, whose key changes every 6 hours and is accepted for 6 more.
const SESSION_LIFE: Duration = Duration::from_secs(12 * 3_600);

/// Tickets that a TLS 1.3 client gets with each full handshake. One: who comes back to an old address makes one
/// connection, and gets a new ticket with every resumption; a second would cost its encryption and 200 bytes each time.
const TICKETS: usize = 1;

/// The cryptography of the gateway: aws-lc-rs, with the hybrid key exchange that holds against quantum computers first.
pub fn provider() -> CryptoProvider {
    CryptoProvider {
        // The order of Mozilla's guidelines. Clients without AES in hardware are few behind a redirect, and with one
        // order for all, every client of one kind gets the same.
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![group::X25519MLKEM768, group::X25519, group::SECP256R1, group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// The settings of a server by a policy, without ALPN. `tickets` are those that a fleet shares, if it does.
pub(super) fn server_config(
    policy: TlsPolicy,
    resolver: Arc<dyn ResolvesServerCert>,
    tickets: Option<Arc<dyn ProducesTickets>>,
) -> Result<ServerConfig, TlsError> {
    let versions: &[_] = match policy {
        TlsPolicy::Intermediate => &[&TLS13, &TLS12],
        TlsPolicy::Modern => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.ignore_client_order = true;
    config.session_storage = Arc::new(Sessions::new());
    config.ticketer = match tickets {
        Some(tickets) => tickets,
        None => Ticketer::new()?,
    };
    config.send_tls13_tickets = TICKETS;
    // A replayed request is a request that nobody made.
    config.max_early_data_size = 0;
    Ok(config)
}

/// Sessions by their identifiers, for all threads.
#[derive(Debug)]
struct Sessions(Cache<Vec<u8>, Vec<u8>>);

impl Sessions {
    fn new() -> Self {
        Sessions(Cache::builder().max_capacity(MAX_SESSIONS).time_to_live(SESSION_LIFE).build())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.insert(key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.remove(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}
