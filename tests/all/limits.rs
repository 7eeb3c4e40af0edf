//! What one client may take: each limit is met, answered as it should be, and counted.

use std::{
    io::{self, Read, Write},
    net::TcpListener,
    time::{Duration, Instant},
};

use socket2::{Domain, SockAddr, Type};
use waypost::{
    config::{Gateway, Limits, Platform},
    server::{self, Running},
};

use crate::{
    client::{Conn, Dial, Heard, PATIENCE, Response, Wire},
    http2::raw::{Event, Raw, block, code, flag, frame, kind},
    lanes::Lane,
    serve::{self, metric, routes, until},
};

const GET: &[u8] = b"GET /a.htm HTTP/1.1\r\nHost: jyj.old.example\r\n\r\n";

/// Starts a gateway with HTTPS; `change` is what differs from the defaults.
fn start(change: impl FnOnce(&mut Gateway)) -> (tempfile::TempDir, Running) {
    let routes = routes();
    let mut gateway = serve::gateway(routes.path());
    gateway.https = vec!["127.0.0.1:0".parse().unwrap()];
    change(&mut gateway);
    let running = server::start(gateway).unwrap();
    (routes, running)
}

/// Times that a limit was met.
fn met(running: &Running, limit: &str) -> f64 {
    metric(running, &format!("waypost_limits_total{{limit=\"{limit}\"}}"))
}

/// Connections that were refused for a reason.
fn refused(running: &Running, reason: &str) -> f64 {
    metric(running, &format!("waypost_connections_refused_total{{reason=\"{reason}\"}}"))
}

/// A connection over which something was sent.
fn sent(dial: &Dial, bytes: &[u8]) -> Wire {
    let mut wire = dial.open().unwrap();
    // An error means that the server closed it, which is heard later.
    let _ = wire.send(bytes);
    wire
}

/// Everything until the server closes the connection.
fn rest(mut wire: Wire) -> String {
    let mut buffer = Vec::new();
    while wire.hear(&mut buffer, PATIENCE) == Heard::Bytes {}
    String::from_utf8_lossy(&buffer).into_owned()
}

/// One answer; the connection stays open.
fn answer(wire: &mut Wire) -> Response {
    let mut buffer = Vec::new();
    loop {
        if let Some(response) = Response::take(&mut buffer, false).unwrap() {
            return response;
        }
        assert_eq!(wire.hear(&mut buffer, PATIENCE), Heard::Bytes, "{}", buffer.escape_ascii());
    }
}

#[test]
fn what_takes_too_long_ends() {
    let (_routes, running) = start(|gateway| {
        gateway.limits = Limits { handshake_time: 1, head_time: 1, idle_time: 1, ..gateway.limits };
        gateway.http.push("127.0.0.1:0 proxy".parse().unwrap());
    });
    let plain = Dial::plain(running.http[0]);
    let secure = Dial::plain(running.https[0]);
    let mut h2 = Raw::connect(&Lane::H2.dial(&running, "jyj.old.example"));
    h2.handshake().unwrap();

    // All wait at the same time.
    let begun = Instant::now();
    let silent = sent(&plain, b"");
    let half_head = sent(&plain, &GET[..GET.len() - 2]);
    let half_body = sent(&plain, b"POST /a.htm HTTP/1.1\r\nHost: jyj.old.example\r\nContent-Length: 9\r\n\r\nx");
    let idle = sent(&plain, GET);
    let no_hello = sent(&secure, b"");
    let half_hello = sent(&secure, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3]);
    let no_proxy_header = sent(&Dial::plain(running.http[1]), b"PROXY TCP4 ");
    let no_preface = sent(&Lane::H2.dial(&running, "jyj.old.example"), b"");

    assert_eq!(rest(silent), "");
    assert!(rest(half_head).starts_with("HTTP/1.1 408 "));
    assert!(rest(half_body).starts_with("HTTP/1.1 408 "));
    assert!(rest(idle).starts_with("HTTP/1.1 301 "));
    assert_eq!(rest(no_hello) + &rest(half_hello) + &rest(no_proxy_header), "");
    rest(no_preface);
    let parting = std::iter::repeat_with(|| h2.next())
        .find(|event| !matches!(event, Event::Frame(frame) if !frame.is(kind::GOAWAY)))
        .unwrap();
    assert!(matches!(&parting, Event::Frame(frame) if frame.error() == Some(code::NO_ERROR)), "{parting:?}");
    while h2.next() != Event::Closed {}

    for (limit, times) in [("head_time", 3.0), ("body_rate", 1.0), ("idle_time", 2.0), ("handshake_time", 3.0)] {
        assert_eq!(met(&running, limit), times, "{limit}");
    }
    assert_eq!(metric(&running, "waypost_tls_handshake_failures_total{reason=\"timeout\"}"), 2.0);
    until("the end of all", || metric(&running, "waypost_connections_open{listener=\"http\"}") == 0.0);
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    running.stop();
}

#[test]
fn empty_lines_buy_no_time() {
    let (_routes, running) = start(|gateway| gateway.limits = Limits { head_time: 2, idle_time: 2, ..gateway.limits });
    let dial = Dial::plain(running.http[0]);
    for first in [&b""[..], GET] {
        let mut wire = sent(&dial, first);
        if !first.is_empty() {
            assert_eq!(answer(&mut wire).status, 301);
        }
        let begun = Instant::now();
        let mut buffer = Vec::new();
        for byte in b"\r\n".iter().cycle() {
            let _ = wire.send(&[*byte]);
            match wire.hear(&mut buffer, Duration::from_millis(500)) {
                Heard::Silence => assert!(begun.elapsed() < Duration::from_secs(10), "it stays"),
                Heard::Closed => break,
                Heard::Bytes => panic!("{}", buffer.escape_ascii()),
            }
        }
    }
    assert_eq!((met(&running, "head_time"), met(&running, "idle_time")), (1.0, 1.0));
    running.stop();
}

#[test]
fn a_client_that_is_always_in_the_middle_of_a_request_is_no_slow_one() {
    let (_routes, running) = start(|gateway| gateway.limits.head_time = 1);
    let mut wire = sent(&Dial::plain(running.http[0]), &GET[..10]);
    let begun = Instant::now();
    let mut buffer = Vec::new();
    let next = [&GET[10..], &GET[..10]].concat();
    // Longer than a head may take, each of them in time.
    while begun.elapsed() < Duration::from_secs(3) {
        wire.send(&next).unwrap();
        while Response::take(&mut buffer, false).unwrap().map(|got| assert_eq!(got.status, 301)).is_none() {
            assert_eq!(wire.hear(&mut buffer, PATIENCE), Heard::Bytes, "{}", buffer.escape_ascii());
        }
        wire.hear(&mut buffer, Duration::from_millis(100));
    }
    assert_eq!(met(&running, "head_time"), 0.0);
    running.stop();
}

#[test]
fn who_takes_answers_too_slowly_is_cut_off() {
    let (_routes, running) = start(|gateway| gateway.limits.requests = 0);
    // With a small window, so that the system takes in little of what is not read.
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SockAddr::from(running.http[0])).unwrap();
    socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let many = GET.repeat(100);
    // Requests until the gateway takes no more: it has answers that it can't send.
    let error = std::iter::repeat_with(|| (&socket).write_all(&many)).find_map(Result::err).unwrap();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let begun = Instant::now();
    while met(&running, "send_rate") == 0.0 {
        assert!(begun.elapsed() < PATIENCE, "nothing happens");
        std::thread::sleep(Duration::from_millis(20));
    }
    // It is reset: what the system still had is not sent to the last.
    until("a reset", || socket.take_error().unwrap().is_some());
    running.stop();
}

#[test]
fn slow_clients_of_platforms_are_cut_off() {
    // It takes in what is posted without a word, and has much for those who get.
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = origin.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in origin.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut first = [0; 4];
                stream.read_exact(&mut first).unwrap();
                if first == *b"GET " {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
                    let _ = stream.write_all(&vec![0; 100_000_000]);
                }
                let _ = io::copy(&mut stream, &mut io::sink());
            });
        }
    });
    let (_routes, running) = start(|gateway| {
        gateway.platforms.insert("new".to_owned(), Platform::of([&*format!("http://{address}")]).unwrap());
    });
    let plain = Dial::plain(running.http[0]);
    let post = sent(&plain, b"POST /mailbox/a HTTP/1.1\r\nHost: jyj.old.example\r\nContent-Length: 9\r\n\r\nx");
    let _get = sent(&plain, b"GET /mailbox/a HTTP/1.1\r\nHost: jyj.old.example\r\n\r\n");
    let answer = rest(post);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(met(&running, "body_rate"), 1.0);
    until("the other's end", || met(&running, "send_rate") == 1.0);
    running.stop();
}

#[test]
fn what_is_too_much_is_refused() {
    let (_routes, running) = start(|gateway| gateway.limits = Limits { head: 10_000, fields: 5, ..gateway.limits });
    let plain = Dial::plain(running.http[0]);
    let long = "a".repeat(9000);
    for (request, status, limit, times) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: jyj.old.example\r\n\r\n"), 414, "target", 1.0),
        (format!("GET / HTTP/1.1\r\nHost: jyj.old.example\r\nX: {long}\r\nY: {long}\r\n\r\n"), 431, "head", 1.0),
        (format!("GET / HTTP/1.1\r\nHost: jyj.old.example\r\n{}\r\n", "X: y\r\n".repeat(5)), 431, "head", 2.0),
        ("GET / HTTP/1.1\r\nHost : jyj.old.example\r\n\r\n".to_owned(), 400, "malformed", 1.0),
    ] {
        let answer = rest(sent(&plain, request.as_bytes()));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        assert_eq!(met(&running, limit), times, "{limit}");
    }
    running.stop();
}

#[test]
fn a_connection_serves_so_many_requests() {
    let (_routes, running) = start(|gateway| gateway.limits.requests = 3);
    let answers = rest(sent(&Dial::plain(running.http[0]), &GET.repeat(5)));
    let parts: Vec<&str> = answers.split("HTTP/1.1 301 ").skip(1).collect();
    assert_eq!(parts.len(), 3, "{answers}");
    assert_eq!(parts.iter().filter(|part| part.contains("Connection: close\r\n")).count(), 1, "{answers}");
    assert_eq!(met(&running, "requests"), 1.0);

    let mut h2 = Raw::connect(&Lane::H2.dial(&running, "jyj.old.example"));
    h2.handshake().unwrap();
    for stream in [1, 3, 5] {
        h2.send(&headers(stream));
    }
    let (mut answered, mut asked_to_go) = (0, false);
    loop {
        match h2.next() {
            Event::Frame(frame) if frame.is(kind::HEADERS) => answered += 1,
            Event::Frame(frame) if frame.is(kind::GOAWAY) => asked_to_go = frame.error() == Some(code::NO_ERROR),
            // What ends a connection in good order (RFC 9113, 6.8).
            Event::Frame(ping) if ping.is(kind::PING) => h2.send(&frame(kind::PING, flag::ACK, 0, &ping.payload)),
            Event::Frame(_) => {}
            Event::Closed => break,
            Event::Silence => panic!("{:?}", h2.heard),
        }
    }
    assert!(answered == 3 && asked_to_go, "{:?}", h2.heard);
    assert_eq!(met(&running, "requests"), 2.0);
    running.stop();
}

#[test]
fn a_client_has_so_many_connections() {
    let (_routes, running) = start(|gateway| {
        gateway.limits.connections_per_client = 2;
        gateway.trusted_proxies.clear();
    });
    let plain = Dial::plain(running.http[0]);
    let (mut one, mut two) = (sent(&plain, GET), sent(&plain, GET));
    assert_eq!((answer(&mut one).status, answer(&mut two).status), (301, 301));
    let third = rest(sent(&plain, GET));
    assert!(third.starts_with("HTTP/1.1 429 ") && third.contains("Connection: close\r\n"), "{third}");
    assert!(Lane::Tls13.dial(&running, "jyj.old.example").open().unwrap().send(GET).is_err());
    assert_eq!(refused(&running, "client"), 2.0);
    // Those that are let in are served as before, and one that ends makes room.
    one.send(GET).unwrap();
    assert_eq!(answer(&mut one).status, 301);
    drop(two);
    until("room", || Conn::new(running.http[0]).get("jyj.old.example", "/a.htm").status == 301);
    running.stop();
}

#[test]
fn there_is_room_for_so_many_connections() {
    let (_routes, running) = start(|gateway| gateway.limits.connections = 2);
    let plain = Dial::plain(running.http[0]);
    let (mut one, mut two) = (sent(&plain, GET), sent(&plain, GET));
    assert_eq!((answer(&mut one).status, answer(&mut two).status), (301, 301));
    assert_eq!(rest(sent(&plain, GET)), "");
    assert_eq!(refused(&running, "connections"), 1.0);
    assert_eq!(metric(&running, "waypost_connections_open{listener=\"http\"}"), 2.0);
    drop(two);
    until("room", || !rest(sent(&plain, b"GET / HTTP/1.0\r\n\r\n")).is_empty());
    running.stop();
}

#[test]
fn connections_count_for_whom_a_trusted_proxy_names() {
    let (_routes, running) = start(|gateway| {
        gateway.limits.connections_per_client = 1;
        gateway.http = vec!["127.0.0.1:0 proxy".parse().unwrap()];
    });
    let proxied = Dial::plain(running.http[0]);
    let version_1 = |client: &str| [format!("PROXY TCP4 {client} 127.0.0.1 4000 80\r\n").as_bytes(), GET].concat();
    let version_2 = |client: [u8; 4]| {
        let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C";
        [&head[..], &client, &[127, 0, 0, 1, 15, 160, 0, 80], GET].concat()
    };
    let mut one = sent(&proxied, &version_1("192.0.2.1"));
    assert_eq!(answer(&mut one).status, 301);
    let mut other = sent(&proxied, &version_2([192, 0, 2, 2]));
    assert_eq!(answer(&mut other).status, 301);
    for same in [version_2([192, 0, 2, 1]), version_1("192.0.2.2")] {
        let answer = rest(sent(&proxied, &same));
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    }
    assert_eq!(refused(&running, "client"), 2.0);
    // A proxy itself stands for many.
    let mut checks = [sent(&proxied, b"PROXY UNKNOWN\r\n"), sent(&proxied, b"PROXY UNKNOWN\r\n")];
    for check in &mut checks {
        check.send(GET).unwrap();
        assert_eq!(answer(check).status, 301);
    }
    assert_eq!(rest(sent(&proxied, GET)), "");
    assert_eq!(refused(&running, "bad_proxy_header"), 1.0);
    running.stop();

    let (_routes, running) = start(|gateway| {
        gateway.trusted_proxies.clear();
        gateway.http = vec!["127.0.0.1:0 proxy".parse().unwrap()];
    });
    assert_eq!(rest(sent(&Dial::plain(running.http[0]), &version_1("192.0.2.1"))), "");
    assert_eq!(refused(&running, "untrusted_proxy"), 1.0);
    running.stop();
}

#[test]
fn floods_over_http2_end_the_connection() {
    let rapid_reset =
        |stream| [headers(stream), frame(kind::RST_STREAM, 0, stream, &code::CANCEL.to_be_bytes())].concat();
    // RFC 9113, 8.2.2.
    let malformed = |stream| request(stream, &[("connection", "close")]);
    let (_routes, running) = start(|gateway| gateway.limits.resets = 10);
    for (times, attack) in [&rapid_reset as &dyn Fn(u32) -> Vec<u8>, &malformed].into_iter().enumerate() {
        let mut h2 = Raw::connect(&Lane::H2.dial(&running, "jyj.old.example"));
        h2.handshake().unwrap();
        let all: Vec<u8> = (0..200).flat_map(|number| attack(2 * number + 1)).collect();
        h2.send(&all);
        let mut goaway = None;
        loop {
            match h2.next() {
                Event::Frame(frame) if frame.is(kind::GOAWAY) => goaway = frame.error(),
                Event::Frame(_) => {}
                Event::Closed => break,
                Event::Silence => panic!("{:?}", h2.heard),
            }
        }
        assert_eq!(goaway, Some(code::ENHANCE_YOUR_CALM), "{times} {:?}", h2.heard);
        until("the count", || met(&running, "http2_flood") == times as f64 + 1.0);
    }
    running.stop();
}

fn headers(stream: u32) -> Vec<u8> {
    request(stream, &[])
}

/// A request with these fields besides.
fn request(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "jyj.old.example"), (":path", "/a.htm")];
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &block(&[&fields[..], more].concat()))
}
