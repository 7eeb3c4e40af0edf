//! Handshakes in memory over certificates made at run time.

mod inventory;
mod loading;
mod locked;
mod resuming;
mod serving;
mod stapling;

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig,
    ServerConnection, SignatureScheme, SupportedProtocolVersion,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption,
        Tls13ClientSessionValue,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};

use super::{file::CertFile, *};
use crate::config::{Severity, TlsPolicy, TlsSettings};

const ANY: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
const BOTH: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
];

/// A certificate authority: its certificate, and who signs.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn ca(name: &str, by: Option<&Authority>) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    let certificate = match by {
        Some(by) => params.signed_by(&key, &by.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Authority { certificate, issuer: Issuer::new(params, key) }
}

struct Made {
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Made {
    fn chain(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    fn both(&self) -> String {
        self.chain() + &self.key.serialize_pem()
    }
}

fn made(names: &[&str], kind: &'static SignatureAlgorithm, years: (i32, i32), by: Option<&Authority>) -> Made {
    let key = KeyPair::generate_for(kind).unwrap();
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    params.use_authority_key_identifier_extension = true;
    let certificate = match by {
        Some(by) => params.signed_by(&key, &by.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Made { der: certificate.der().clone(), key }
}

/// A good one.
fn good(name: &str) -> Made {
    made(&[name], &PKCS_ECDSA_P256_SHA256, (2020, 2090), None)
}

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in der.chunks(3) {
        let word = part.iter().chain(&[0, 0]).take(3).fold(0, |word, &byte| word << 8 | usize::from(byte));
        for place in 0..4 {
            let sign = ALPHABET[word >> (18 - 6 * place) & 63] as char;
            text.push(if place <= part.len() { sign } else { '=' });
        }
    }
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// What PKCS#8 wraps: a SEC1 or PKCS#1 key.
fn unwrapped(pkcs8: &[u8]) -> &[u8] {
    /// The content of a DER value and what follows it.
    fn content(der: &[u8]) -> (&[u8], &[u8]) {
        let (start, len) = match der[1] {
            short @ 0..0x80 => (2, usize::from(short)),
            long => {
                let digits = usize::from(long & 0x7f);
                (2 + digits, der[2..2 + digits].iter().fold(0, |len, &byte| len << 8 | usize::from(byte)))
            }
        };
        (&der[start..start + len], &der[start + len..])
    }
    let (_version, rest) = content(content(pkcs8).0);
    let (_algorithm, rest) = content(rest);
    content(rest).0
}

fn write(folder: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // As a careful tool does: written beside it, then put in its place.
    let beside = folder.join(".new");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(beside, path).unwrap();
}

/// Those of a gateway with this folder, and no listener.
fn settings(folder: &Path) -> Gateway {
    Gateway { certs: folder.to_owned(), ..Gateway::default() }
}

fn try_open(folder: &Path, mode: TlsMode, policy: TlsPolicy) -> Result<(Tls, CertReport), TlsError> {
    let gateway = Gateway {
        certs: folder.to_owned(),
        https: vec!["127.0.0.1:0".parse().unwrap()],
        tls: TlsSettings { policy, mode, ..TlsSettings::default() },
        ..Gateway::default()
    };
    let knows = |name: &str| name.ends_with(".known.example");
    Tls::open(&gateway, knows, challenges(folder), Arc::new(Metrics::new().unwrap()))
}

fn challenges(folder: &Path) -> Arc<Challenges> {
    Arc::new(Challenges::open(&folder.join(STATE_FOLDER)))
}

fn open(folder: &Path, mode: TlsMode, policy: TlsPolicy) -> (Tls, CertReport) {
    try_open(folder, mode, policy).unwrap()
}

fn production(folder: &Path) -> (Tls, CertReport) {
    open(folder, TlsMode::Production, TlsPolicy::Intermediate)
}

fn codes(report: &CertReport) -> Vec<&str> {
    report.diagnostics.iter().map(|finding| finding.code).collect()
}

/// Believes every certificate, and says which signatures it can check.
#[derive(Debug)]
struct Believer(&'static [SignatureScheme]);

impl ServerCertVerifier for Believer {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.to_vec()
    }
}

fn client(versions: &[&'static SupportedProtocolVersion], schemes: &'static [SignatureScheme]) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer(schemes)))
        .with_no_client_auth()
}

/// The two ends of a connection.
type Ends = (ClientConnection, ServerConnection);

/// A handshake, with everything that follows it; an error is the server's.
fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Result<Ends, rustls::Error> {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn served(tls: &Tls, schemes: &'static [SignatureScheme], name: &str) -> Option<CertificateDer<'static>> {
    let server = tls.server_config(&[b"http/1.1"]);
    let of = |versions| {
        let (client, _) = shake(&server, &Arc::new(client(versions, schemes)), name).ok()?;
        Some(client.peer_certificates().unwrap()[0].clone())
    };
    let (new, old) = (of(&[&TLS13]), of(&[&TLS12]));
    assert_eq!(new, old, "TLS 1.3 and 1.2 get the same certificate");
    new
}
