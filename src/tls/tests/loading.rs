//! Files: what is read from them, what is found wrong, what a reload keeps.

use super::*;

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
fn files_of_any_name_are_read_if_they_hold_pem() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, old] = ["a.example", "b.example", "old.example"].map(good);
    write(dir.path(), "site", &a.chain());
    write(dir.path(), "a/privkey", &a.key.serialize_pem());
    write(dir.path(), "b.example", &b.chain());
    write(dir.path(), "b.txt", &b.key.serialize_pem());
    for ignored in ["README.md", "a.pem~", "a.pem.bak", ".hidden.pem"] {
        write(dir.path(), ignored, &old.both());
    }
    write(dir.path(), "notes", "BEGIN with `openssl req`");
    fs::write(dir.path().join("a.p12"), b"0\x82\x01\x00").unwrap();
    fs::write(dir.path().join("large"), vec![b' '; 2 << 20]).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let (tls, report) = production(dir.path());
    assert_eq!((codes(&report), report.certificates, report.read), (vec![], 2, 4));
    assert_eq!(served(&tls, BOTH, "a.example").as_ref(), Some(&a.der));

    // Emptied, as by a full disk.
    write(dir.path(), "site", "");
    let report = tls.reload().unwrap();
    assert!(codes(&report).contains(&"bad-certificate") && report.read == 1, "{report:?}");
    assert_eq!(served(&tls, BOTH, "a.example"), Some(a.der));
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
    assert_eq!((codes(&report), report.certificates), (vec!["incomplete-chain"], 1), "upper is missing");
    assert!(report.diagnostics[0].message.contains("`CN=upper`"), "{}", report.diagnostics[0]);

    write(dir.path(), "intermediates.pem", &cert(&upper));
    let (tls, report) = production(dir.path());
    assert_eq!(codes(&report), Vec::<&str>::new());
    let (client, _) = shake(&tls.server_config(&[]), &Arc::new(client(ANY, BOTH)), "a.example").unwrap();
    let want = [&leaf.der, lower.certificate.der(), upper.certificate.der()];
    assert!(
        client.peer_certificates().unwrap().iter().eq(want),
        "the leaf, who signed it, who signed that, and no root"
    );

    // A root of one's own: known once it is in the folder.
    fs::remove_file(dir.path().join("a.pem")).unwrap();
    write(dir.path(), "a.pem", &(leaf.both() + &cert(&lower) + &cert(&upper)));
    let report = tls.reload().unwrap();
    assert_eq!((codes(&report), report.diagnostics[0].severity), (vec!["incomplete-chain"], Severity::Warning));
    assert!(report.diagnostics[0].hint.as_ref().unwrap().contains("root of your own authority"));
    write(dir.path(), "root.crt", &cert(&root));
    assert_eq!(codes(&tls.reload().unwrap()), Vec::<&str>::new());

    let alone = tempfile::tempdir().unwrap();
    write(alone.path(), "a.pem", &leaf.both());
    let (_, report) = production(alone.path());
    assert_eq!(codes(&report), ["incomplete-chain"]);
    assert!(report.diagnostics[0].hint.as_ref().unwrap().contains("lower") && report.faulty.is_empty());
}

#[test]
fn of_namesakes_the_one_that_signed_is_served() {
    let authority = |name: &str, by: Option<&Authority>| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = match by {
            Some(by) => params.signed_by(&key, &by.issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Authority { certificate, issuer: Issuer::new(params, key) }
    };
    let root = authority("root", None);
    let (right, wrong) = (authority("twin", Some(&root)), authority("twin", Some(&root)));
    // Without key identifiers, as some private authorities still issue.
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().signed_by(&key, &right.issuer).unwrap();
    let cert = |certificate: &Certificate| pem("CERTIFICATE", certificate.der());
    for (beside, elsewhere) in [(&wrong, &right), (&right, &wrong)] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.pem", &(cert(&leaf) + &cert(&beside.certificate) + &key.serialize_pem()));
        write(dir.path(), "other.pem", &(cert(&elsewhere.certificate) + &cert(&root.certificate)));
        let (tls, report) = production(dir.path());
        assert_eq!(codes(&report), Vec::<&str>::new());
        let (client, _) = shake(&tls.server_config(&[]), &Arc::new(client(ANY, BOTH)), "a.example").unwrap();
        assert_eq!(client.peer_certificates().unwrap()[1], *right.certificate.der());
    }
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.pem", &(cert(&leaf) + &cert(&wrong.certificate) + &key.serialize_pem()));
    write(dir.path(), "root.pem", &cert(&root.certificate));
    assert_eq!(codes(&production(dir.path()).1), ["incomplete-chain"]);
}

#[test]
fn signatures_of_every_kind_are_checked() {
    let names = || CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    for kind in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519, &PKCS_RSA_SHA256] {
        let keys = [(); 2].map(|()| KeyPair::generate_for(kind).unwrap());
        let certs = keys.each_ref().map(|key| names().self_signed(key).unwrap());
        let parsed =
            certs.each_ref().map(|cert| CertFile::parse(cert.pem().as_bytes(), &Arc::from("a"), None).certs.remove(0));
        assert!(parsed[0].is_root() && parsed[1].is_root());
        assert!(!parsed[0].is_issued_by(&parsed[1]), "same names, another key");
        let fresh = CertFile::parse(certs[0].pem().as_bytes(), &Arc::from("a"), None).certs.remove(0);
        assert!(!fresh.is_issued_by(&parsed[1]) && fresh.is_issued_by(&parsed[0]));
    }
}

#[test]
fn roots_that_browsers_know_end_a_chain() {
    let file = CertFile::parse(KNOWN.as_bytes(), &Arc::from("known.pem"), None);
    let known = |cert: &cert::Cert| webpki_roots::TLS_SERVER_ROOTS.iter().any(|root| cert.is_vouched_for_by(root));
    assert!(file.findings.is_empty() && known(&file.certs[0]));
    let own = CertFile::parse(good("a.example").chain().as_bytes(), &Arc::from("own.pem"), None);
    assert!(!known(&own.certs[0]));
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
    let report = Store::new(&settings(dir.path())).load(now()).unwrap();
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
    let mut store = Store::new(&settings(later.path()));
    assert_eq!(codes(&store.load(soon).unwrap()), Vec::<&str>::new());
    let end = date_time_ymd(2090, 1, 1).unix_timestamp();
    let report = store.load(end - 20 * 86_400).unwrap();
    assert_eq!((codes(&report), report.read), (vec!["expiring-certificate"], 0));
    assert_eq!(report.diagnostics[0].severity, Severity::Warning);
    assert!(report.diagnostics[0].message.ends_with("expires on 2090-01-01 00:00 UTC, in 20 days"));
}

#[test]
fn an_authority_with_its_key_is_seen() {
    // `openssl req -x509 -subj /CN=h`: a self-signed authority without names.
    let dir = tempfile::tempdir().unwrap();
    let authority = ca("h", None);
    let both = pem("CERTIFICATE", authority.certificate.der()) + &authority.issuer.key().serialize_pem();
    write(dir.path(), "h.pem", &both);
    let (_, report) = production(dir.path());
    assert_eq!((codes(&report), report.faulty.len()), (vec!["nameless-certificate"], 1));
    assert!(report.diagnostics[0].hint.as_ref().unwrap().contains("alternative names"));
}

#[test]
fn a_start_ends_at_files_that_cannot_be_used() {
    let key = good("a.example").key.serialize_pem();
    let cases = [
        ("privkey", key.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE"), "privkey:1: this key has a passphrase"),
        ("a.key", pem("PRIVATE KEY", b"\x30\x03\x02\x01\x01"), "a.key:1: this key can't be used"),
        ("a.pem", pem("CERTIFICATE", b"\x30\x03\x02\x01\x01"), "a.pem:1: this certificate is malformed"),
        ("empty.pem", String::new(), "empty.pem:1: this file is empty (write the chain"),
    ];
    for mode in [TlsMode::Production, TlsMode::Development] {
        let dir = tempfile::tempdir().unwrap();
        let open = || try_open(dir.path(), mode, TlsPolicy::Intermediate).map(|_| ());
        for (name, text, words) in &cases {
            write(dir.path(), name, text);
            let error = open().unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\n') && !error.contains("more"), "{error}");
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        write(dir.path(), "empty.pem", "");
        let error = open().unwrap_err().to_string();
        assert!(error.ends_with("; and 1 more, which `waypost check` lists"), "{error}");
        fs::remove_file(dir.path().join("link")).unwrap();
        fs::remove_file(dir.path().join("empty.pem")).unwrap();
        // What concerns the hosts of one certificate only.
        write(dir.path(), "spare.key", &key);
        write(dir.path(), "lonely.pem", &good("b.example").chain());
        write(dir.path(), "old.pem", &made(&["old.example"], &PKCS_ECDSA_P256_SHA256, (2001, 2002), None).both());
        open().unwrap();
    }
}

#[test]
fn what_cannot_be_looked_at_is_not_gone() {
    use std::os::unix::fs::symlink;
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [a, b] = ["a.example", "b.example"].map(good);
    write(elsewhere.path(), "a.pem", &a.both());
    write(elsewhere.path(), "live/b.pem", &b.both());
    symlink(elsewhere.path().join("a.pem"), dir.path().join("a.pem")).unwrap();
    symlink(elsewhere.path().join("live"), dir.path().join("live")).unwrap();
    let (tls, report) = production(dir.path());
    assert_eq!((codes(&report), report.certificates), (vec![], 2));

    let away = |name: &str| fs::rename(elsewhere.path().join(name), elsewhere.path().join("away")).unwrap();
    let back = |name: &str| fs::rename(elsewhere.path().join("away"), elsewhere.path().join(name)).unwrap();
    for (name, host, made, live) in [("a.pem", "a.example", &a, 2), ("live", "b.example", &b, 1)] {
        away(name);
        for read in [1, 0] {
            let report = tls.reload().unwrap();
            assert_eq!((codes(&report), report.removed, report.read), (vec!["unreadable"], 0, read), "{name}");
            assert!(report.faulty[0].ends_with(name) && report.certificates == live);
        }
        assert_eq!(served(&tls, BOTH, host).as_ref(), Some(&made.der));
        back(name);
        assert_eq!(codes(&tls.reload().unwrap()), Vec::<&str>::new());
        away(name);
        tls.reload().unwrap();
        fs::remove_file(dir.path().join(name)).unwrap();
        assert_eq!(codes(&tls.reload().unwrap()), Vec::<&str>::new());
        assert_eq!(served(&tls, BOTH, host), None);
        back(name);
    }
}

#[test]
fn the_expiry_of_every_name_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let kind = &PKCS_ECDSA_P256_SHA256;
    write(dir.path(), "two.pem", &made(&["a.example", "b.example"], kind, (2020, 2080), None).both());
    write(dir.path(), "one.pem", &made(&["a.example"], kind, (2021, 2090), None).both());
    let (tls, _) = production(dir.path());
    let text = String::from_utf8(tls.metrics.text().unwrap()).unwrap();
    for (name, year) in [("a.example", 2090), ("b.example", 2080)] {
        let at = date_time_ymd(year, 1, 1).unix_timestamp();
        let line = format!("waypost_certificate_expiry_timestamp_seconds{{name=\"{name}\"}} {at}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn the_names_whose_expiry_is_shown_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<String> = (0..=MAX_EXPIRIES).map(|n| format!("h{n}.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let kind = &PKCS_ECDSA_P256_SHA256;
    write(dir.path(), "a.pem", &made(&many, kind, (2021, 2090), None).both());
    write(dir.path(), "b.pem", &made(&["z.example"], kind, (2020, 2090), None).both());
    let (tls, _) = production(dir.path());
    let text = String::from_utf8(tls.metrics.text().unwrap()).unwrap();
    let shown = text.lines().filter(|line| line.starts_with("waypost_certificate_expiry_timestamp_seconds{"));
    assert_eq!(shown.count(), MAX_EXPIRIES);
    assert!(text.contains("{name=\"z.example\"}") && text.contains("{name=\"h0.example\"}"));
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
    let file = CertFile::parse(WEAK.as_bytes(), &Arc::from("weak.pem"), None);
    let found: Vec<_> = file.findings.iter().map(|finding| (finding.code, finding.severity)).collect();
    assert_eq!(found, [("weak-key", Severity::Error)]);
    assert!(file.findings[0].message.contains("1024 bits"));
    assert!(file.certs[0].is_root(), "by its names: nobody checks such signatures");
}

#[test]
fn five_thousand_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let root = ca("root", None);
    let authority = ca("intermediate", Some(&root));
    let intermediate = pem("CERTIFICATE", authority.certificate.der());
    write(dir.path(), "root.crt", &pem("CERTIFICATE", root.certificate.der()));
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

/// The seeds of the fuzz target, and what is near them.
#[test]
fn the_fuzz_target_holds_for_its_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/secrets");
    let mut count = 0;
    for seed in fs::read_dir(seeds).unwrap() {
        let bytes = fs::read(seed.unwrap().path()).unwrap();
        for (place, value) in (0..bytes.len()).flat_map(|place| [0, 0x30, 0x80, 0xFF].map(|value| (place, value))) {
            let mut near = bytes.clone();
            near[place] = value;
            fuzz(&near);
            fuzz(&bytes[..place]);
        }
        count += 1;
    }
    assert_eq!(count, 5);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..2_000usize, with: u8) {
        let name: Arc<str> = Arc::from("any.pem");
        CertFile::parse(&bytes, &name, None);
        CertFile::parse(pem("CERTIFICATE", &bytes).as_bytes(), &name, None);
        for kind in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
            CertFile::parse(pem(kind, &bytes).as_bytes(), &name, None);
        }
        // One byte of a good one changed.
        static MADE: std::sync::LazyLock<Made> = std::sync::LazyLock::new(|| good("a.example"));
        for (label, der) in [("CERTIFICATE", &*MADE.der), ("PRIVATE KEY", MADE.key.serialized_der())] {
            let mut der = der.to_vec();
            let at = at % der.len();
            der[at] = with;
            for cert in CertFile::parse(pem(label, &der).as_bytes(), &name, None).certs {
                cert.is_root();
            }
            let mut text = pem(label, &der).into_bytes();
            let at = (at * 2) % text.len();
            text[at] = with;
            CertFile::parse(&text, &name, None);
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

/// A root of Mozilla's list (DigiCert TLS ECC P384 Root G5).
const KNOWN: &str = "\
-----BEGIN CERTIFICATE-----
MIICGTCCAZ+gAwIBAgIQCeCTZaz32ci5PhwLBCou8zAKBggqhkjOPQQDAzBOMQsw
CQYDVQQGEwJVUzEXMBUGA1UEChMORGlnaUNlcnQsIEluYy4xJjAkBgNVBAMTHURp
Z2lDZXJ0IFRMUyBFQ0MgUDM4NCBSb290IEc1MB4XDTIxMDExNTAwMDAwMFoXDTQ2
MDExNDIzNTk1OVowTjELMAkGA1UEBhMCVVMxFzAVBgNVBAoTDkRpZ2lDZXJ0LCBJ
bmMuMSYwJAYDVQQDEx1EaWdpQ2VydCBUTFMgRUNDIFAzODQgUm9vdCBHNTB2MBAG
ByqGSM49AgEGBSuBBAAiA2IABMFEoc8Rl1Ca3iOCNQfN0MsYndLxf3c1TzvdlHJS
7cI7+Oz6e2tYIOyZrsn8aLN1udsJ7MgT9U7GCh1mMEy7H0cKPGEQQil8pQgO4CLp
0zVozptjn4S1mU1YoI71VOeVyaNCMEAwHQYDVR0OBBYEFMFRRVBZqz7nLFr6ICIS
B4CIfBFqMA4GA1UdDwEB/wQEAwIBhjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49
BAMDA2gAMGUCMQCJao1H5+z8blUD2WdsJk6Dxv3J+ysTvLd6jLRl0mlpYxNjOyZQ
LgGheQaRnUi/wr4CMEfDFXuxoJGZSZOoPHzoRgaLLPIxAJSdYsiJvRmEFOml+wG4
DXZDjC5Ty3zfDBeWUA==
-----END CERTIFICATE-----
";
