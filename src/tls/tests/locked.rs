//! Keys that only a passphrase opens.

use std::{process::Command, time::Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

/// A node whose passphrase is in a file, and its folder of certificates.
fn node(passphrase: &str) -> (tempfile::TempDir, Gateway) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "passphrase", passphrase);
    fs::create_dir(dir.path().join("certs")).unwrap();
    let tls = TlsSettings { passphrase_file: Some(dir.path().join("passphrase")), ..TlsSettings::default() };
    let gateway = Gateway { tls, ..settings(&dir.path().join("certs")) };
    (dir, gateway)
}

fn openssl(folder: &Path, args: &[&str]) {
    let output = Command::new("openssl").args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn found(gateway: &Gateway) -> (usize, Vec<&'static str>, Vec<String>) {
    let report = check(gateway, []).unwrap();
    let of = |finding: &Diagnostic| finding.message.clone();
    (
        report.certificates,
        report.diagnostics.iter().map(|finding| finding.code).collect(),
        report.diagnostics.iter().map(of).collect(),
    )
}

#[test]
fn keys_as_openssl_locks_them_are_opened() {
    let (dir, gateway) = node("correct horse\nanother line\n");
    let made = good("a.example");
    write(dir.path(), "key", &made.key.serialize_pem());
    write(&gateway.certs, "a.crt", &made.chain());
    let key = |more: &[&str]| {
        let args = ["pkcs8", "-topk8", "-in", "key", "-out", "certs/a.key", "-passout", "pass:correct horse"];
        openssl(dir.path(), &[&args, more].concat());
        found(&gateway)
    };
    for ways in [
        &[][..],
        &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
        &["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA384"],
        &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512", "-iter", "10000"],
    ] {
        assert_eq!(key(ways), (1, vec![], vec![]), "{ways:?}");
    }
    for (ways, why) in [
        (&["-scrypt"][..], "locked in a way that can't be opened"),
        (&["-v2", "des3"], "locked in a way that can't be opened"),
        (&["-iter", "2000001"], "more than the 2000000 rounds"),
    ] {
        let (certificates, codes, messages) = key(ways);
        assert_eq!((certificates, codes[0], codes.len()), (0, "certificate-without-key", 2), "{ways:?}");
        assert!(messages[1].contains(why), "{messages:?}");
    }
    // As OpenSSL locked keys before there was PKCS#8.
    openssl(dir.path(), &["ec", "-in", "key", "-aes256", "-passout", "pass:correct horse", "-out", "certs/a.key"]);
    assert!(found(&gateway).2[1].contains("locked in a way that can't be opened"));
}

#[test]
fn the_passphrase_may_come_later_and_be_another() {
    let (dir, gateway) = node("wrong");
    let made = good("a.example");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key.serialize_der()));
    let right = Passphrase::from_text("right");
    write_certificate(&gateway.certs.join("a.pem"), &made.chain(), &key, Some(&right)).unwrap();
    let told =
        |report: &CertReport| report.diagnostics.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>();
    let none = found(&settings(&gateway.certs));
    assert_eq!((none.0, &none.1[..]), (0, &["certificate-without-key", "bad-key"][..]));
    assert!(none.2[1].contains("none was given"), "{none:?}");

    let mut store = Store::new(&gateway);
    let report = store.load(now()).unwrap();
    assert!(told(&report)[1].contains("the passphrase does not open this key"), "{:?}", report.diagnostics);
    assert!(report.diagnostics.iter().all(|finding| !finding.to_string().contains("wrong")));
    assert_eq!(store.load(now()).unwrap().read, 0);
    // Keys that are not locked are not read again for it.
    write(&gateway.certs, "b.pem", &good("b.example").both());
    store.load(now()).unwrap();
    write(dir.path(), "passphrase", "right\r\n");
    let report = store.load(now()).unwrap();
    assert_eq!((report.read, report.certificates, told(&report)), (1, 2, vec![]));

    // Gone, it is told, and what was opened with it stays.
    fs::remove_file(dir.path().join("passphrase")).unwrap();
    let report = store.load(now()).unwrap();
    assert_eq!((report.certificates, codes(&report)), (2, vec!["unreadable"]));
    assert!(unusable(&report.diagnostics).unwrap().contains("passphrase"));
    write(dir.path(), "passphrase", "\nright");
    assert!(told(&store.load(now()).unwrap())[0].contains("no passphrase of 1 to 1024 bytes"));
}

#[test]
fn forty_locked_keys_are_opened_at_once() {
    let (_dir, gateway) = node("right");
    let passphrase = Passphrase::from_text("right");
    for number in 0..40 {
        let made = good(&format!("{number}.example"));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key.serialize_der()));
        let path = gateway.certs.join(format!("{number}.pem"));
        write_certificate(&path, &made.chain(), &key, Some(&passphrase)).unwrap();
    }
    let start = Instant::now();
    assert_eq!(found(&gateway).0, 40);
    let took = start.elapsed();
    println!("40 locked keys: {took:?}");
    assert!(took.as_secs() < 10, "{took:?}");
}
