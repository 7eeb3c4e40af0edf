//! What is told of the folder, and whose certificate comes first.

use super::*;

fn p256(names: &[&str], years: (i32, i32)) -> Made {
    made(names, &PKCS_ECDSA_P256_SHA256, years, None)
}

#[test]
fn an_operators_certificate_comes_before_one_that_was_ordered() {
    let dir = tempfile::tempdir().unwrap();
    let ordered = p256(&["a.example", "b.example"], (2025, 2090));
    write(dir.path(), "acme/1.pem", &ordered.both());
    let (tls, _) = production(dir.path());
    assert_eq!(served(&tls, BOTH, "a.example"), Some(ordered.der.clone()));

    // Older, of a kind that comes second elsewhere, and yet theirs.
    let own = made(&["a.example"], &PKCS_RSA_SHA256, (2024, 2090), None);
    write(dir.path(), "a.pem", &own.both());
    tls.reload().unwrap();
    assert_eq!(served(&tls, BOTH, "a.example"), Some(own.der));
    assert_eq!(served(&tls, ECDSA, "a.example"), Some(ordered.der.clone()), "what the client can check");
    assert_eq!(served(&tls, BOTH, "b.example"), Some(ordered.der.clone()));

    // One that is not valid comes before nothing.
    fs::remove_file(dir.path().join("a.pem")).unwrap();
    tls.reload().unwrap();
    for years in [(2020, 2024), (2080, 2090)] {
        write(dir.path(), "a.pem", &p256(&["a.example"], years).both());
        tls.reload().unwrap();
        assert_eq!(served(&tls, BOTH, "a.example"), Some(ordered.der.clone()));
    }
}

#[test]
fn hidden_files_and_folders_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "acme/.state/orders/1.key", "no PEM");
    write(dir.path(), "acme/.1.pem.0123", "no PEM");
    write(dir.path(), ".tickets", "no PEM");
    write(dir.path(), "acme/1.pem", &good("a.example").both());
    let (tls, report) = production(dir.path());
    assert_eq!((codes(&report), report.certificates, report.read), (vec![], 1, 1));
    assert_eq!(tls.inventory().certificates.len(), 1);
}

#[test]
fn the_inventory_tells_of_each_certificate_and_of_what_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) =
        (p256(&["a.example", "b.example"], (2020, 2021)), p256(&["a.example", "*.a.example"], (2022, 2090)));
    write(dir.path(), "both.pem", &(old.both() + &new.both()));
    write(dir.path(), "acme/c.pem", &p256(&["c.example"], (2080, 2090)).both());
    write(dir.path(), "lone.pem", &good("d.example").chain());
    write(dir.path(), "lone.key", &good("d.example").key.serialize_pem());
    write(dir.path(), "broken.pem", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n");
    let Inventory { certificates, findings } = inventory(&settings(dir.path())).unwrap();
    let told = |info: &CertInfo| {
        let file = info.file.strip_prefix(&*format!("{}/", dir.path().display())).unwrap().to_owned();
        let problems: Vec<_> = info.problems.iter().map(|finding| finding.code).collect();
        (file, info.names.join(" "), info.served.join(" "), info.is_acme, problems)
    };
    let told: Vec<_> = certificates.iter().map(told).collect();
    let want = |file: &str, names: &str, served: &str, is_acme, problems| {
        (file.to_owned(), names.to_owned(), served.to_owned(), is_acme, problems)
    };
    assert_eq!(
        told,
        [
            want("acme/c.pem", "c.example", "c.example", true, vec!["early-certificate"]),
            want("both.pem", "a.example b.example", "b.example", false, vec!["expired-certificate"]),
            want("both.pem", "a.example *.a.example", "a.example *.a.example", false, vec![]),
        ]
    );
    let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["bad-certificate", "key-without-certificate", "certificate-without-key"]);
    let new = &certificates[2];
    assert!(new.line > 1 && new.is_valid_at(1_800_000_000) && !certificates[1].is_valid_at(1_800_000_000));
    assert!(new.covers("a.example") && new.covers("x.a.example") && new.covers("*.a.example"));
    assert!(!new.covers("x.y.a.example") && !new.covers("b.example"));
    assert!(new.issuer.contains("CN=") && new.sha256.len() == 64);

    assert!(inventory(&settings(&dir.path().join("not there"))).unwrap().certificates.is_empty());
}
