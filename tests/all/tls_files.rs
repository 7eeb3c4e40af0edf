//! Certificates as files: what `check` says of them, and that changes go live.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::version::TLS13;
use serde_json::Value;
use waypost::{
    config::{AccessLogSettings, Gateway, HitsSettings, TlsMode},
    server,
};
use x509_parser::{extensions::GeneralName, prelude::*};

use crate::client::{Conn, tls};

fn pem(name: &str, until: i32) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
    params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
}

/// Puts a file in place at once, readable by its owner only.
fn write(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(beside, path).unwrap();
}

/// A node's folder with one site.
fn node() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("routes")).unwrap();
    let site = "name = \"a\"\nhosts = [\"a.example\", \"*.b.example\"]\nhome = \"https://new.example/\"\n";
    fs::write(dir.path().join("routes/a.toml"), site).unwrap();
    dir
}

fn check(node: &Path, options: &[&str]) -> (String, bool) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_waypost")).arg("check").args(options).current_dir(node).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[test]
fn check_speaks_of_certificates_as_of_routes() {
    let node = node();
    let routes = "1 site, 2 hosts, 0 mappings, 0 rules";
    assert_eq!(check(node.path(), &[]), (format!("{routes}: nothing to complain about\n"), true));

    fs::create_dir(node.path().join("certs")).unwrap();
    write(&node.path().join("certs/a.pem"), &pem("a.example", 2001));
    let (text, fine) = check(node.path(), &[]);
    let want = "error[expired-certificate]: this certificate of a.example expired on 2001-01-01 00:00 UTC\n \
                --> certs/a.pem:1:1\n";
    assert!(text.contains(want) && !fine, "{text}");
    let want = "warning[uncovered-host]: 1 host of the routes has no certificate: *.b.example\n --> certs:1:1\n";
    assert!(text.contains(want), "{text}");
    assert!(text.ends_with(&format!("{routes}, 1 certificate: 1 error, 1 warning\n")), "{text}");
    let (json, _) = check(node.path(), &["--json"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["certificates"], &report["errors"]), (&1.into(), &1.into()));
    assert_eq!(report["diagnostics"][0]["file"], "certs/a.pem");

    write(&node.path().join("certs/a.pem"), &pem("a.example", 2090));
    write(&node.path().join("certs/b.pem"), &pem("*.b.example", 2090));
    assert_eq!(check(node.path(), &[]), (format!("{routes}, 2 certificates: nothing to complain about\n"), true));
}

fn gateway(node: &Path) -> Gateway {
    let any: waypost::config::Listen = "127.0.0.1:0".parse().unwrap();
    Gateway {
        routes: node.join("routes"),
        certs: node.join("certs"),
        http: vec![any.clone()],
        https: vec![any],
        admin: "127.0.0.1:0".parse().unwrap(),
        debounce: 20,
        access_log: AccessLogSettings { folder: node.join("logs"), ..Gateway::default().access_log },
        hits: HitsSettings { database: None, ..Gateway::default().hits },
        ..Gateway::default()
    }
}

#[test]
fn certificates_go_live_by_themselves() {
    let node = node();
    // The folder isn't there yet.
    let running = server::start(gateway(node.path())).unwrap();
    let tls = Arc::clone(running.reloader.tls().unwrap());
    assert!(tls.why_refused("a.example").starts_with("no certificate covers `a.example`"));
    let mut admin = Conn::new(running.admin);
    let mut until = |what: &str, present: bool| {
        let start = Instant::now();
        while admin.get("localhost", "/metrics").text().contains(what) != present {
            assert!(start.elapsed() < Duration::from_secs(10), "{what} did not change");
        }
    };
    fs::create_dir(node.path().join("certs")).unwrap();
    let file = node.path().join("certs/a.pem");
    let expiry = |name: &str| format!("waypost_certificate_expiry_timestamp_seconds{{name=\"{name}\"}}");
    write(&file, &pem("a.example", 2090));
    until(&expiry("a.example"), true);
    write(&file, &pem("*.a.example", 2090));
    until(&expiry("*.a.example"), true);
    until(&expiry("a.example"), false);
    write(&file, "broken");
    until("waypost_certificate_faulty 1", true);
    until(&expiry("*.a.example"), true);
    fs::remove_file(&file).unwrap();
    until("waypost_certificates 0", true);
    running.stop();
}

#[test]
fn a_folder_that_cannot_be_read_is_told_as_long_as_it_lasts() {
    let node = node();
    let (certs, away) = (node.path().join("certs"), node.path().join("away"));
    fs::create_dir(&certs).unwrap();
    write(&certs.join("a.pem"), &pem("a.example", 2090));
    let mut gateway = gateway(node.path());
    gateway.watch = false;
    let running = server::start(gateway).unwrap();
    let mut admin = Conn::new(running.admin);
    let mut told = |reload: bool| {
        if reload {
            running.reloader.reload_now().unwrap();
        }
        let metrics = admin.get("localhost", "/metrics").text();
        (admin.get("localhost", "/readyz").text(), metrics.contains("waypost_certificates_unreadable 1\n"), metrics)
    };
    let (ready, unreadable, _) = told(false);
    assert!(ready.contains("1 certificates for 1 names") && !unreadable, "{ready}");
    fs::rename(&certs, &away).unwrap();
    for _ in 0..2 {
        let (ready, unreadable, metrics) = told(true);
        assert!(ready.starts_with("ready\n") && ready.contains("certificates can't be read") && unreadable, "{ready}");
        assert!(ready.contains("1 certificates for 1 names") && metrics.contains("waypost_certificates 1\n"));
    }
    fs::rename(&away, &certs).unwrap();
    write(&certs.join("b.pem"), "broken");
    let (ready, unreadable, _) = told(true);
    assert!(!ready.contains("can't be read") && ready.contains("error[bad-certificate]") && !unreadable, "{ready}");
    fs::remove_file(certs.join("b.pem")).unwrap();
    assert!(!told(true).0.contains("error"));
}

#[test]
fn a_preview_gets_a_development_certificate_of_its_own() {
    let node = node();
    let running = server::start(gateway(node.path())).unwrap();
    for (asked, named) in [
        ("a.example", "a.example"),
        ("aka-a.example", "aka-a.example"),
        ("aka-x.b.example", "aka-x.b.example"),
        ("aka-c.example", "localhost"),
    ] {
        let name = asked.to_owned().try_into().unwrap();
        let mut client = rustls::ClientConnection::new(tls(&TLS13, &["http/1.1"]), name).unwrap();
        let mut stream = TcpStream::connect(running.https[0]).unwrap();
        while client.is_handshaking() {
            client.complete_io(&mut stream).unwrap();
        }
        let certificate = X509Certificate::from_der(&client.peer_certificates().unwrap()[0]).unwrap().1;
        let names = certificate.subject_alternative_name().unwrap().unwrap().value;
        assert!(names.general_names.contains(&GeneralName::DNSName(named)), "{asked}: {names:?}");
    }
}

#[test]
fn production_without_a_folder_of_certificates_does_not_start() {
    let node = node();
    let mut gateway = gateway(node.path());
    gateway.tls.mode = TlsMode::Production;
    let error = server::start(gateway).err().unwrap().to_string();
    assert!(error.contains("no folder of certificates at") && !error.contains('\n'), "{error}");
}
