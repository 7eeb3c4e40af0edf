//! Answers over HTTP/2: as HTTP/1's, whole however slowly they are taken, and no more of them in memory than may be.

use std::{
    fmt::Write as _,
    fs,
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::Reason;
use http::Request;
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;
use tokio::time::timeout;
use waypost::{
    config::{Gateway, Limits},
    server::Running,
};

use crate::{
    client::{Dial, Heard, PATIENCE},
    http2::raw::{self, Event, Frame, PREFACE, Raw, block, code, flag, frame, kind, setting},
    lanes::{self, Lane},
    relay::{self, HOST},
    serve::{metric, until},
};

/// Bytes of what the platform has.
const LARGE: usize = 380_000;

/// Bytes of what our site has.
const LONG: usize = 60_000;

/// A platform that answers GET after a time, and how often it was asked.
fn platform(delay: Duration) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let count = count.clone();
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(delay);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
                // An error means that the gateway has given up.
                let _ = stream.write_all(&[head.as_bytes(), &vec![b'x'; LARGE]].concat());
            });
        }
    });
    (address, asked)
}

/// A gateway in front of a platform, and with a sitemap of some 200 KB that is not made apart.
fn gateway(origin: SocketAddr) -> (TempDir, Gateway) {
    let (routes, gateway) = relay::gateway(origin);
    let mut table = "old,new,status,suggest,archive,note\n".to_owned();
    for number in 0..1_900 {
        writeln!(table, "/a-rather-long-path-to-have-more-bytes/{number}.htm,https://new.example/,,,,").unwrap();
    }
    fs::write(routes.path().join("a.csv"), table).unwrap();
    // It goes into what h2 has of a stream.
    let rule = format!("[[rule]]\nfrom = \"/long.txt\"\ntext = \"{}\"\n", "x".repeat(LONG));
    let path = routes.path().join("a.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap() + &rule).unwrap();
    (routes, gateway)
}

fn met(running: &Running, limit: &str) -> f64 {
    metric(running, &format!("waypost_limits_total{{limit=\"{limit}\"}}"))
}

fn answered(running: &Running) -> f64 {
    metric(running, "waypost_requests_total{lane=\"http2\"}")
}

fn open_connections(running: &Running) -> f64 {
    metric(running, "waypost_connections_open{listener=\"http\"}")
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", path)];
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &block(&fields))
}

fn initial_window(bytes: u32) -> Vec<u8> {
    let entry = [&setting::INITIAL_WINDOW_SIZE.to_be_bytes()[..], &bytes.to_be_bytes()].concat();
    frame(kind::SETTINGS, 0, 0, &entry)
}

fn window(stream: u32, bytes: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A client of HTTP/2 without TLS that grants every window, over a connection that holds little: what it does not read
/// stays with the gateway.
struct Slow {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Slow {
    fn connect(running: &Running) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_tcp_mss(536).unwrap();
        // From an address of its own: the system remembers what it learned of others', and would make large buffers for it.
        let [a, b, ..] = RandomState::new().hash_one(()).to_ne_bytes();
        socket.bind(&SockAddr::from(SocketAddr::from(([127, 40, a, b.max(1)], 0)))).unwrap();
        socket.connect(&SockAddr::from(running.http[0])).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut slow = Slow { socket, buffer: Vec::new() };
        slow.send(&[PREFACE, &initial_window(1 << 24), &window(0, 1 << 24)].concat());
        slow
    }

    fn send(&mut self, bytes: &[u8]) {
        (&self.socket).write_all(bytes).unwrap();
    }

    /// Bytes of a stream's body, and whether they are all.
    fn body(&mut self, stream: u32) -> (usize, bool) {
        self.socket.set_recv_buffer_size(1 << 20).unwrap();
        let mut length = 0;
        let mut chunk = [0; 16 * 1024];
        loop {
            while let Some(frame) = raw::take(&mut self.buffer) {
                if frame.is(kind::DATA) && frame.stream == stream {
                    length += frame.payload.len();
                    if frame.has(flag::END_STREAM) {
                        return (length, true);
                    }
                }
            }
            match (&self.socket).read(&mut chunk) {
                Ok(read) if read > 0 => self.buffer.extend_from_slice(&chunk[..read]),
                _ => return (length, false),
            }
        }
    }
}

#[test]
fn an_answer_leaves_whole_however_the_connection_ends() {
    let (origin, asked) = platform(Duration::ZERO);
    type Change = fn(&mut Gateway);
    let ends: [(&str, Change); 3] = [
        ("idle", |gateway| gateway.limits.idle_time = 1),
        ("requests", |gateway| gateway.limits.requests = 1),
        ("drain", |gateway| gateway.process.drain = PATIENCE),
    ];
    for (end, change) in ends {
        let (_routes, mut gateway) = gateway(origin);
        gateway.limits.head_time = 1;
        change(&mut gateway);
        let running = Lane::H2c.start(gateway);
        let (mut relayed, mut ours) = (Slow::connect(&running), Slow::connect(&running));
        relayed.send(&get(1, "/r/large"));
        ours.send(&get(1, "/sitemap.xml"));
        let begun = Instant::now();
        until("the answers", || answered(&running) >= 1.0 && asked.swap(0, Ordering::SeqCst) > 0);
        let stopping = if end == "drain" { Err(std::thread::spawn(|| running.stop())) } else { Ok(running) };
        // Nothing is read for longer than a connection may be idle, and than one stays that has nothing to send.
        std::thread::sleep(Duration::from_secs(5).saturating_sub(begun.elapsed()));
        let idle_time = stopping.as_ref().map_or(0.0, |running| met(running, "idle_time"));
        assert_eq!(relayed.body(1), (LARGE, true), "{end}");
        let (length, is_whole) = ours.body(1);
        assert!(is_whole && length > 100_000, "{end}: {length}");
        assert_eq!(idle_time, 0.0, "{end}");
        drop((relayed, ours));
        match stopping {
            Ok(running) => running.stop(),
            Err(stopping) => stopping.join().unwrap(),
        }
    }
}

#[test]
fn who_takes_no_answer_is_cut_off() {
    let (_routes, mut gateway) = gateway(platform(Duration::ZERO).0);
    gateway.limits.idle_time = 1;
    let running = Lane::H2c.start(gateway);
    // One does not read. The other takes its window back: what was made for it can't be sent.
    let (mut silent, mut mean) = (Slow::connect(&running), Slow::connect(&running));
    silent.send(&get(1, "/long.txt"));
    mean.send(&[get(1, "/long.txt"), get(3, "/long.txt")].concat());
    until("the answers", || answered(&running) == 3.0);
    mean.send(&initial_window(0));
    let begun = Instant::now();
    let frames = std::iter::from_fn(|| {
        let mut chunk = [0; 1024];
        let read = (&mean.socket).read(&mut chunk).unwrap_or(0);
        (read > 0).then_some(read)
    });
    let read: usize = frames.sum();
    assert!(read < 2 * LONG, "{read}");
    until("the other's end", || open_connections(&running) == 0.0);
    assert!((9..=16).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!((met(&running, "send_rate"), met(&running, "idle_time")), (2.0, 0.0));
    drop(silent);
    running.stop();
}

/// What ends an answer of a platform's within 14 seconds when the client takes so many bytes a second.
fn end_of_what_is_taken_at(rate: u32) -> Option<(u32, u64)> {
    let (_routes, gateway) = gateway(platform(Duration::ZERO).0);
    let running = Lane::H2c.start(gateway);
    let mut h2 = Raw::connect(&Lane::H2c.dial(&running, HOST));
    h2.handshake().unwrap();
    h2.send(&[initial_window(rate), get(1, "/r/large")].concat());
    let begun = Instant::now();
    let mut end = None;
    while end.is_none() && begun.elapsed() < Duration::from_secs(14) {
        match h2.next() {
            Event::Frame(frame) if frame.is(kind::DATA) => std::thread::sleep(Duration::from_secs(1)),
            Event::Frame(frame) if frame.is(kind::RST_STREAM) => end = Some((frame.stream, begun.elapsed().as_secs())),
            Event::Frame(_) => continue,
            event => panic!("{event:?}"),
        }
        h2.send(&window(1, rate));
    }
    until("the count", || met(&running, "send_rate") == f64::from(u32::from(end.is_some())));
    drop(h2);
    running.stop();
    end
}

#[test]
fn who_takes_little_from_a_platform_is_cut_off() {
    let end = end_of_what_is_taken_at(1);
    assert!(matches!(end, Some((1, 9..=14))), "{end:?}");
}

/// However long one piece of what the platform sends takes: Pingora would give it ten seconds.
#[test]
fn who_takes_enough_from_a_platform_is_not_cut_off() {
    assert_eq!(end_of_what_is_taken_at(1500), None);
}

#[test]
fn a_connection_is_idle_from_the_end_of_its_last_answer() {
    // The answer takes longer than a connection may be idle.
    let (_routes, mut gateway) = gateway(platform(Duration::from_millis(2500)).0);
    gateway.limits = Limits { idle_time: 2, head_time: 1, ..gateway.limits };
    let running = Lane::H2c.start(gateway);
    let mut h2 = Raw::connect(&Lane::H2c.dial(&running, HOST));
    h2.handshake().unwrap();
    h2.send(&[window(0, 1 << 20), window_of_stream_1()].concat());
    let ends =
        |event: &Event| matches!(event, Event::Frame(frame) if frame.is(kind::DATA) && frame.has(flag::END_STREAM));
    std::iter::repeat_with(|| h2.next()).find(ends).unwrap();
    let answered = Instant::now();
    let goes = |event: &Event| !matches!(event, Event::Frame(frame) if !frame.is(kind::GOAWAY));
    let end = std::iter::repeat_with(|| h2.next()).find(goes).unwrap();
    assert!(
        matches!(end, Event::Frame(_)) && answered.elapsed() > Duration::from_millis(1500),
        "{:?}",
        answered.elapsed()
    );
    assert_eq!(met(&running, "idle_time"), 1.0);
    running.stop();
}

/// A request whose answer has room.
fn window_of_stream_1() -> Vec<u8> {
    [get(1, "/r/large"), window(1, 1 << 20)].concat()
}

#[test]
fn no_more_is_made_than_is_taken() {
    const STREAMS: u32 = 60;
    let (_routes, gateway) = gateway(platform(Duration::ZERO).0);
    let running = Lane::H2c.start(gateway);
    // One reads nothing, and the other grants no window.
    for reads in [false, true] {
        let before = answered(&running);
        let mut slow = Slow::connect(&running);
        slow.send(&initial_window(if reads { 0 } else { 1 << 24 }));
        let requests: Vec<u8> = (0..STREAMS).flat_map(|number| get(2 * number + 1, "/sitemap.xml")).collect();
        slow.send(&requests);
        until("the first answers", || answered(&running) > before);
        // All would be made in this time.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            let made = answered(&running) - before;
            assert!(made < 5.0, "{made} answers of 200 KB are in memory");
        }
        slow.send(&initial_window(1 << 24));
        assert!(slow.body(2 * STREAMS - 1).1, "{reads}");
        assert_eq!(answered(&running) - before, f64::from(STREAMS));
    }
    running.stop();
}

/// What comes of a request.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: u16,
    /// Why the rest of the request is not wanted.
    reset: Option<Reason>,
}

/// Sends a request whose body begins so and does not end, if there is one.
fn ask(dial: &Dial, request: Request<()>, body: Option<&[u8]>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, _connection) = lanes::connect(dial).await.unwrap();
        let mut sender = sender.ready().await.unwrap();
        let is_head = request.method() == "HEAD";
        let (answer, mut stream) = sender.send_request(request, body.is_none()).unwrap();
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            let _ = stream.send_data(Bytes::copy_from_slice(body), false);
        }
        let exchange = async {
            let answer = answer.await.unwrap();
            let (status, mut page) = (answer.status().as_u16(), answer.into_body());
            let mut length = 0;
            // It is an error if there is a body that should not be.
            while let Some(piece) = page.data().await {
                length += piece.unwrap().len();
            }
            assert!(!is_head || length == 0);
            let reset = match body {
                Some(_) => Some(poll_fn(|cx| stream.poll_reset(cx)).await.unwrap()),
                None => None,
            };
            Outcome { status, reset }
        };
        timeout(PATIENCE, exchange).await.unwrap()
    })
}

#[test]
fn requests_are_refused_as_over_http_1() {
    let long = format!("/{}", "a".repeat(9_000));
    let pages: Vec<(String, String)> = (0..20).map(|number| (format!("x-{number}"), "y".to_owned())).collect();
    let many: Vec<(&str, &str)> = pages.iter().map(|(name, value)| (&**name, &**value)).collect();
    let body = vec![b'x'; 100_000];
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Option<&'a [u8]>, u16, &'a str);
    let cases: [Case<'_>; 10] = [
        ("GET", "/v", &[], None, 200, ""),
        ("POST", "/v", &[("content-length", "100000")], Some(b""), 200, ""),
        ("POST", "/v", &[("content-length", "4"), ("expect", "100-continue")], Some(b""), 200, ""),
        ("POST", "/v", &[], Some(&body), 200, ""),
        ("HEAD", "/v", &[], Some(&body), 200, ""),
        ("POST", "/v", &[("content-length", "4")], Some(b"x"), 408, "body_rate"),
        ("GET", "/v", &[("expect", "miracles")], None, 417, "malformed"),
        ("GET", &long, &[], None, 414, "target"),
        ("GET", "/v", &many, None, 431, "head"),
        // One field over HTTP/1 (RFC 9113, 8.2.3).
        ("GET", "/v", &[("cookie", "a=b"); 20], None, 200, ""),
    ];
    for lane in [Lane::Fast, Lane::H2, Lane::H2c] {
        let (_routes, mut gateway) = gateway(platform(Duration::ZERO).0);
        gateway.limits = Limits { head_time: 1, fields: 10, ..gateway.limits };
        let running = lane.start(gateway);
        let dial = lane.dial(&running, HOST);
        for (method, path, fields, body, status, limit) in &cases {
            let told = format!("{lane}: {method} {} {:?}", &path[..2], fields.first());
            let before = if limit.is_empty() { 0.0 } else { met(&running, limit) };
            if lane == Lane::Fast {
                assert_eq!(ask_over_http_1(&dial, method, path, fields, *body), *status, "{told}");
            } else {
                let scheme = if lane.is_tls() { "https" } else { "http" };
                let mut request = Request::builder().method(*method).uri(format!("{scheme}://{HOST}{path}"));
                for (name, value) in *fields {
                    request = request.header(*name, *value);
                }
                let reset = body.is_some().then_some(Reason::NO_ERROR);
                let want = Outcome { status: *status, reset };
                assert_eq!(ask(&dial, request.body(()).unwrap(), *body), want, "{told}");
            }
            if !limit.is_empty() {
                assert_eq!(met(&running, limit) - before, 1.0, "{told}");
            }
        }
        running.stop();
    }
}

/// The status. Crumbs of a cookie are one field here.
fn ask_over_http_1(dial: &Dial, method: &str, path: &str, fields: &[(&str, &str)], body: Option<&[u8]>) -> u16 {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n");
    let is_cookie = |field: &&(&str, &str)| field.0 == "cookie";
    for (name, value) in fields.iter().filter(|field| !is_cookie(field)).chain(fields.iter().find(is_cookie)) {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    let mut bytes = head.into_bytes();
    match body {
        Some(body) if !fields.iter().any(|(name, _)| *name == "content-length") => {
            bytes.extend(format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len()).bytes());
            bytes.extend(body);
        }
        body => bytes.extend([b"\r\n", body.unwrap_or_default()].concat()),
    }
    let mut wire = dial.open().unwrap();
    // An error means that the answer came before the end.
    let _ = wire.send(&bytes);
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && wire.hear(&mut answer, PATIENCE) == Heard::Bytes {}
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_request_whose_rule_has_changed_while_its_body_came_is_answered() {
    let (routes, gateway) = gateway(platform(Duration::ZERO).0);
    let running = Lane::H2c.start(gateway);
    let mut h2 = Raw::connect(&Lane::H2c.dial(&running, HOST));
    h2.handshake().unwrap();
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", "/v"), ("content-length", "4")];
    h2.send(&[frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&fields)), frame(kind::DATA, 0, 1, b"x")].concat());
    // The answer to what comes after it is made after it.
    h2.send(&get(3, "/v"));
    let ends = |stream: u32| {
        move |event: &Event| {
            matches!(event, Event::Frame(frame) if frame.stream == stream && frame.has(flag::END_STREAM))
                || !matches!(event, Event::Frame(_))
        }
    };
    std::iter::repeat_with(|| h2.next()).find(ends(3)).unwrap();
    let site = fs::read_to_string(routes.path().join("a.toml")).unwrap();
    fs::write(routes.path().join("a.toml"), site.replace("text = \"ours\"", "serve = \"new\"")).unwrap();
    running.reloader.reload_now().unwrap();
    h2.send(&frame(kind::DATA, flag::END_STREAM, 1, b"xyz"));
    let end = std::iter::repeat_with(|| h2.next()).find(ends(1)).unwrap();
    let Event::Frame(Frame { payload, .. }) = end else { panic!("{:?}", h2.heard) };
    assert!(String::from_utf8_lossy(&payload).contains("have changed"), "{}", payload.escape_ascii());
    assert!(h2.heard.iter().all(|event| !matches!(event, Event::Frame(frame) if frame.error() == Some(code::CANCEL))));
    assert_eq!(answered(&running), 2.0);
    running.stop();
}
