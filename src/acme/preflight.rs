//! Whether names can be proven, before an authority is asked: it counts what fails.
//!
//! Addresses are asked of DNS alone, and only what a gateway of this fleet answers counts. What can't be seen from this
//! machine is the operator's to say (`preflight = false`).

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::rand;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::fault::plain;
use super::progress::Progress;
use crate::config::{AcmeSettings, Challenge};
use crate::guard::names::{Names, SystemNames};
use crate::tls::{ACME_TLS, Challenges, provider};

/// What is tried, and how.
struct Trial {
    settings: AcmeSettings,
    challenges: Arc<Challenges>,
    names: SystemNames,
}

/// Tries names (canonical, wildcards as `*.name`): each is ready, or there is a reason, with what to do about it. `tell`
/// hears how far it is. The account must have been opened: its thumbprint is what a gateway answers with.
pub async fn preflight(
    settings: &AcmeSettings,
    challenges: &Arc<Challenges>,
    names: &[String],
    tell: &(dyn Fn(Progress) + Send + Sync),
) -> HashMap<String, Result<(), String>> {
    let of = names.len();
    if !settings.preflight {
        return names.iter().map(|name| (name.clone(), Ok(()))).collect();
    }
    let trial = Trial {
        settings: settings.clone(),
        challenges: challenges.clone(),
        // Made anew, so that nothing is remembered that has been mended since.
        names: SystemNames::new(&settings.dns),
    };
    let (trial, room) = (Arc::new(trial), Arc::new(Semaphore::new(AT_A_TIME)));
    let mut trials = JoinSet::new();
    for name in names {
        let (trial, room, name) = (trial.clone(), room.clone(), name.clone());
        trials.spawn(async move {
            // It is never closed.
            let _place = room.acquire().await;
            let outcome = trial.name(&name).await;
            (name, outcome)
        });
    }
    let mut found = HashMap::with_capacity(of);
    while let Some(outcome) = trials.join_next().await {
        match outcome {
            Ok((name, outcome)) => {
                found.insert(name, outcome);
            }
            Err(error) => log::error!("acme: a name could not be tried: {error}"),
        }
        tell(Progress::Trying { done: found.len(), of });
    }
    found
}

impl Trial {
    async fn name(&self, name: &str) -> Result<(), String> {
        let challenge = if name.starts_with("*.") { Challenge::Dns01 } else { self.settings.challenge };
        if challenge == Challenge::Dns01 {
            return self.hook();
        }
        let mut addresses = Vec::new();
        for v4 in [true, false] {
            let found = self.names.addresses_of(name, v4).await;
            addresses
                .extend(found.map_err(|_| "DNS gives no answer: see whether its servers can be reached".to_owned())?);
        }
        if addresses.is_empty() {
            return Err("DNS has no address for it: add an A or AAAA record that leads to this fleet".to_owned());
        }
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.len() > MAX_ADDRESSES {
            return Err(format!("it has {} addresses, more than {MAX_ADDRESSES}", addresses.len()));
        }
        let ours = &self.settings.addresses;
        if let Some(other) = addresses.iter().find(|&address| !is_among(ours, *address)) {
            return Err(format!(
                "DNS leads to {other}, which is none of [acme] addresses: change its record, or add the address"
            ));
        }
        let port = match (self.settings.port, challenge) {
            (0, Challenge::TlsAlpn01) => 443,
            (0, _) => 80,
            (port, _) => port,
        };
        let mut unseen = None;
        let mut seen = 0;
        for address in addresses {
            let address = SocketAddr::new(address, port);
            let answer = async {
                match challenge {
                    Challenge::TlsAlpn01 => self.handshake(address, name).await,
                    _ => self.file(address, name).await,
                }
            };
            match timeout(PATIENCE, answer).await {
                Ok(Ok(())) => seen += 1,
                Ok(Err(Wrong::Unseen)) => unseen = Some(address),
                Ok(Err(Wrong::Is(why))) => return Err(why),
                Err(_) => {
                    let seconds = PATIENCE.as_secs();
                    return Err(format!(
                        "{address} gave no answer in {seconds} s: open the port, or change its DNS record"
                    ));
                }
            }
        }
        match unseen {
            Some(address) if seen == 0 => {
                Err(format!("{address} can't be reached from here: if others can, set [acme] preflight = false"))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is a program.
    fn hook(&self) -> Result<(), String> {
        match self.settings.dns_hook.first() {
            None => Err("it is proven by DNS, and nobody publishes records: set [acme] dns-hook".to_owned()),
            Some(program) if program.contains('/') && !Path::new(program).is_file() => {
                Err(format!("[acme] dns-hook: there is no {program}"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether a gateway of this fleet answers for a token that nobody has asked for.
    async fn file(&self, address: SocketAddr, name: &str) -> Result<(), Wrong> {
        let token = random().map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes))?;
        let Some(expected) = self.challenges.key_authorization(&token) else {
            return Err(Wrong::Is("there is no account yet".to_owned()));
        };
        let mut stream = connect(address).await?;
        let request = format!(
            "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: waypost/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        let broken = |error: io::Error| Wrong::Is(format!("{address} breaks the connection: {error}"));
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        while answer.len() < MAX_ANSWER {
            match stream.read(&mut part).await.map_err(broken)? {
                0 => break,
                count => answer.extend_from_slice(&part[..count]),
            }
            // Some keep the connection.
            if memchr::memmem::find(&answer, expected.as_bytes()).is_some() {
                break;
            }
        }
        judge(address, &answer, &expected).map_err(Wrong::Is)
    }

    /// Whether a gateway of this fleet shows the certificate that was asked of it (RFC 8737, 3).
    async fn handshake(&self, address: SocketAddr, name: &str) -> Result<(), Wrong> {
        let digest = random()?;
        let unwritten = |error| Wrong::Is(format!("the challenge can't be written: {error}"));
        self.challenges.publish_alpn(name, digest).map_err(unwritten)?;
        let shown = self.shown(address, name).await;
        let _ = self.challenges.withdraw_alpn(name);
        // The digest is 32 random bytes: nobody else's certificate has them.
        if memchr::memmem::find(&shown?, &digest).is_some() {
            return Ok(());
        }
        Err(Wrong::Is(format!(
            "at {address} another server answers: is it a gateway of this fleet, with the same certs?"
        )))
    }

    async fn shown(&self, address: SocketAddr, name: &str) -> Result<CertificateDer<'static>, Wrong> {
        let wrong = |why: String| Wrong::Is(format!("{address} does not answer tls-alpn-01: {why}"));
        let provider = Arc::new(provider());
        let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let config = config.map_err(|error| wrong(error.to_string()))?;
        let mut config = config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider.signature_verification_algorithms)))
            .with_no_client_auth();
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        let server = ServerName::try_from(name.to_owned()).map_err(|error| wrong(error.to_string()))?;
        let stream = connect(address).await?;
        let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
        let stream = stream.map_err(|error| wrong(error.to_string()))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        shown.map(|leaf| leaf.clone().into_owned()).ok_or_else(|| wrong("no certificate".to_owned()))
    }
}

/// Why a name is not ready.
enum Wrong {
    Is(String),
    /// There is no way from here to this address, which may be no fault of it.
    Unseen,
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Wrong> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable if address.is_ipv6() => Wrong::Unseen,
        _ => Wrong::Is(format!("nothing answers at {address} ({error}): open the port, or change its DNS record")),
    })
}

/// What an answer to the challenge's URL says.
fn judge(address: SocketAddr, answer: &[u8], expected: &str) -> Result<(), String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = head.parse(answer) else {
        return Err(format!("{address} does not speak HTTP"));
    };
    let status = head.code.unwrap_or_default();
    let body = &answer[length..];
    if status == 200 && memchr::memmem::find(body, expected.as_bytes()).is_some() {
        return Ok(());
    }
    let location = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("location"));
    Err(match (status, location) {
        (300..400, Some(location)) => format!(
            "{address} redirects the challenge to {}: whatever stands there must let /.well-known/acme-challenge/ through",
            plain(&String::from_utf8_lossy(location.value))
        ),
        (200, _) => format!(
            "{address} answers the challenge with something else: is it a gateway of this fleet, with the same certs?"
        ),
        _ => format!(
            "{address} answers {status} to the challenge: is it a gateway of this fleet, with [acme] and the same certs?"
        ),
    })
}

fn is_among(networks: &[ipnet::IpNet], address: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(&address.to_canonical()))
}

fn random() -> Result<[u8; 32], Wrong> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Wrong::Is("the system has no random numbers".to_owned()))?;
    Ok(bytes)
}

/// Takes every certificate: this one is signed by itself, has an extension that nobody else knows (RFC 8737), and is
/// looked at for what it holds. Nothing is sent to whoever shows it.
#[derive(Debug)]
struct Anyone(rustls::crypto::WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Names that are tried at the same time.
const AT_A_TIME: usize = 64;

/// Addresses of one name.
const MAX_ADDRESSES: usize = 64;

/// How long an address may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_with_what_to_do() {
        let address: SocketAddr = ([192, 0, 2, 1], 80).into();
        let judged = |answer: &str| judge(address, answer.as_bytes(), "token.print");
        assert_eq!(judged("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\ntoken.print"), Ok(()));
        assert_eq!(
            judged("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\ntoken.print\r\n0\r\n\r\n"),
            Ok(())
        );
        for (answer, why) in [
            ("HTTP/1.1 200 OK\r\n\r\nhello", "something else"),
            ("HTTP/1.1 404 Not Found\r\n\r\ntoken.print", "answers 404"),
            (
                "HTTP/1.1 301 Moved\r\nLocation: https://other.example/x\r\n\r\n",
                "redirects the challenge to https://other",
            ),
            ("SSH-2.0-x\r\n", "does not speak HTTP"),
            ("", "does not speak HTTP"),
        ] {
            let error = judged(answer).unwrap_err();
            assert!(error.contains(why) && error.contains("192.0.2.1:80"), "{error}");
        }
    }

    #[test]
    fn only_addresses_of_the_fleet_will_do_if_it_lists_them() {
        let fleet = ["192.0.2.0/24".parse().unwrap(), "2001:db8::1/128".parse().unwrap()];
        let among = |address: &str| is_among(&fleet, address.parse().unwrap());
        assert!(among("192.0.2.7") && among("2001:db8::1") && among("::ffff:192.0.2.7"));
        assert!(!among("192.0.3.1") && !among("2001:db8::2"));
        assert!(is_among(&[], "192.0.3.1".parse().unwrap()));
    }
}
