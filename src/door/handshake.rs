//! TLS handshakes: within their time, counted by kind, and told in the log without letting clients fill it.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{AlertDescription, HandshakeKind, ServerConfig, server::Acceptor};
use tokio::{
    io::AsyncWriteExt,
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::connection::{Socket, names};
use crate::telemetry::{Connections, HandshakeFailure, Journal, Limit};
use crate::tls::{ACME_TLS, Tls};

/// Does the handshakes of a gateway.
pub(super) struct Handshakes {
    tls: Arc<Tls>,
    config: Arc<ServerConfig>,
    /// Authorities that may have something looked up for them at the same time.
    proving: Semaphore,
    journal: Journal,
}

impl Handshakes {
    pub fn new(tls: Arc<Tls>) -> Self {
        let config = tls.server_config(&[b"h2", b"http/1.1"]);
        Handshakes { tls, config, proving: Semaphore::new(PROVING), journal: Journal::default() }
    }

    /// Does one until `deadline`; none if it fails, or if an authority has seen what it wanted to see.
    pub async fn shake(
        &self,
        socket: Socket,
        client: Option<SocketAddr>,
        deadline: Instant,
        metrics: &Connections,
    ) -> Option<TlsStream<Socket>> {
        let mut name = String::new();
        let shake = async {
            // In two steps, so that a handshake that fails can be told by its name.
            let begun = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
            name.extend(begun.client_hello().server_name());
            match self.proof(begun.client_hello().alpn(), &name).await {
                None => begun.into_stream(self.config.clone()).await.map(Some),
                Some(config) => {
                    let mut stream = begun.into_stream(config).await?;
                    // RFC 8737, 3: nothing is said afterwards.
                    stream.shutdown().await.map(|()| None)
                }
            }
        };
        let error = match timeout_at(deadline, shake).await {
            Ok(Ok(None)) => {
                log::debug!("an authority has asked whether {name} leads here (tls-alpn-01)");
                return None;
            }
            Ok(Ok(Some(stream))) => {
                let session = stream.get_ref().1;
                let (version, cipher) = names(session);
                metrics.handshake(version, cipher, session.handshake_kind() == Some(HandshakeKind::Resumed));
                return Some(stream);
            }
            Ok(Err(error)) => error,
            Err(_) => {
                metrics.limit(Limit::HandshakeTime);
                io::ErrorKind::TimedOut.into()
            }
        };
        let failure = classify(&error);
        metrics.handshake_failure(failure);
        self.journal.note(|count| {
            let client = client.map_or_else(|| "a client".to_owned(), |client| client.ip().to_canonical().to_string());
            let why = match failure {
                HandshakeFailure::NoCertificate => self.tls.why_refused(&name),
                _ => error.to_string(),
            };
            let kind = failure.name();
            log::info!("TLS handshakes failed: {count} since the last such line; now {client}: {kind}: {why}");
        });
        None
    }

    /// The settings for an authority that asks whether a host leads here; none for anybody else. Who offers its protocol
    /// for a host whose name nobody is proving is a client that has no protocol in common with us: that costs one
    /// handshake which fails, as any other such client's does.
    async fn proof<'a>(
        &self,
        protocols: Option<impl Iterator<Item = &'a [u8]>>,
        host: &str,
    ) -> Option<Arc<ServerConfig>> {
        // It offers this one alone (RFC 8737, 3).
        if host.is_empty() || !protocols?.eq([ACME_TLS]) {
            return None;
        }
        // A file is read, perhaps of another machine: never more than a few of the threads for such wait for it.
        let _turn = self.proving.acquire().await.ok()?;
        let (tls, host) = (self.tls.clone(), host.to_owned());
        tokio::task::spawn_blocking(move || tls.challenge_config(&host)).await.ok()?
    }
}

/// How many files are looked for at the same time.
const PROVING: usize = 4;

/// Whose fault it was, as far as the error tells.
fn classify(error: &io::Error) -> HandshakeFailure {
    use HandshakeFailure::{Closed, Distrusted, NoCertificate, NotTls, NothingInCommon, Other, Timeout};
    if error.kind() == io::ErrorKind::TimedOut {
        return Timeout;
    }
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else { return Closed };
    match error {
        rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => NothingInCommon,
        rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. } => NotTls,
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate,
        ) => Distrusted,
        // What the resolver says when it has nothing.
        rustls::Error::General(reason) if reason.contains("certificate") => NoCertificate,
        _ => Other,
    }
}
