//! Databases of countries: read, checked, replaced.

use std::{fs, net::IpAddr, path::Path, sync::Arc};

use ipnet::IpNet;
use waypost::guard::{access::Access, countries::Countries};

use super::mmdb::{Value, country, database, ip};

fn code(countries: &Countries, address: &str) -> String {
    countries.country(ip(address)).map_or_else(|| "-".to_owned(), |code| code.to_string())
}

fn geo() -> Vec<u8> {
    database(
        "GeoLite2-Country",
        &[
            ("192.0.2.0/24", country("CN")),
            ("192.0.2.128/25", country("HK")),
            ("198.51.100.7/32", country("sg")),
            ("2001:db8::/32", country("FR")),
            ("203.0.113.0/24", Value::Map(vec![("continent", Value::Text("AS"))])),
        ],
    )
}

/// Renamed into place, as those who update such files do.
fn replace(path: &Path, bytes: &[u8]) {
    fs::write(path.with_extension("new"), bytes).unwrap();
    fs::rename(path.with_extension("new"), path).unwrap();
}

fn fault(countries: &Countries, path: &Path) -> String {
    assert!(!countries.refresh(Some(path)));
    countries.fault().unwrap()
}

#[test]
fn an_address_is_in_the_country_of_the_smallest_network() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("geo.mmdb");
    fs::write(&path, geo()).unwrap();
    let countries = Countries::default();
    assert_eq!(code(&countries, "192.0.2.1"), "-");
    assert!(countries.refresh(Some(&path)));
    for (address, want) in [
        ("192.0.2.1", "CN"),
        ("::ffff:192.0.2.1", "CN"),
        ("192.0.2.200", "HK"),
        ("198.51.100.7", "SG"),
        ("198.51.100.8", "-"),
        ("203.0.113.1", "-"),
        ("127.0.0.1", "-"),
        ("2001:db8::1", "FR"),
        ("2001:db9::1", "-"),
    ] {
        assert_eq!(code(&countries, address), want, "{address}");
    }
    assert!(!countries.refresh(Some(&path)));
    assert!(countries.refresh(None));
    assert_eq!(code(&countries, "192.0.2.1"), "-");
}

#[test]
fn countries_are_denied_and_allowed_as_addresses_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("geo.mmdb");
    fs::write(&path, geo()).unwrap();
    let countries = Countries::default();
    assert!(countries.refresh(Some(&path)));
    let countries = Arc::new(countries);
    let codes = |codes: &[&str]| codes.iter().map(|code| code.parse().unwrap()).collect::<Vec<_>>();
    let denying = Access { deny_countries: codes(&["FR", "hk"]), countries, ..Access::default() };
    let allowing = Access { allow_countries: Some(codes(&["CN", "HK"])), ..denying.clone() };
    let mut partner = allowing.clone();
    partner.allow.get_or_insert_default().set =
        ["2001:db8::/48", "198.51.100.0/24"].map(|network| network.parse::<IpNet>().unwrap()).into_iter().collect();
    let france = Some("the country FR is in `deny-countries`");
    let hong_kong = Some("the country HK is in `deny-countries`");
    let singapore = Some("the address is on no allow list, nor is the country SG");
    let unknown = Some("the address is on no allow list");
    for (client, want) in [
        (Some("192.0.2.1"), [None, None, None]),
        (Some("192.0.2.200"), [hong_kong, hong_kong, hong_kong]),
        (Some("198.51.100.7"), [None, singapore, None]),
        // Denied is denied, even on an allow list.
        (Some("2001:db8::1"), [france, france, france]),
        (Some("127.0.0.1"), [None, unknown, unknown]),
        (None, [None, unknown, unknown]),
    ] {
        let check = |access: &Access| access.check(client.map(ip)).err().map(|denied| denied.to_string());
        let got = [&denying, &allowing, &partner].map(check);
        assert_eq!(got.each_ref().map(Option::as_deref), want, "{client:?}");
    }
}

#[test]
fn the_code_is_found_where_other_makers_have_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("geo.mmdb");
    let countries = Countries::default();
    for field in ["country_code", "country"] {
        let record = || Value::Map(vec![("as_name", Value::Text("Example")), (field, Value::Text("CN"))]);
        replace(&path, &database("ipinfo lite", &[("192.0.2.0/24", record())]));
        assert!(countries.refresh(Some(&path)));
        assert_eq!(code(&countries, "192.0.2.1"), "CN", "{field}");
    }
}

#[test]
fn a_bad_file_is_told_and_the_last_good_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("geo.mmdb");
    let countries = Countries::default();
    assert!(fault(&countries, &path).starts_with("this database can't be read: No such file"));
    replace(&path, &geo());
    assert!(countries.refresh(Some(&path)) && countries.fault().is_none());

    replace(&path, b"<html>404</html>");
    let told = fault(&countries, &path);
    assert!(told.starts_with("this is no good MaxMind database: "), "{told}");
    // For as long as it lasts.
    assert_eq!(fault(&countries, &path), told);
    replace(&path, &database("GeoLite2-ASN", &[("192.0.2.0/24", Value::Map(vec![("asn", Value::Number(1))]))]));
    assert_eq!(fault(&countries, &path), "this database has no countries: it is of type `GeoLite2-ASN`");
    assert_eq!(code(&countries, "192.0.2.1"), "CN");
    fs::remove_file(&path).unwrap();
    assert!(fault(&countries, &path).starts_with("this database can't be read: "));
    assert_eq!(code(&countries, "192.0.2.1"), "CN");
    replace(&path, &database("GeoLite2-Country", &[("192.0.2.0/24", country("TW"))]));
    assert!(countries.refresh(Some(&path)) && countries.fault().is_none());
    assert_eq!(code(&countries, "192.0.2.1"), "TW");
}

#[test]
fn a_file_that_was_cut_or_changed_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let good = geo();
    let addresses: Vec<IpAddr> =
        ["192.0.2.1", "192.0.2.200", "198.51.100.7", "2001:db8::1", "::"].into_iter().map(ip).collect();
    let (mut used, mut tried) = (0, 0);
    let mut read = |number: usize, bytes: &[u8]| {
        let path = dir.path().join(format!("{number}.mmdb"));
        fs::write(&path, bytes).unwrap();
        let countries = Countries::default();
        used += usize::from(countries.refresh(Some(&path)));
        tried += 1;
        // What it answers is anything, but it answers.
        addresses
            .iter()
            .for_each(|address| assert!(countries.country(*address).is_none_or(|code| code.to_string().len() == 2)));
        fs::remove_file(&path).unwrap();
    };
    for cut in 0..good.len() {
        read(cut, &good[..cut]);
    }
    for (at, _) in good.iter().enumerate() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            read(good.len() + at * 256 + flip as usize, &bytes);
        }
    }
    assert!(used > 0 && used < tried, "{used} of {tried}");
}
