//! Platforms with several origins, through the whole gateway: balancing, health, limits, retries, TLS.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use waypost::{
    config::Gateway,
    server::{self, Running},
};

use crate::client::{Conn, Heard, PATIENCE, Response, head};
use crate::lanes::Lane;
use crate::platform::Origin;
use crate::relay::HOST;
use crate::serve::{self, metric, until};

const SITE: &str = "name = \"A\"\nhosts = [\"old.example\"]\nhome = \"https://new.example/\"\n\
    [cache]\nenabled = false\n[fallback]\naction = \"serve\"\nserve = \"new\"\n";

/// A gateway before a platform with these settings, as gateway.toml would have them.
pub fn gateway(settings: &str) -> (TempDir, Gateway) {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway_in(folder.path(), settings);
    (folder, gateway)
}

fn gateway_in(folder: &Path, settings: &str) -> Gateway {
    let routes = folder.join("routes");
    fs::create_dir(&routes).unwrap();
    fs::write(routes.join("a.toml"), SITE).unwrap();
    let text = format!("[platforms.new]\n{settings}\n");
    let (parsed, faults) = Gateway::parse("gateway.toml", text, folder);
    assert!(faults.is_empty(), "{faults:?}");
    Gateway { platforms: parsed.platforms, ..serve::gateway(&routes) }
}

fn start(settings: &str) -> (TempDir, Running) {
    let (folder, gateway) = gateway(settings);
    (folder, server::start(gateway).unwrap())
}

fn urls<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> String {
    let urls: Vec<String> = origins.into_iter().map(|origin| format!("{:?}", origin.url())).collect();
    format!("origins = [{}]\n", urls.join(", "))
}

fn get(running: &Running, path: &str) -> Response {
    Conn::new(running.http[0]).get(HOST, path)
}

fn post(running: &Running, path: &str) -> Response {
    Conn::new(running.http[0]).send(&head("POST", HOST, path.as_bytes(), &[], b"form"), false).unwrap()
}

fn errors(running: &Running, class: &str) -> f64 {
    metric(running, &format!("waypost_platform_errors_total{{error=\"{class}\",platform=\"new\"}}"))
}

fn is_up(running: &Running, origin: &str) -> bool {
    metric(running, &format!("waypost_platform_origin_up{{origin=\"{origin}\",platform=\"new\"}}")) == 1.0
}

#[test]
fn each_way_of_balancing() {
    let origins: Vec<Origin> = ["a", "b", "c"].map(Origin::named).into();
    for (balance, paths, want) in [
        ("round-robin", ["/name", "/name", "/name"], 3),
        ("least-connections", ["/name", "/name", "/name"], 3),
        ("client", ["/name?1", "/name?2", "/name?3"], 1),
        ("url", ["/name?1", "/name?1", "/name?1"], 1),
    ] {
        let (_folder, running) = start(&format!("{}balance = {balance:?}", urls(&origins)));
        let seen: BTreeSet<String> = paths.iter().map(|path| get(&running, path).text()).collect();
        assert_eq!(seen.len(), want, "{balance}: {seen:?}");
        if balance == "url" {
            let seen: BTreeSet<String> = (0..50).map(|n| get(&running, &format!("/name?{n}")).text()).collect();
            assert_eq!(seen.len(), 3, "{seen:?}");
        }
        running.stop();
    }
}

#[test]
fn an_unwell_origin_gets_nothing_until_it_is_well() {
    let origins: Vec<Origin> = ["a", "b"].map(Origin::named).into();
    let settings = "health = { path = \"/health\", interval = 10, timeout = 5000, up = 2, down = 2 }";
    let (_folder, running) = start(&(urls(&origins) + settings));
    let names = || -> BTreeSet<String> { (0..6).map(|_| get(&running, "/name").text()).collect() };
    assert_eq!(names().len(), 2);
    origins[0].set_health(503);
    until("one is unwell", || !is_up(&running, &origins[0].url()));
    assert_eq!(names(), BTreeSet::from(["b".to_owned()]));
    origins[1].set_health(404);
    until("both are unwell", || !is_up(&running, &origins[1].url()));
    origins.iter().for_each(|origin| drop(origin.all()));
    let got = get(&running, "/name");
    assert!(got.status == 503 && got.header("retry-after") == "1", "{got:?}");
    assert!(origins.iter().all(|origin| origin.all().is_empty()));
    origins.iter().for_each(|origin| origin.set_health(200));
    until("both are well", || origins.iter().all(|origin| is_up(&running, &origin.url())));
    assert_eq!(names().len(), 2);
    running.stop();
}

#[test]
fn a_dead_platform_is_not_asked_and_comes_back_by_itself() {
    let origin = Origin::named("first");
    let address = origin.address;
    let settings = "retries = 0\neject = { failures = 3, time = 300 }";
    let (_folder, running) = start(&(urls([&origin]) + settings));
    assert_eq!(get(&running, "/name").text(), "first");
    origin.stop();
    // Its pooled connection is dead; then the new ones are refused.
    let statuses: Vec<u16> = (0..4).map(|_| get(&running, "/name").status).collect();
    assert!(statuses[..3] == [503; 3], "{statuses:?}");
    let before = errors(&running, "connect");
    let got = get(&running, "/name");
    assert_eq!(got.status, 503, "{got:?}");
    // Unless it was tried again by now.
    if got.header("retry-after") == "1" {
        assert_eq!(errors(&running, "connect"), before);
        assert!(errors(&running, "breaker") >= 1.0);
    }
    let again = Origin::again("second", address);
    until("it is asked again", || get(&running, "/name").status == 200);
    assert!(is_up(&running, &again.url()));
    assert_eq!(get(&running, "/name").text(), "second");
    running.stop();
}

#[test]
fn an_origin_that_is_down_is_not_seen_where_there_is_another() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let (_folder, running) = start(&(urls([&one, &two]) + "eject = { failures = 2, time = 3600000 }"));
    let url = one.url();
    one.stop();
    for _ in 0..10 {
        assert_eq!(get(&running, "/name").text(), "two");
        assert_eq!(post(&running, "/name").text(), "two");
    }
    assert!(!is_up(&running, &url));
    assert_eq!(errors(&running, "connect"), 2.0);
    assert_eq!(metric(&running, "waypost_platform_retries_total{platform=\"new\"}"), 2.0);
    let ejections = format!("waypost_platform_ejections_total{{origin=\"{url}\",platform=\"new\"}}");
    assert_eq!(metric(&running, &ejections), 1.0);
    running.stop();
}

#[test]
fn more_requests_than_there_may_be_are_503() {
    let origin = Origin::start();
    let (_folder, running) = start(&(urls([&origin]) + "connections = 1\nqueue = 1\nqueue-time = 30000"));
    thread::scope(|scope| {
        let one = scope.spawn(|| get(&running, "/held"));
        assert_eq!(origin.next().line(), "GET /held");
        let two = scope.spawn(|| get(&running, "/held"));
        until("one waits", || metric(&running, "waypost_platform_queued{platform=\"new\"}") == 1.0);
        let got = get(&running, "/name");
        assert!(got.status == 503 && got.header("retry-after") == "1", "{got:?}");
        origin.release();
        assert_eq!((one.join().unwrap().text(), two.join().unwrap().text()), ("held".to_owned(), "held".to_owned()));
    });
    assert_eq!(errors(&running, "busy"), 1.0);
    assert_eq!(metric(&running, "waypost_platform_in_flight{platform=\"new\"}"), 0.0);
    assert_eq!(get(&running, "/name").status, 200);
    running.stop();
}

#[test]
fn only_what_is_safe_is_sent_twice() {
    let origins: Vec<Origin> = ["a", "b"].map(Origin::named).into();
    let (_folder, running) = start(&urls(&origins));
    let seen = || -> usize { origins.iter().map(|origin| origin.all().len()).sum() };
    assert_eq!((post(&running, "/nothing").status, seen()), (502, 1));
    // Each origin once.
    assert_eq!((get(&running, "/nothing").status, seen()), (502, 2));
    // A dead connection of the pool: a POST doesn't take one, a GET goes again.
    for path in ["/1", "/2"] {
        assert_eq!((get(&running, path).status, seen()), (200, 1));
    }
    origins.iter().for_each(|origin| until("it closes", || origin.close_idle() > 0));
    assert_eq!((post(&running, "/3").status, seen()), (200, 1));
    assert_eq!((get(&running, "/4").status, seen()), (200, 1));
    running.stop();
}

#[test]
fn no_client_sees_that_an_origin_closes_its_connections() {
    let origin = Origin::start();
    let (_folder, running) = start(&urls([&origin]));
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for client in 0..4 {
            let (running, done, answered) = (&running, &done, &answered);
            scope.spawn(move || {
                let mut conn = Conn::new(running.http[0]);
                while !done.load(SeqCst) {
                    let body: &[u8] = if client % 2 == 0 { b"" } else { b"form" };
                    let method = ["GET", "POST", "GET", "PUT"][client];
                    let got = conn.send(&head(method, HOST, b"/x", &[], body), false).unwrap();
                    // The echo of GET's body, which Content-Length frames as any other.
                    if got.status != 200 || got.body != body {
                        done.store(true, SeqCst);
                        panic!("{method}: {got:?}");
                    }
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        let mut closed = 0;
        let began = Instant::now();
        while closed < 100 && !done.load(SeqCst) && began.elapsed() < PATIENCE {
            let before = answered.load(SeqCst);
            until("answers come", || answered.load(SeqCst) > before + 8 || done.load(SeqCst));
            closed += origin.close_idle();
        }
        done.store(true, SeqCst);
        assert!(closed >= 100, "{closed}");
    });
    running.stop();
}

#[test]
fn an_origin_behind_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let origin = Origin::unix(&path);
    let settings = format!("origins = [\"unix:{}\"]\nhost = \"app.example\"", path.display());
    let running = server::start(gateway_in(folder.path(), &settings)).unwrap();
    assert_eq!(post(&running, "/x").text(), "form");
    let seen = origin.next();
    assert!(seen.body == b"form" && seen.values("host") == ["app.example"], "{seen:?}");
    let mut client = Conn::new(running.http[0]);
    let mut connection = |path: &str| (client.get(HOST, path).status, origin.next().connection);
    let (one, two) = (connection("/1"), connection("/2"));
    assert!(one.0 == 200 && one == two, "connections are kept: {one:?} {two:?}");
    running.stop();
}

#[test]
fn an_origin_by_name() {
    let origin = Origin::named("here");
    // It may have an address of IPv6 too, where nobody listens: that is one more origin, and a retry.
    let (_folder, running) = start(&format!("origins = [\"http://localhost:{}\"]", origin.address.port()));
    for _ in 0..4 {
        assert_eq!(get(&running, "/name").text(), "here");
    }
    running.stop();
}

#[test]
fn answers_that_take_too_long_are_504() {
    for (settings, path) in [("total-time = 100", "/never"), ("read-time = 100", "/never")] {
        let origin = Origin::start();
        let (_folder, running) = start(&(urls([&origin]) + settings));
        let began = Instant::now();
        assert_eq!(get(&running, path).status, 504, "{settings}");
        assert!(began.elapsed() >= Duration::from_millis(100) && began.elapsed() < PATIENCE, "{settings}");
        origin.next();
        assert!(origin.all().is_empty(), "{settings}: nothing is sent again");
        assert_eq!(errors(&running, "timeout"), 1.0, "{settings}");
        running.stop();
    }
}

#[test]
fn sites_in_phase_proxy_are_served_by_their_own_origin() {
    let (shared, alone) = (Origin::named("shared"), Origin::named("alone"));
    let (_folder, gateway) = gateway("");
    let routes = gateway.routes.clone();
    let site = |name: &str, origin: &str| {
        let text = format!(
            "name = \"{name}\"\nhosts = [\"{name}.example\"]\nhome = \"https://new.example/\"\norigin = \"{origin}/\"\ncache = {{ enabled = false }}\n\
             lifecycle = {{ proxy = 2001-01-01 }}\n"
        );
        fs::write(routes.join(format!("{name}.toml")), text).unwrap();
    };
    site("a", &shared.url());
    site("b", &shared.url());
    site("c", &alone.url());
    fs::write(
        routes.join("d.toml"),
        "name = \"d\"\nhosts = [\"d.example\"]\nhome = \"https://new.example/\"\nlifecycle = { proxy = 2001-01-01 }\n",
    )
    .unwrap();
    let running = server::start(gateway).unwrap();
    let success = |origin: &Origin| {
        format!("waypost_platform_requests_total{{outcome=\"success\",platform=\"{}\"}}", origin.url())
    };
    let ask = |host: &str| Conn::new(running.http[0]).get(host, "/name?q=%C4%E3");
    // One client, whose next request comes when the connection of the last is free again.
    let mut client = Conn::new(running.http[0]);
    for (host, want) in [("a.example", "shared"), ("b.example", "shared"), ("c.example", "alone")] {
        assert_eq!(client.get(host, "/name?q=%C4%E3").text(), want, "{host}");
    }
    assert_eq!(client.get("d.example", "/").status, 501);
    let (one, two) = (shared.next(), shared.next());
    assert_eq!((one.line(), one.values("host")), ("GET /name?q=%C4%E3", vec!["a.example"]));
    assert_eq!(two.values("host"), ["b.example"]);
    assert_eq!((one.connection, two.connection), (0, 0), "connections are shared");
    let asked = metric(&running, &success(&shared));
    let known =
        |origin: &Origin| Conn::new(running.admin).get("localhost", "/metrics").text().contains(&success(origin));
    assert!(known(&shared) && known(&alone));
    // What no site has any more is forgotten; the others don't notice.
    site("c", &shared.url());
    running.reloader.reload_now().unwrap();
    assert_eq!(ask("c.example").text(), "shared");
    until("it is forgotten", || !known(&alone));
    assert_eq!(metric(&running, &success(&shared)), asked + 1.0);
    running.stop();
}

#[test]
fn web_sockets_pass_both_ways() {
    for lane in [Lane::Fast, Lane::Session, Lane::Tls13] {
        let origin = Origin::start();
        let (_folder, gateway) = gateway(&urls([&origin]));
        let running = lane.start(gateway);
        let mut wire = lane.dial(&running, HOST).open().unwrap();
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        wire.send(&head("GET", HOST, b"/socket", &headers, b"")).unwrap();
        let mut buffer = Vec::new();
        while !buffer.ends_with(b"\r\n\r\n") {
            assert_eq!(wire.hear(&mut buffer, PATIENCE), Heard::Bytes, "{lane}: {}", buffer.escape_ascii());
        }
        let text = String::from_utf8_lossy(&buffer).to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 101 ") && text.contains("\r\nupgrade: websocket\r\n"), "{lane}: {text}");
        assert_eq!(origin.next().values("upgrade"), ["websocket"], "{lane}");
        // Whatever the bytes are, and more than once.
        for frame in [&b"\x81\x85abcdHELLO"[..], &[0xFF; 100_000], b"\x88\x80abcd"] {
            wire.send(frame).unwrap();
            let mut echo = Vec::new();
            while echo.len() < frame.len() {
                assert_eq!(wire.hear(&mut echo, PATIENCE), Heard::Bytes, "{lane}");
            }
            assert!(echo == frame, "{lane}");
        }
        drop(wire);
        until("the place is left", || metric(&running, "waypost_platform_in_flight{platform=\"new\"}") == 0.0);
        running.stop();
    }
}

/// An authority, made for one test.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate of an authority, with its key.
struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Issued {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate, key }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }
}

/// An origin's TLS: with a client's certificate, if there is an authority for those.
fn origin_tls(issued: &Issued, clients: Option<&Authority>, alpn: &[&str]) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain: Vec<CertificateDer<'static>> = vec![issued.certificate.der().clone()];
    let key = PrivateKeyDer::Pkcs8(issued.key.serialize_der().into());
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn fingerprint(der: &[u8]) -> String {
    use aws_lc_rs::default_provider;
    use rustls::CipherSuite;
    // The hash of a cipher suite that has SHA-256.
    let provider = default_provider();
    let suite = provider.cipher_suites.iter().find(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let hash = suite.unwrap().tls13().unwrap().common.hash_provider.hash(der);
    let digits: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    digits.join(":")
}

#[test]
fn tls_to_an_origin_is_checked() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ours.issue("app.example", ExtendedKeyUsagePurpose::ServerAuth);
    let client = ours.issue("gateway.example", ExtendedKeyUsagePurpose::ClientAuth);
    let stranger = theirs.issue("gateway.example", ExtendedKeyUsagePurpose::ClientAuth);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("ours.pem", ours.issuer.pem());
    write("theirs.pem", theirs.issuer.pem());
    for (name, issued) in [("client", &client), ("stranger", &stranger)] {
        write(&format!("{name}.pem"), issued.certificate.pem());
        write(&format!("{name}.key"), issued.key.serialize_pem());
    }
    let right = fingerprint(server.certificate.der());
    let wrong = fingerprint(b"another");
    let with = "certificate = \"client.pem\"\nkey = \"client.key\"\n";
    let strange = "certificate = \"stranger.pem\"\nkey = \"stranger.key\"\n";
    let host = "host = \"app.example\"\n";
    for (settings, asks_clients, want) in [
        (format!("{host}ca = \"ours.pem\""), false, 200),
        ("sni = \"app.example\"\nca = \"ours.pem\"".to_owned(), false, 200),
        (format!("{host}ca = \"theirs.pem\""), false, 503),
        ("host = \"other.example\"\nca = \"ours.pem\"".to_owned(), false, 503),
        // By its address, which the certificate doesn't have.
        ("ca = \"ours.pem\"".to_owned(), false, 503),
        // Nobody whom the system trusts.
        (host.to_owned(), false, 503),
        (format!("pin = [\"{wrong}\", \"{right}\"]"), false, 200),
        (format!("pin = [\"{wrong}\"]"), false, 503),
        (format!("{host}ca = \"ours.pem\"\npin = [\"{wrong}\"]"), false, 503),
        (format!("{host}ca = \"theirs.pem\"\npin = [\"{right}\"]"), false, 503),
        (format!("{host}ca = \"ours.pem\"\n{with}"), true, 200),
        (format!("{host}ca = \"ours.pem\"\n{strange}"), true, 502),
        (format!("{host}ca = \"ours.pem\""), true, 502),
    ] {
        let origin = Origin::secure(origin_tls(&server, asks_clients.then_some(&ours), &[]));
        let _ = fs::remove_dir_all(folder.path().join("routes"));
        let settings = format!("origins = [\"https://{}\"]\n{settings}", origin.address);
        let running = server::start(gateway_in(folder.path(), &settings)).unwrap();
        assert_eq!(get(&running, "/1").status, want, "{settings}");
        assert_eq!(post(&running, "/2").status, want, "{settings}");
        let seen = origin.all();
        assert_eq!(seen.len(), if want == 200 { 2 } else { 0 }, "{settings}: nothing is told to a stranger");
        running.stop();
    }
}

/// An origin that speaks HTTP/2 and nothing else, and tells the version and the authority as its body.
struct Http2 {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Cuts every connection off.
    cut: Arc<tokio::sync::Notify>,
}

fn start_http2(config: Arc<ServerConfig>) -> Http2 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let cut = Arc::new(tokio::sync::Notify::new());
    let cuts = cut.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = TlsAcceptor::from(config);
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                let (count, cuts) = (count.clone(), cuts.clone());
                tokio::spawn(async move {
                    let cut = cuts.notified();
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    count.fetch_add(1, SeqCst);
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    let serve = async {
                        while let Some(Ok((request, mut respond))) = connection.accept().await {
                            let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
                            let body = format!("{:?} {authority}", request.version());
                            let has_trailers = request.uri().path() == "/trailers";
                            let answer = http::Response::builder().header("content-length", body.len());
                            if let Ok(mut sending) = respond.send_response(answer.body(()).unwrap(), false) {
                                let _ = sending.send_data(body.into(), !has_trailers);
                                if has_trailers {
                                    let trailers = [(http::header::ETAG, "\"1\"".parse().unwrap())];
                                    let _ = sending.send_trailers(http::HeaderMap::from_iter(trailers));
                                }
                            }
                        }
                    };
                    tokio::select! {
                        () = serve => {}
                        () = cut => {}
                    }
                });
            }
        });
    });
    Http2 { address, connections, cut }
}

#[test]
fn http_2_is_spoken_where_it_is_offered_and_taken() {
    let authority = Authority::new();
    let server = authority.issue("app.example", ExtendedKeyUsagePurpose::ServerAuth);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), authority.issuer.pem()).unwrap();
    let settings = "host = \"app.example\"\nca = \"ca.pem\"\nhttp2 = \"on\"\n";
    let health = "health = { path = \"/healthz\", interval = 20, down = 1 }";
    let Http2 { address, connections, cut } = start_http2(origin_tls(&server, None, &["h2"]));
    let start = |settings: &str| {
        let _ = fs::remove_dir_all(folder.path().join("routes"));
        server::start(gateway_in(folder.path(), settings)).unwrap()
    };
    let running = start(&format!("origins = [\"https://{address}\"]\n{settings}"));
    assert_eq!(get(&running, "/1").text(), "HTTP/2.0 app.example");
    assert_eq!(post(&running, "/2").text(), "HTTP/2.0 app.example");
    assert_eq!(get(&running, "/3").text(), "HTTP/2.0 app.example");
    // Connections that end, in the pool or in use: nobody sees it.
    for _ in 0..20 {
        cut.notify_waiters();
        assert_eq!(get(&running, "/4").status, 200);
    }
    running.stop();
    let running = start(&format!("origins = [\"https://{address}\"]\n{settings}{health}"));
    let before = connections.load(SeqCst);
    until("health checks come", || connections.load(SeqCst) > before + 3);
    assert!(is_up(&running, &format!("https://{address}")));
    running.stop();
    // One that doesn't know it.
    let origin = Origin::secure(origin_tls(&server, None, &["http/1.1"]));
    let running = start(&format!("origins = [\"https://{}\"]\n{settings}", origin.address));
    assert_eq!(post(&running, "/1").text(), "form");
    assert_eq!(get(&running, "/2").status, 200);
    running.stop();
}

/// Through the cache and past it. (Of HTTP/1 Pingora drops them.)
#[test]
fn trailers_pass_over_http_2() {
    let authority = Authority::new();
    let server = authority.issue("app.example", ExtendedKeyUsagePurpose::ServerAuth);
    let Http2 { address, .. } = start_http2(origin_tls(&server, None, &["h2"]));
    let pin = fingerprint(server.certificate.der());
    let (folder, gateway) = gateway(&format!("origins = [\"https://{address}\"]\npin = [\"{pin}\"]\nhttp2 = \"on\""));
    let cached = SITE.replace("enabled = false", "enabled = true");
    fs::write(folder.path().join("routes/b.toml"), cached.replace(HOST, "cached.example")).unwrap();
    let running = Lane::H2c.start(gateway);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(running.http[0]).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        for host in [HOST, "cached.example"] {
            let request = http::Request::get(format!("http://{host}/trailers")).body(()).unwrap();
            let (answer, _) = client.send_request(request, true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            let mut length = 0;
            while let Some(piece) = body.data().await {
                length += piece.unwrap().len();
            }
            let trailers = body.trailers().await.unwrap();
            assert!(length > 0 && trailers.as_ref().is_some_and(|all| all["etag"] == "\"1\""), "{host}: {trailers:?}");
        }
        drop(client);
        connection.abort();
    });
    running.stop();
}
