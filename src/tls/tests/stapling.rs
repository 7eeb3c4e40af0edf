//! OCSP responses as OpenSSL's responder writes them.

use std::process::Command;

use rcgen::ExtendedKeyUsagePurpose;

use super::{ocsp::Response, *};

/// An authority with its responder, in a folder where OpenSSL finds them.
struct Responder {
    folder: tempfile::TempDir,
    root: Authority,
}

impl Responder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = ca("root", None);
        let delegate = |name: &str, by: &Authority, purposes: &[ExtendedKeyUsagePurpose]| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = purposes.to_vec();
            params.use_authority_key_identifier_extension = true;
            let cert = params.signed_by(&key, &by.issuer).unwrap();
            write(folder.path(), &format!("{name}.pem"), &(cert.pem() + &key.serialize_pem()));
        };
        delegate("responder", &root, &[ExtendedKeyUsagePurpose::OcspSigning]);
        delegate("other", &root, &[ExtendedKeyUsagePurpose::ServerAuth]);
        delegate("stranger", &ca("stranger", None), &[ExtendedKeyUsagePurpose::OcspSigning]);
        let key = root.issuer.key().serialize_pem();
        write(folder.path(), "root.pem", &(root.certificate.pem() + &key));
        Responder { folder, root }
    }

    /// What it says of a certificate whose state is `state` (V, R, or nothing for one that it does not know), signed by
    /// `signer`.
    fn answer(&self, leaf: &Made, state: &str, signer: &str, more: &[&str]) -> Vec<u8> {
        let file = CertFile::parse(leaf.chain().as_bytes(), &Arc::from("leaf"), None);
        let serial: String = file.certs[0].serial().iter().map(|byte| format!("{byte:02X}")).collect();
        let serial = serial.strip_prefix("00").unwrap_or(&serial);
        let revoked = if state == "R" { "250101000000Z" } else { "" };
        let line = format!("{state}\t491231235959Z\t{revoked}\t{serial}\tunknown\t/CN=leaf\n");
        write(self.folder.path(), "index", if state.is_empty() { "" } else { &line });
        write(self.folder.path(), "leaf", &leaf.chain());
        let signer = format!("{signer}.pem");
        let args =
            ["ocsp", "-index", "index", "-CA", "root.pem", "-issuer", "root.pem", "-cert", "leaf", "-respout", "out"];
        let args = [&args, &["-rsigner", &signer, "-no_nonce"][..], more].concat();
        let output = Command::new("openssl").args(args).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(self.folder.path().join("out")).unwrap()
    }
}

/// What the resolver serves at a moment.
fn stapled(tls: &Tls, at: i64) -> Option<Vec<u8>> {
    let index = tls.resolver.index.load();
    index.pick(Some("a.example"), BOTH, at).unwrap().certified_at(at).ocsp.clone()
}

fn put(folder: &Path, name: &str, der: &[u8]) {
    fs::write(folder.join(".new"), der).unwrap();
    fs::rename(folder.join(".new"), folder.join(name)).unwrap();
}

#[test]
fn a_response_is_stapled_as_long_as_it_is_good() {
    let responder = Responder::new();
    let leaf = made(&["a.example"], &PKCS_ECDSA_P256_SHA256, (2020, 2090), Some(&responder.root));
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.pem", &leaf.both());
    write(dir.path(), "root.crt", &responder.root.certificate.pem());
    let (tls, _) = production(dir.path());
    assert_eq!(stapled(&tls, now()), None);
    for signer in ["root", "responder"] {
        let response = responder.answer(&leaf, "V", signer, &["-ndays", "2"]);
        put(dir.path(), "any.ocsp", &response);
        assert_eq!(codes(&tls.reload().unwrap()), Vec::<&str>::new(), "{signer}");
        // As clients get it, which ask for it.
        let (client, _) = shake(&tls.server_config(&[]), &Arc::new(asking()), "a.example").unwrap();
        assert!(client.peer_certificates().is_some());
        assert_eq!(stapled(&tls, now()), Some(response), "{signer}");
        assert_eq!(*SEEN.lock().unwrap(), stapled(&tls, now()).unwrap());
        let info = &tls.inventory().certificates[0];
        let until = info.ocsp_until.unwrap();
        assert!((until - now() - 2 * 86_400).abs() < 600, "{until}");
        // It ends by itself, without a reload.
        assert!(stapled(&tls, until).is_some() && stapled(&tls, until + 1).is_none());
        assert!(stapled(&tls, now() - 86_400).is_none(), "before it began");
    }
    // It is told with the next reading, whatever that finds.
    let told = tls.store.lock().unwrap().load(now() + 3 * 86_400).unwrap();
    assert_eq!((codes(&told), told.diagnostics[0].severity), (vec!["expired-ocsp"], Severity::Warning));
    // The newer of two.
    let longer = responder.answer(&leaf, "V", "root", &["-ndays", "4"]);
    put(dir.path(), "a.ocsp", &longer);
    tls.reload().unwrap();
    assert_eq!(stapled(&tls, now()), Some(longer));
    fs::remove_file(dir.path().join("a.ocsp")).unwrap();
    fs::remove_file(dir.path().join("any.ocsp")).unwrap();
    tls.reload().unwrap();
    assert_eq!(stapled(&tls, now()), None);
}

#[test]
fn a_response_that_helps_nobody_is_told_and_not_stapled() {
    let responder = Responder::new();
    let [leaf, other] = ["a.example", "b.example"]
        .map(|name| made(&[name], &PKCS_ECDSA_P256_SHA256, (2020, 2090), Some(&responder.root)));
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.pem", &leaf.both());
    write(dir.path(), "root.crt", &responder.root.certificate.pem());
    let (tls, _) = production(dir.path());
    let days = &["-ndays", "2"][..];
    let good = responder.answer(&leaf, "V", "root", days);
    let cut = good[..good.len() - 1].to_vec();
    let mut forged = good.clone();
    // The last digit of when it was made.
    let time = good.windows(2).position(|pair| pair == [0x18, 15]).unwrap();
    forged[time + 15] ^= 1;
    for (response, code, why) in [
        (responder.answer(&leaf, "R", "root", days), "revoked-certificate", "is revoked"),
        (responder.answer(&leaf, "", "root", days), "bad-ocsp", "does not know"),
        (responder.answer(&leaf, "V", "root", &[]), "bad-ocsp", "does not say how long"),
        (responder.answer(&leaf, "V", "other", days), "bad-ocsp", "not signed by"),
        (responder.answer(&leaf, "V", "stranger", days), "bad-ocsp", "not signed by"),
        (responder.answer(&other, "V", "root", days), "bad-ocsp", "about no certificate"),
        (forged, "bad-ocsp", "not signed by"),
        (cut, "bad-ocsp", "no OCSP response"),
        (b"0\x03\x0a\x01\x06".to_vec(), "bad-ocsp", "an error"),
        (vec![], "bad-ocsp", "no OCSP response"),
        (vec![0x30; 40_000], "bad-ocsp", "larger than"),
    ] {
        put(dir.path(), "a.ocsp", &response);
        let report = tls.reload().unwrap();
        assert_eq!((codes(&report), stapled(&tls, now())), (vec![code], None), "{why}");
        let finding = &report.diagnostics[0];
        assert!(finding.message.contains(why) && finding.file.ends_with("a.ocsp"), "{why}: {finding}");
        assert_eq!(finding.severity == Severity::Error, code == "revoked-certificate");
        // A gateway starts with it: the certificate is there.
        assert_eq!(production(dir.path()).1.certificates, 1);
    }
}

static SEEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// A client that keeps the response that it is shown.
fn asking() -> ClientConfig {
    #[derive(Debug)]
    struct Keeps(Believer);

    impl ServerCertVerifier for Keeps {
        fn verify_server_cert(
            &self,
            leaf: &CertificateDer<'_>,
            chain: &[CertificateDer<'_>],
            name: &ServerName<'_>,
            response: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            response.clone_into(&mut SEEN.lock().unwrap());
            self.0.verify_server_cert(leaf, chain, name, response, now)
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls12_signature(message, cert, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls13_signature(message, cert, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }

    let mut config = client(ANY, BOTH);
    config.dangerous().set_certificate_verifier(Arc::new(Keeps(Believer(BOTH))));
    config
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_of_responses_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        place in 0usize..2_000,
    ) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let responder = Responder::new();
            let leaf = made(&["a.example"], &PKCS_ECDSA_P256_SHA256, (2020, 2090), Some(&responder.root));
            responder.answer(&leaf, "V", "responder", &["-ndays", "2"])
        });
        let _ = Response::parse(&bytes);
        let mut response = GOOD.clone();
        let place = place % response.len();
        prop_assert!(Response::parse(&response[..place]).is_err());
        let end = (place + bytes.len()).min(response.len());
        response.splice(place..end, bytes);
        let _ = Response::parse(&response);
    }
}
