//! Certificates as files: what `check` says of them, and that changes go live.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned,
    client::Resumption,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    version::{TLS12, TLS13},
};
use serde_json::Value;
use waypost::{
    config::{AccessLogSettings, Gateway, HitsSettings, TlsMode},
    server,
    tls::write_certificate,
};
use x509_parser::{extensions::GeneralName, prelude::*};

use crate::{
    client::{Conn, tls},
    serve::metric,
};

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

/// As the gateway itself replaces a certificate: a file beside it, and a rename.
#[test]
fn no_handshake_fails_while_certificates_are_replaced() {
    const TIMES: usize = 40;
    let node = node();
    fs::create_dir_all(node.path().join("certs/acme")).unwrap();
    let file = node.path().join("certs/acme/a.pem");
    let put = || {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2090, 1, 1));
        let certificate = params.self_signed(&key).unwrap();
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        write_certificate(&file, &certificate.pem(), &der, None).unwrap();
        certificate.der().clone()
    };
    put();
    let mut gateway = gateway(node.path());
    gateway.tls.mode = TlsMode::Production;
    gateway.tls.ticket_keys = Some(node.path().join("certs/.tickets"));
    let running = server::start(gateway).unwrap();
    let shown = |config: &Arc<ClientConfig>| {
        let name = ServerName::try_from("a.example").unwrap();
        let connection = ClientConnection::new(config.clone(), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(running.https[0]).unwrap());
        stream.sock.set_read_timeout(Some(crate::client::PATIENCE)).unwrap();
        // An answer has come: whatever the server says after its handshake is read.
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 301 "), "{}", String::from_utf8_lossy(&answer));
        (stream.conn.peer_certificates().unwrap()[0].clone(), stream.conn.handshake_kind().unwrap())
    };
    let config = |version, resumes: bool| {
        let mut config = Arc::unwrap_or_clone(tls(version, &["http/1.1"]));
        config.resumption = if resumes { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
        Arc::new(config)
    };
    let done = AtomicBool::new(false);
    let (full, resumed) = thread::scope(|scope| {
        let _ends = Ends(&done);
        let ways = [(&TLS13, false), (&TLS13, true), (&TLS12, false), (&TLS12, true)];
        let workers = ways.map(|(version, resumes)| {
            let (config, done, shown) = (config(version, resumes), &done, &shown);
            scope.spawn(move || {
                let (mut full, mut resumed) = (0, 0);
                while !done.load(Ordering::Relaxed) {
                    match shown(&config).1 {
                        HandshakeKind::Resumed => resumed += 1,
                        _ => full += 1,
                    }
                }
                assert_eq!(resumed > 0, resumes);
                (full, resumed)
            })
        });
        let once = config(&TLS13, false);
        for number in 0..TIMES {
            let new = put();
            let start = Instant::now();
            while shown(&once).0 != new {
                assert!(start.elapsed() < Duration::from_secs(30), "number {number} is not served");
            }
        }
        done.store(true, Ordering::Relaxed);
        let counts = workers.map(|worker| worker.join().unwrap());
        counts.iter().fold((0, 0), |sums, counts| (sums.0 + counts.0, sums.1 + counts.1))
    });
    println!("{TIMES} certificates, {full} full handshakes and {resumed} resumed");
    let failures = metric(&running, "waypost_tls_handshake_failures_total");
    assert_eq!(failures, 0.0);
    running.stop();
}

/// Ends the others when a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_passphrase_comes_from_a_file_or_from_the_environment() {
    let node = node();
    fs::create_dir(node.path().join("certs")).unwrap();
    write(&node.path().join("certs/b.pem"), &pem("*.b.example", 2090));
    write(&node.path().join("clear.pem"), &pem("a.example", 2090));
    let lock = ["pkcs8", "-topk8", "-in", "clear.pem", "-out", "certs/a.key", "-passout", "pass:right"];
    assert!(Command::new("openssl").args(lock).current_dir(node.path()).status().unwrap().success());
    let clear = fs::read_to_string(node.path().join("clear.pem")).unwrap();
    write(&node.path().join("certs/a.crt"), clear.split_once("-----BEGIN PRIVATE KEY").unwrap().0);
    let check = |passphrase: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
        command.arg("check").current_dir(node.path()).env_remove("WAYPOST_PASSPHRASE");
        let output = command.envs(passphrase.map(|text| ("WAYPOST_PASSPHRASE", text))).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    };
    let (none, wrong) = (check(None).0, check(Some("wrong")).0);
    assert!(none.contains("error[bad-key]: this key has a passphrase, and none was given"), "{none}");
    assert!(wrong.contains("error[bad-key]: the passphrase does not open this key"), "{wrong}");
    assert!(check(Some("right")).1, "{}", check(Some("right")).0);
    fs::write(node.path().join("gateway.toml"), "[tls]\npassphrase-file = \"secret\"\n").unwrap();
    assert!(check(Some("right")).0.contains("error[unreadable]: the passphrase of keys can't be read"));
    write(&node.path().join("secret"), "right\n");
    assert!(check(Some("wrong")).1, "the file comes first");
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
        let mut client = ClientConnection::new(tls(&TLS13, &["http/1.1"]), name).unwrap();
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
