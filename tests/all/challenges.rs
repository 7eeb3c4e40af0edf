//! Authorities that ask whether a name leads here (ACME): on every lane, in every phase, and whatever a site refuses.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use ::aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};
use waypost::{
    config::{AcmeSettings, Gateway},
    model::{CHALLENGE_PATH, Phase},
    server::Running,
    tls::ACME_TLS,
};
use x509_parser::{extensions::GeneralName, oid_registry::asn1_rs::oid, prelude::*};

use crate::{
    lanes::{Lane, Request},
    program::waypost,
    serve::{gateway, metric},
};

const THUMB: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA";

/// Refuses everybody in every way it can, and wants HTTPS.
const CLOSED: &str = r#"
https = "require"
[guard]
deny = ["0.0.0.0/0", "::/0"]
methods = ["OPTIONS"]
extra-probes = ["/.well-known"]
[[guard.rule]]
deny = 403
[[guard.rate]]
name = "all"
requests = 1
seconds = 86400
"#;

/// A site of each phase that is closed, one that has a page under the path, and one that gets no certificates.
fn node() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let routes = dir.path().join("routes");
    fs::create_dir(&routes).unwrap();
    let site = |name: &str, more: &str| {
        let head = format!("name = \"{name}\"\nhosts = [\"{name}.example\", \"*.{name}.example\"]\n");
        fs::write(routes.join(format!("{name}.toml")), format!("{head}home = \"https://www.new.example/\"\n{more}"))
            .unwrap();
    };
    for phase in Phase::ALL {
        site(phase.name(), &format!("origin = \"http://127.0.0.1:1\"\n{CLOSED}[lifecycle]\n{phase} = 2001-01-01\n"));
    }
    let rule = format!("[[rule]]\nfrom = \"{CHALLENGE_PATH}{{t}}\"\ntext = \"of the site: {{t}}\"\nfirst = true\n");
    let rule = rule.replace("{t}\"\ntext = \"of the site: {t}", "{t}\"\ntext = \"of the site");
    site("open", &rule);
    site("apart", &format!("acme = false\n{rule}"));
    dir
}

fn settings(node: &Path) -> Gateway {
    let directory = Some("https://127.0.0.1:1/directory".to_owned());
    let gateway = gateway(&node.join("routes"));
    let acme = AcmeSettings { directory, agrees: true, ..gateway.acme.clone() };
    Gateway { acme, certs: node.join("certs"), ..gateway }
}

#[test]
fn an_authority_is_answered_on_every_lane_whatever_a_site_refuses() {
    let node = node();
    let target = format!("{CHALLENGE_PATH}{TOKEN}");
    for &lane in Lane::ALL {
        let running = lane.start(settings(node.path()));
        let mut client = lane.client(&running);
        let none = client.get("open.example", &target);
        assert_eq!((none.status, none.text().contains("no account")), (404, true), "{lane}");
        running.reloader.challenges().set_thumbprint(Some(THUMB.to_owned())).unwrap();

        let hosts = Phase::ALL.map(|phase| format!("{}.example", phase.name()));
        let below = hosts.iter().map(|host| format!("www.{host}"));
        let hosts: Vec<String> = hosts.iter().cloned().chain(below).chain(["open.example".to_owned()]).collect();
        for host in &hosts {
            let get = Request::get(host, target.as_bytes());
            for (method, body) in [("GET", format!("{TOKEN}.{THUMB}")), ("HEAD", String::new())] {
                let answer = client.ask(&Request { method, ..get.clone() });
                assert_eq!((answer.status, answer.text()), (200, body), "{method} {host}: {lane}");
                for (name, value) in [
                    ("content-type", "text/plain"),
                    ("content-length", "87"),
                    ("x-content-type-options", "nosniff"),
                    ("cache-control", "no-store"),
                ] {
                    assert_eq!(answer.header(name), value, "{method} {host}: {lane}");
                }
            }
        }
        let counted = metric(&running, "waypost_requests_total{outcome=\"challenge\"}");
        assert_eq!(counted, (2 * hosts.len() + 1) as f64, "{lane}");

        // Everything else below the path is as any other URL.
        let mut text = |host: &str, method: &str, target: &str| {
            let answer = client.ask(&Request { method, ..Request::get(host, target.as_bytes()) });
            (answer.status, answer.text())
        };
        let of_site = (200, "of the site".to_owned());
        assert_eq!(text("apart.example", "GET", &target), of_site, "{lane}");
        assert_eq!(text("open.example", "POST", &target), of_site, "{lane}");
        assert_eq!(text("open.example", "GET", &format!("{CHALLENGE_PATH}a.b")), of_site, "{lane}");
        assert_eq!(text("open.example", "GET", &format!("{target}?x")), of_site, "{lane}");
        for (host, method, rest) in [("redirect.example", "POST", TOKEN), ("redirect.example", "GET", "a.b")] {
            assert_eq!(text(host, method, &format!("{CHALLENGE_PATH}{rest}")).0, 403, "{method} {rest}: {lane}");
        }
        assert_eq!(text("nobody.example", "GET", &target).0, 404, "{lane}");
        running.reloader.challenges().set_thumbprint(None).unwrap();
        running.stop();
    }
}

/// Where no authority is named, its path is a site's own: an old server that is still proxied may prove its names itself.
#[test]
fn without_an_authority_the_path_is_the_sites() {
    let node = node();
    let running = Lane::Fast.start(Gateway {
        acme: AcmeSettings { directory: None, ..settings(node.path()).acme },
        ..settings(node.path())
    });
    running.reloader.challenges().set_thumbprint(Some(THUMB.to_owned())).unwrap();
    let answer = Lane::Fast.client(&running).get("open.example", &format!("{CHALLENGE_PATH}{TOKEN}"));
    assert_eq!((answer.status, answer.text()), (200, "of the site".to_owned()));
    running.stop();
}

/// One node orders, all answer: nothing but the folder is between them.
#[test]
fn a_node_that_does_not_order_answers_too() {
    let node = node();
    let lane = Lane::Fast;
    let [orders, answers] = [(); 2].map(|()| lane.start(settings(node.path())));
    orders.reloader.challenges().set_thumbprint(Some(THUMB.to_owned())).unwrap();
    answers.reloader.reload_now().unwrap();
    let answer = lane.client(&answers).get("open.example", &format!("{CHALLENGE_PATH}{TOKEN}"));
    assert_eq!(answer.text(), format!("{TOKEN}.{THUMB}"));
    orders.stop();
    answers.stop();
}

#[test]
fn explain_tells_of_it() {
    let node = node();
    let config = "[acme]\ndirectory = \"https://ca.example/directory\"\nagree-terms = true\n";
    fs::write(node.path().join("gateway.toml"), config).unwrap();
    let explain = |method: &str| {
        let url = format!("http://redirect.example{CHALLENGE_PATH}{TOKEN}");
        let output =
            waypost(node.path(), &["explain", &url, "--from", "192.0.2.1", "--method", method]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = explain("GET");
    assert!(told.contains("an authority asks") && told.contains("200 challenge") && told.contains(TOKEN), "{told}");
    assert!(explain("POST").contains("403 denied"), "{}", explain("POST"));
}

/// An authority that asks by `tls-alpn-01`: keeps the certificate that it is shown, and believes every one.
#[derive(Debug, Default)]
struct Validator(Mutex<Vec<CertificateDer<'static>>>);

impl ServerCertVerifier for Validator {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = std::iter::once(leaf).chain(chain).map(|cert| cert.clone().into_owned()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls13_signature(message, cert, signed)
    }

    /// By hand: the library of clients refuses the critical extension, as browsers do.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let (_, cert) = X509Certificate::from_der(cert).unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &cert.public_key().subject_public_key.data);
        let valid = key.verify(message, signed.signature()).map(|()| HandshakeSignatureValid::assertion());
        valid.map_err(|_| rustls::Error::General("bad signature".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The certificate that a client sees which offers these protocols, which of them it agreed on, and what it reads
/// afterwards; an error if there is no handshake.
fn validate(
    running: &Running,
    version: &'static SupportedProtocolVersion,
    host: &str,
    alpn: &[&[u8]],
) -> std::io::Result<(Vec<CertificateDer<'static>>, Option<Vec<u8>>, usize)> {
    use std::io::{Read, Write};
    let validator = Arc::new(Validator::default());
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(validator.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, std::net::TcpStream::connect(running.https[0])?);
    stream.sock.set_read_timeout(Some(crate::client::PATIENCE))?;
    stream.flush()?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let agreed = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
    let mut rest = Vec::new();
    // The server says that it is done, and closes: this ends.
    let read = match alpn {
        [protocol] if *protocol == ACME_TLS => stream.read_to_end(&mut rest)?,
        _ => 0,
    };
    let seen = validator.0.lock().unwrap().clone();
    Ok((seen, agreed, read))
}

#[test]
fn an_authority_sees_the_certificate_of_its_challenge_and_nobody_else_does() {
    let node = node();
    let running = Lane::Tls13.start(settings(node.path()));
    let challenges = running.reloader.challenges();
    let ask = |version, host: &str| validate(&running, version, host, &[ACME_TLS]);
    for version in [&TLS13, &TLS12] {
        let failed =
            |running: &Running| metric(running, "waypost_tls_handshake_failures_total{reason=\"nothing_in_common\"}");
        let before = failed(&running);
        assert!(ask(version, "open.example").is_err(), "nobody is proving that name");
        assert_eq!(failed(&running), before + 1.0);

        challenges.publish_alpn("open.example", [7; 32]).unwrap();
        let (chain, agreed, read) = ask(version, "open.example").unwrap();
        assert_eq!((chain.len(), agreed.as_deref(), read), (1, Some(ACME_TLS), 0));
        // RFC 8737, 3: it signed itself; its only name is the host; the digest stands in a critical extension.
        let (_, cert) = X509Certificate::from_der(&chain[0]).unwrap();
        assert_eq!(cert.subject().as_raw(), cert.issuer().as_raw());
        let names = cert.subject_alternative_name().unwrap().unwrap();
        assert!(matches!(names.value.general_names[..], [GeneralName::DNSName("open.example")]));
        let identifier = cert.get_extension_unique(&oid!(1.3.6.1.5.5.7.1.31)).unwrap().unwrap();
        assert!(identifier.critical);
        assert_eq!(identifier.value, [&[4, 32][..], &[7; 32]].concat());

        // For another host, and for one that no site has, though somebody published it.
        assert!(ask(version, "www.open.example").is_err());
        challenges.publish_alpn("nobody.example", [7; 32]).unwrap();
        assert!(ask(version, "nobody.example").is_err());
        // A citizen's browser never gets it, nor does who offers that protocol among others.
        for alpn in [&[&b"h2"[..]][..], &[], &[ACME_TLS, b"http/1.1"]] {
            let (chain, agreed, _) = validate(&running, version, "open.example", alpn).unwrap();
            let (_, cert) = X509Certificate::from_der(&chain[0]).unwrap();
            assert!(cert.get_extension_unique(&oid!(1.3.6.1.5.5.7.1.31)).unwrap().is_none());
            assert_ne!(agreed.as_deref(), Some(ACME_TLS));
        }
        challenges.withdraw_alpn("open.example").unwrap();
        assert!(ask(version, "open.example").is_err());
    }
    running.stop();
}
