//! Handshakes in memory over certificates made at run time.

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

fn open(folder: &Path, mode: TlsMode, policy: TlsPolicy) -> (Tls, CertReport) {
    let gateway = Gateway {
        certs: folder.to_owned(),
        https: vec!["127.0.0.1:0".parse().unwrap()],
        tls: TlsSettings { policy, mode },
        ..Gateway::default()
    };
    let knows = |name: &str| name.ends_with(".known.example");
    Tls::open(&gateway, knows, Arc::new(Metrics::new().unwrap())).unwrap()
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

#[test]
fn keys_of_every_encoding_meet_their_certificates_under_any_names() {
    let dir = tempfile::tempdir().unwrap();
    let ecdsa = good("sec1.example");
    write(dir.path(), "a/one.crt", &ecdsa.chain());
    write(dir.path(), "b/two.key", &pem("EC PRIVATE KEY", unwrapped(ecdsa.key.serialized_der())));
    let rsa = made(&["pkcs1.example"], &PKCS_RSA_SHA256, (2020, 2090), None);
    write(dir.path(), "three.pem", &(pem("RSA PRIVATE KEY", unwrapped(rsa.key.serialized_der())) + &rsa.chain()));
    let p384 = made(&["p384.example"], &PKCS_ECDSA_P384_SHA384, (2020, 2090), None);
    let eddsa = made(&["ed25519.example"], &PKCS_ED25519, (2020, 2090), None);
    let several = format!(
        "some text\n{}{}{}{}",
        eddsa.chain(),
        p384.key.serialize_pem(),
        p384.chain(),
        eddsa.key.serialize_pem()
    );
    write(dir.path(), "four.PEM", &several);
    let rsa8 = made(&["pkcs8.example"], &PKCS_RSA_SHA256, (2020, 2090), None);
    write(dir.path(), "five.cer", &rsa8.both().replace('\n', "\r\n"));
    write(dir.path(), "readme.txt", "not a certificate");

    let (tls, report) = production(dir.path());
    assert_eq!(codes(&report), Vec::<&str>::new());
    assert_eq!((report.certificates, report.names, report.read), (5, 5, 5));
    for (name, made) in [
        ("sec1.example", &ecdsa),
        ("pkcs1.example", &rsa),
        ("p384.example", &p384),
        ("ed25519.example", &eddsa),
        ("pkcs8.example", &rsa8),
    ] {
        assert_eq!(served(&tls, BOTH, name).as_ref(), Some(&made.der), "{name}");
    }
}

#[test]
fn chains_are_put_in_order_and_completed_from_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let root = ca("root", None);
    let upper = ca("upper", Some(&root));
    let lower = ca("lower", Some(&upper));
    let leaf = made(&["a.example"], &PKCS_ECDSA_P256_SHA256, (2020, 2090), Some(&lower));
    let cert = |authority: &Authority| pem("CERTIFICATE", authority.certificate.der());
    write(dir.path(), "a.pem", &(cert(&root) + &cert(&lower) + &leaf.chain() + &leaf.key.serialize_pem()));
    let (_, report) = production(dir.path());
    assert_eq!((codes(&report), report.certificates), (vec![], 1));

    write(dir.path(), "intermediates.pem", &cert(&upper));
    let (tls, report) = production(dir.path());
    assert_eq!(codes(&report), Vec::<&str>::new());
    let (client, _) = shake(&tls.server_config(&[]), &Arc::new(client(ANY, BOTH)), "a.example").unwrap();
    let want = [&leaf.der, lower.certificate.der(), upper.certificate.der()];
    assert!(
        client.peer_certificates().unwrap().iter().eq(want),
        "the leaf, who signed it, who signed that, and no root"
    );

    let alone = tempfile::tempdir().unwrap();
    write(alone.path(), "a.pem", &leaf.both());
    let (_, report) = production(alone.path());
    assert_eq!(codes(&report), ["incomplete-chain"]);
    assert!(report.diagnostics[0].hint.as_ref().unwrap().contains("lower") && report.faulty.is_empty());
}

#[test]
fn what_is_wrong_is_found_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (a, b) = (good("a.example"), good("b.example"));
    write(dir.path(), "lonely.pem", &("\n".to_owned() + &a.chain()));
    write(dir.path(), "spare.key", &b.key.serialize_pem());
    write(dir.path(), "expired.pem", &made(&["old.example"], &PKCS_ECDSA_P256_SHA256, (2001, 2002), None).both());
    write(dir.path(), "early.pem", &made(&["new.example"], &PKCS_ECDSA_P256_SHA256, (2089, 2090), None).both());
    write(dir.path(), "nameless.pem", &made(&[], &PKCS_ECDSA_P256_SHA256, (2020, 2090), None).both());
    write(dir.path(), "cut.pem", &b.chain().replace("-----END CERTIFICATE-----", ""));
    write(dir.path(), "odd.pem", &pem("CERTIFICATE", b"\x30\x03\x02\x01\x01"));
    write(dir.path(), "oddkey.pem", &pem("PRIVATE KEY", b"\x30\x03\x02\x01\x01"));
    write(dir.path(), "secret.key", &b.key.serialize_pem().replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE"));
    write(dir.path(), "empty.pem", "");
    write(dir.path(), "ssh.key", &pem("OPENSSH PRIVATE KEY", b"x"));
    write(dir.path(), "request.pem", &pem("CERTIFICATE REQUEST", b"x").replace('=', "?"));
    fs::write(dir.path().join("binary.crt"), &*a.der).unwrap();
    let soon = Timestamp::now().as_second() + 3 * 86_400;
    let (_, report) = production(dir.path());
    let mut found: Vec<(String, u32, &str)> =
        report.diagnostics.iter().map(|f| (f.file.replace(&at(""), ""), f.line, f.code)).collect();
    found.sort();
    let want = [
        ("binary.crt", 1, "bad-certificate"),
        ("cut.pem", 1, "bad-certificate"),
        ("early.pem", 1, "early-certificate"),
        ("empty.pem", 1, "bad-certificate"),
        ("expired.pem", 1, "expired-certificate"),
        ("lonely.pem", 2, "certificate-without-key"),
        ("nameless.pem", 1, "nameless-certificate"),
        ("odd.pem", 1, "bad-certificate"),
        ("oddkey.pem", 1, "bad-key"),
        ("secret.key", 1, "bad-key"),
        ("spare.key", 1, "key-without-certificate"),
        ("ssh.key", 1, "bad-key"),
    ];
    assert_eq!(found, want.map(|(file, line, code)| (file.to_owned(), line, code)));
    let text: String = report.diagnostics.iter().map(ToString::to_string).collect();
    let secret = b.key.serialize_pem().lines().nth(1).unwrap().to_owned();
    let shown = "lonely.pem:2:1\n  |\n2 | -----BEGIN CERTIFICATE-----\n  | ^^^^";
    assert!(text.contains(shown), "{text}");
    assert!(!text.contains(&secret), "no finding quotes a key");

    // A certificate that is about to expire, by looking at a good one later.
    let later = tempfile::tempdir().unwrap();
    write(later.path(), "a.pem", &a.both());
    let mut store = Store::new(later.path());
    assert_eq!(codes(&store.load(soon).unwrap()), Vec::<&str>::new());
    let end = date_time_ymd(2090, 1, 1).unix_timestamp();
    let report = store.load(end - 20 * 86_400).unwrap();
    assert_eq!((codes(&report), report.read), (vec!["expiring-certificate"], 0));
    assert_eq!(report.diagnostics[0].severity, Severity::Warning);
    assert!(report.diagnostics[0].message.ends_with("expires on 2090-01-01 00:00 UTC, in 20 days"));
}

#[test]
fn keys_that_anyone_may_read_are_told() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.pem", &good("a.example").both());
    fs::set_permissions(dir.path().join("a.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let (_, report) = production(dir.path());
    assert_eq!(codes(&report), ["exposed-key"]);
    assert!(report.diagnostics[0].message.contains("644") && report.faulty.is_empty());
}

#[test]
fn weak_keys_are_told() {
    let file = CertFile::parse(WEAK.as_bytes(), &Arc::from("weak.pem"));
    let found: Vec<_> = file.findings.iter().map(|finding| (finding.code, finding.severity)).collect();
    assert_eq!(found, [("weak-key", Severity::Error)]);
    assert!(file.findings[0].message.contains("1024 bits"));
}

#[test]
fn five_thousand_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let authority = ca("intermediate", Some(&ca("root", None)));
    let intermediate = pem("CERTIFICATE", authority.certificate.der());
    let ders: Vec<_> = (0..5_000)
        .map(|n| {
            let name = format!("h{n}.example");
            let one = made(&[&name], &PKCS_ECDSA_P256_SHA256, (2020, 2090), Some(&authority));
            fs::write(dir.path().join(format!("{n}.pem")), one.chain() + &intermediate).unwrap();
            write(dir.path(), &format!("{n}.key"), &one.key.serialize_pem());
            one.der
        })
        .collect();
    let before = resident();
    let (tls, report) = production(dir.path());
    println!("5,000 certificates: {:?}, {} KiB", report.elapsed, resident() - before);
    assert_eq!((report.certificates, report.names, codes(&report)), (5_000, 5_000, vec![]));
    let index = tls.resolver.index.load();
    for (n, der) in ders.iter().enumerate() {
        let name = format!("h{n}.example");
        assert_eq!(&index.pick(Some(&name), ECDSA, now()).unwrap().leaf.der, der);
    }
    assert_eq!(served(&tls, BOTH, "h4321.example").as_ref(), Some(&ders[4321]));
    write(dir.path(), "4321.pem", &good("new.example").both());
    let report = tls.reload().unwrap();
    println!("one replaced: {:?}", report.elapsed);
    assert_eq!(report.read, 1);
    assert!(served(&tls, BOTH, "new.example").is_some());
}

/// KiB of memory that this process holds.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

#[test]
fn hosts_without_a_certificate_are_one_finding() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, _) = production(dir.path());
    let host = |text: String| HostPattern::parse(&text).unwrap();
    let hosts: Vec<_> =
        (0..7).map(|n| host(format!("h{n}.b.example"))).chain([host("*.b.example".to_owned())]).collect();
    let finding = tls.uncovered(&hosts).unwrap();
    assert!(finding.message.starts_with("8 hosts of the routes have no certificate: h0.b.example, "), "{finding}");
    assert!(finding.message.ends_with("h4.b.example, and 3 more"), "{finding}");
    write(dir.path(), "b.pem", &good("*.b.example").both());
    tls.reload().unwrap();
    assert_eq!(tls.uncovered(&hosts), None);
    assert!(tls.uncovered(&[host("b.example".to_owned())]).is_some());
}

#[test]
fn exact_comes_before_wildcard_before_default() {
    let dir = tempfile::tempdir().unwrap();
    let (exact, wild, default) = (good("www.a.example"), good("*.a.example"), good("unrelated.example"));
    write(dir.path(), "1.pem", &wild.both());
    write(dir.path(), "2.pem", &exact.both());
    let (tls, _) = production(dir.path());
    assert_eq!(served(&tls, BOTH, "www.a.example"), Some(exact.der.clone()));
    assert_eq!(served(&tls, BOTH, "WWW.A.example"), Some(exact.der));
    assert_eq!(served(&tls, BOTH, "x.a.example"), Some(wild.der));
    for name in ["a.example", "x.y.a.example", "b.example"] {
        assert_eq!(served(&tls, BOTH, name), None, "{name}");
    }
    assert!(tls.why_refused("b.example").starts_with("no certificate covers `b.example`: put its chain and key into "));
    assert!(tls.why_refused("").contains("default.pem"));
    write(dir.path(), "default.pem", &default.both());
    tls.reload().unwrap();
    assert_eq!(served(&tls, BOTH, "b.example"), Some(default.der.clone()));
    let mut nameless = client(ANY, BOTH);
    nameless.enable_sni = false;
    let (client, _) = shake(&tls.server_config(&[]), &Arc::new(nameless), "b.example").unwrap();
    assert_eq!(client.peer_certificates().unwrap()[0], default.der);
}

#[test]
fn the_client_gets_what_it_can_check_and_the_newest_that_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let name = &["a.example"];
    let ecdsa = made(name, &PKCS_ECDSA_P256_SHA256, (2021, 2090), None);
    let rsa = made(name, &PKCS_RSA_SHA256, (2022, 2090), None);
    for (file, text) in [
        ("older.pem", made(name, &PKCS_ECDSA_P256_SHA256, (2020, 2090), None).both()),
        ("ecdsa.pem", ecdsa.both()),
        ("rsa.pem", rsa.both()),
        ("expired.pem", made(name, &PKCS_ECDSA_P256_SHA256, (2022, 2023), None).both()),
    ] {
        write(dir.path(), file, &text);
    }
    let (tls, report) = production(dir.path());
    assert_eq!(served(&tls, ECDSA, "a.example"), Some(ecdsa.der.clone()));
    assert_eq!(served(&tls, BOTH, "a.example"), Some(ecdsa.der));
    assert_eq!(served(&tls, RSA, "a.example"), Some(rsa.der));
    // Nobody gets the expired one, so it is no more than litter.
    assert_eq!(codes(&report), ["expired-certificate"]);
    assert_eq!((report.diagnostics[0].severity, report.faulty.len()), (Severity::Warning, 0));
    fs::remove_file(dir.path().join("rsa.pem")).unwrap();
    tls.reload().unwrap();
    assert_eq!(served(&tls, RSA, "a.example"), None);
    assert!(tls.why_refused("a.example").contains("RSA"));
}

#[test]
fn a_host_without_a_certificate_is_made_one_in_development_only() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("not there");
    let (tls, report) = open(&folder, TlsMode::Development, TlsPolicy::Intermediate);
    assert_eq!((codes(&report), tls.uncovered(&[HostPattern::parse("a.known.example").unwrap()])), (vec![], None));
    let names = |der: CertificateDer<'_>| {
        let file = CertFile::parse(pem("CERTIFICATE", &der).as_bytes(), &Arc::from("made"));
        file.certs[0].names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let one = served(&tls, BOTH, "a.known.example").unwrap();
    assert_eq!(served(&tls, BOTH, "a.known.example"), Some(one.clone()));
    assert_eq!(names(one), ["a.known.example"]);
    assert_eq!(names(served(&tls, BOTH, "unknown.example").unwrap()), ["localhost"]);
    assert_eq!(served(&tls, RSA, "a.known.example"), None);

    let gateway = Gateway {
        certs: folder,
        https: vec!["127.0.0.1:0".parse().unwrap()],
        tls: TlsSettings { mode: TlsMode::Production, ..TlsSettings::default() },
        ..Gateway::default()
    };
    let error = Tls::open(&gateway, |_| true, Arc::new(Metrics::new().unwrap())).unwrap_err();
    assert!(matches!(error, TlsError::NoFolder(_)) && error.to_string().contains("not there: make it"), "{error}");
    let (tls, _) = production(dir.path());
    assert_eq!(served(&tls, BOTH, "a.known.example"), None);
}

#[test]
fn policies_speak_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.pem", &good("a.example").both());
    let (tls, _) = production(dir.path());
    let server = tls.server_config(&[b"h2", b"http/1.1"]);
    let mut h1 = client(ANY, BOTH);
    h1.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let (_, ends) = shake(&server, &Arc::new(h1), "a.example").unwrap();
    assert_eq!(ends.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(ends.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(ends.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    assert!(shake(&server, &Arc::new(client(&[&TLS12], BOTH)), "a.example").is_ok());

    let (tls, _) = open(dir.path(), TlsMode::Production, TlsPolicy::Modern);
    let server = tls.server_config(&[]);
    assert!(shake(&server, &Arc::new(client(&[&TLS13], BOTH)), "a.example").is_ok());
    assert!(shake(&server, &Arc::new(client(&[&TLS12], BOTH)), "a.example").is_err());
}

/// A client that offers the session of one host to every host.
#[derive(Debug)]
struct Careless(ClientSessionMemoryCache, ServerName<'static>);

impl ClientSessionStore for Careless {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(self.1.clone(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&self.1)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(self.1.clone(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&self.1)
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&self.1);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(self.1.clone(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&self.1)
    }
}

#[test]
fn sessions_are_resumed_on_any_thread_for_the_same_host_only() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.pem", &made(&["a.example", "b.example"], &PKCS_ECDSA_P256_SHA256, (2020, 2090), None).both());
    let (tls, _) = production(dir.path());
    let ids = |resumption: Resumption| resumption.tls12_resumption(Tls12Resumption::SessionIdOnly);
    let as_is = |resumption: Resumption| resumption;
    type Way<'a> = (&'a str, &'static SupportedProtocolVersion, &'a dyn Fn(Resumption) -> Resumption);
    let ways: [Way<'_>; 3] = [
        ("TLS 1.3 tickets", &TLS13, &as_is),
        ("TLS 1.2 tickets", &TLS12, &as_is),
        ("TLS 1.2 identifiers", &TLS12, &ids),
    ];
    for (what, version, how) in ways {
        let store = Careless(ClientSessionMemoryCache::new(8), ServerName::try_from("any.example").unwrap());
        let mut config = client(&[version], BOTH);
        config.resumption = how(Resumption::store(Arc::new(store)));
        let config = Arc::new(config);
        let kind = |name: &'static str| {
            // Each listener asks for its own settings, and each handshake is another thread's.
            let (server, config) = (tls.server_config(&[]), config.clone());
            let worker = std::thread::spawn(move || {
                let (mut client, mut server) = shake(&server, &config, name).unwrap();
                server.writer().write_all(b"x").unwrap();
                let mut wire = Vec::new();
                server.write_tls(&mut wire).unwrap();
                client.read_tls(&mut wire.as_slice()).unwrap();
                client.process_new_packets().unwrap();
                let mut got = [0];
                client.reader().read_exact(&mut got).unwrap();
                server.handshake_kind().unwrap()
            });
            worker.join().unwrap()
        };
        let full = |kind| matches!(kind, HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest);
        assert!(full(kind("a.example")), "{what}");
        assert_eq!(kind("a.example"), HandshakeKind::Resumed, "{what}");
        assert!(full(kind("b.example")), "{what}: a session of another host");
    }
}

#[test]
fn a_reload_reads_what_changed_and_a_bad_file_keeps_its_last_good_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (good("a.example"), good("b.example"));
    write(dir.path(), "a.pem", &a.both());
    write(dir.path(), "b.crt", &b.chain());
    write(dir.path(), "b.key", &b.key.serialize_pem());
    let (tls, report) = production(dir.path());
    assert_eq!(report.read, 3);
    let server = tls.server_config(&[]);
    assert_eq!(tls.reload().unwrap().read, 0);

    let renewed = good("a.example");
    write(dir.path(), "a.pem", &renewed.both());
    let report = tls.reload().unwrap();
    assert_eq!((report.read, report.removed, report.certificates), (1, 0, 2));
    assert_eq!(served(&tls, BOTH, "a.example"), Some(renewed.der.clone()));
    let (client, _) = shake(&server, &Arc::new(client(ANY, BOTH)), "a.example").unwrap();
    assert_eq!(client.peer_certificates().unwrap()[0], renewed.der, "settings that were given out follow");

    // Cut off.
    write(dir.path(), "a.pem", &a.both()[..100]);
    let report = tls.reload().unwrap();
    assert_eq!((report.read, report.faulty.len(), codes(&report)), (1, 1, vec!["bad-certificate"]));
    assert_eq!(served(&tls, BOTH, "a.example"), Some(renewed.der.clone()));
    let metrics = || String::from_utf8(tls.metrics.text().unwrap()).unwrap();
    assert!(metrics().contains("waypost_certificate_faulty 1") && metrics().contains("waypost_certificates 2"));

    // Half of a renewal: the key comes later.
    let next = good("b.example");
    write(dir.path(), "b.crt", &next.chain());
    let report = tls.reload().unwrap();
    assert_eq!(codes(&report), ["bad-certificate", "certificate-without-key", "key-without-certificate"]);
    assert_eq!(served(&tls, BOTH, "b.example"), Some(b.der.clone()));
    write(dir.path(), "b.key", &next.key.serialize_pem());
    tls.reload().unwrap();
    assert_eq!(served(&tls, BOTH, "b.example"), Some(next.der));

    // An expired one is no replacement.
    write(dir.path(), "a.pem", &made(&["a.example"], &PKCS_ECDSA_P256_SHA256, (2000, 2001), None).both());
    tls.reload().unwrap();
    assert_eq!(served(&tls, BOTH, "a.example"), Some(renewed.der));

    let expiry = r#"waypost_certificate_expiry_timestamp_seconds{name="a.example"}"#;
    assert!(metrics().contains(expiry));
    fs::remove_file(dir.path().join("a.pem")).unwrap();
    let report = tls.reload().unwrap();
    assert_eq!((report.read, report.removed, codes(&report)), (0, 1, vec![]));
    assert_eq!(served(&tls, BOTH, "a.example"), None);
    assert!(!metrics().contains(expiry));
    fs::rename(dir.path(), dir.path().with_extension("away")).unwrap();
    assert!(tls.reload().is_err());
    assert!(served(&tls, BOTH, "b.example").is_some());
    fs::rename(dir.path().with_extension("away"), dir.path()).unwrap();
}

#[test]
fn no_handshake_fails_while_a_file_is_replaced() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let dir = tempfile::tempdir().unwrap();
    let both = [good("a.example"), good("a.example")];
    write(dir.path(), "a.pem", &both[0].both());
    let (tls, _) = production(dir.path());
    let (server, client) = (tls.server_config(&[]), Arc::new(client(ANY, BOTH)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let shaking = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (client, _) = shake(&server, &client, "a.example").unwrap();
                if let Some(chain) = client.peer_certificates() {
                    assert!(both.iter().any(|made| made.der == chain[0]));
                }
            }
        });
        for n in 1..=20 {
            write(dir.path(), "a.pem", &both[n % 2].both());
            assert_eq!(tls.reload().unwrap().read, 1);
            assert_eq!(tls.resolver.index.load().entries()[0].leaf.der, both[n % 2].der);
        }
        done.store(true, Ordering::Relaxed);
        shaking.join().unwrap();
    });
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..2_000usize, with: u8) {
        let name: Arc<str> = Arc::from("any.pem");
        CertFile::parse(&bytes, &name);
        CertFile::parse(pem("CERTIFICATE", &bytes).as_bytes(), &name);
        for kind in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
            CertFile::parse(pem(kind, &bytes).as_bytes(), &name);
        }
        // One byte of a good one changed.
        static MADE: std::sync::LazyLock<Made> = std::sync::LazyLock::new(|| good("a.example"));
        for (label, der) in [("CERTIFICATE", &*MADE.der), ("PRIVATE KEY", MADE.key.serialized_der())] {
            let mut der = der.to_vec();
            let at = at % der.len();
            der[at] = with;
            CertFile::parse(pem(label, &der).as_bytes(), &name);
            let mut text = pem(label, &der).into_bytes();
            let at = (at * 2) % text.len();
            text[at] = with;
            CertFile::parse(&text, &name);
        }
    }
}

/// A certificate for an RSA key of 1024 bits, which rcgen doesn't make. Nobody has the key.
const WEAK: &str = "\
-----BEGIN CERTIFICATE-----
MIICFTCCAX6gAwIBAgIUbl5AkAiyMgIGUlhwllWiBOlNMdwwDQYJKoZIhvcNAQEL
BQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjExMjIxNDE5MDNaGA8yMDgxMDgyNTE0
MTkwM1owDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkC
gYEAyo548daQeDvdZAJQcexRTPb9JuJS2tJwH4uSndFX10+mHX7ZX3VuCnaCmTN2
3kgLjdi5+K3+QFMwVz3A+NPWENdYt6xwgdX2DFkucquFh0XcGvbwtuax41ZgHVGo
Ua0zVSF7oRwU5EJaMI+BbubKlDlrtxZrO5JQ7PgaUfgbIbsCAwEAAaNsMGowHQYD
VR0OBBYEFFC6u8DaNLPsfyDPrwoU8gnlQuIkMB8GA1UdIwQYMBaAFFC6u8DaNLPs
fyDPrwoU8gnlQuIkMA8GA1UdEwEB/wQFMAMBAf8wFwYDVR0RBBAwDoIMd2Vhay5l
eGFtcGxlMA0GCSqGSIb3DQEBCwUAA4GBAJN1LPr+7Ui/Mp67I38cBsiELC/tglOM
x0pkrNOsEExZo3RudnLsDOXoLN17twsnR+Y7k55CNi0oBv0u1nr0CVuxn99XXhzt
NCFzeSfJZwvOYrwbTIpWDlQZ+nIEDXLiETlZuRfzLOTtJjr4wjhO7CwmRZsriUsd
2j4mciiFGVik
-----END CERTIFICATE-----
";
