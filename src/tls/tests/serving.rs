//! Which certificate a client gets, by which policy, and resumption.

use super::*;

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
        let file = CertFile::parse(pem("CERTIFICATE", &der).as_bytes(), &Arc::from("made"), None);
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
    let error =
        Tls::open(&gateway, |_| true, challenges(&gateway.certs), Arc::new(Metrics::new().unwrap())).unwrap_err();
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
