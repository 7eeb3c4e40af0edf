//! Requests that a platform answers, with a real server as the platform.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use waypost::{
    config::{Gateway, Platform},
    server::{self, Running},
};

use crate::client::{Conn, Heard, PATIENCE, Response, Wire, head};
use crate::http2::raw::{Event, Raw, block, code, flag, frame, kind};
use crate::lanes::{Lane, Request};
use crate::platform::Origin;
use crate::serve::{self, metric};

pub const HOST: &str = "old.example";

const SITE: &str = "name = \"A\"\nhosts = [\"old.example\"]\nhome = \"https://new.example/\"\n\
    [[rule]]\nfrom = \"/r/{*rest}\"\nserve = \"new\"\n\
    [[rule]]\nfrom = \"/v\"\ntext = \"ours\"\n";

/// The lanes that relay differently.
const LANES: &[Lane] = &[Lane::Fast, Lane::Session, Lane::Tls13, Lane::H2, Lane::H2c];

/// A gateway in front of a platform.
pub fn gateway(origin: SocketAddr) -> (TempDir, Gateway) {
    let routes = tempfile::tempdir().unwrap();
    fs::write(routes.path().join("a.toml"), SITE).unwrap();
    let mut gateway = serve::gateway(routes.path());
    gateway.platforms.insert("new".to_owned(), Platform::of([&*format!("http://{origin}")]).unwrap());
    (routes, gateway)
}

/// How many requests went this way.
fn counted(running: &Running, lane: &str) -> u32 {
    metric(running, &format!("waypost_requests_total{{lane=\"{lane}\"}}")) as u32
}

/// Reads one answer that has a length.
fn answer(wire: &mut Wire, buffer: &mut Vec<u8>) -> Response {
    loop {
        if let Some(answer) = Response::take(buffer, false).unwrap() {
            return answer;
        }
        assert_eq!(wire.hear(buffer, PATIENCE), Heard::Bytes, "{}", buffer.escape_ascii());
    }
}

fn chunked(target: &str, body: &[u8], size: usize) -> Vec<u8> {
    let mut raw = format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(size) {
        raw.extend(format!("{:x}\r\n", chunk.len()).bytes());
        raw.extend(chunk);
        raw.extend(b"\r\n");
    }
    raw.extend(b"0\r\n\r\n");
    raw
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn requests_and_answers_pass_whole_on_every_lane() {
    for &lane in LANES {
        let origin = Origin::start();
        let (_routes, gateway) = gateway(origin.address);
        let running = lane.start(Gateway { trusted_proxies: Vec::new(), ..gateway });
        let mut client = lane.client(&running);
        let (small, large) = (pattern(10), pattern(1 << 20));
        let mut used = std::collections::BTreeSet::new();
        for (method, body) in [("GET", &b""[..]), ("POST", &small), ("POST", &large), ("PUT", b""), ("DELETE", &small)]
        {
            let headers = [("X-Forwarded-For", "192.0.2.9"), ("Forwarded", "for=192.0.2.9"), ("Cookie", "a=b")];
            let spoofed = [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "gopher")];
            let headers = [&headers[..], &spoofed].concat();
            let target = b"/r/a%20b//c?q=%E4%BD%A0&x";
            let got = client.ask(&Request { method, host: HOST, target, headers: &headers, body });
            let seen = origin.next();
            used.insert(seen.connection);
            assert_eq!((got.status, got.header("server")), (200, ""), "{lane} {method} {}", body.len());
            assert!(got.body == body && seen.body == body, "{lane} {method} {}", body.len());
            let line = seen.head.lines().next().unwrap();
            assert_eq!(line, format!("{method} /r/a%20b//c?q=%E4%BD%A0&x HTTP/1.1"), "{lane}");
            let proto = if lane.is_tls() { "https" } else { "http" };
            assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"], "{lane}: {}", seen.head);
            assert_eq!(seen.values("x-forwarded-proto"), [proto], "{lane}");
            assert_eq!(seen.values("x-forwarded-host"), [HOST], "{lane}");
            assert_eq!(seen.values("host"), [HOST], "{lane}");
            assert_eq!(seen.values("cookie"), ["a=b"], "{lane}");
            assert_eq!(seen.values("forwarded"), [format!("proto={proto};for=127.0.0.1;host=\"{HOST}\"")], "{lane}");
            assert_eq!(client.get(HOST, "/v").text(), "ours", "{lane}");
        }
        let got = client.ask(&Request { method: "HEAD", ..Request::get(HOST, b"/r/h") });
        assert_eq!((got.status, got.header("content-length"), got.body.len()), (200, "42", 0), "{lane}");
        assert!(used.contains(&origin.next().connection), "{lane}: connections to the platform are kept");
        assert_eq!(client.get(HOST, "/v").text(), "ours", "{lane}");
        assert_eq!(client.opened(), 1, "{lane}");
        let (relayed, ours) = match lane {
            Lane::H2 | Lane::H2c => (0, 0),
            Lane::Session => (12, 0),
            _ => (6, 6),
        };
        assert_eq!((counted(&running, "session"), counted(&running, "fast")), (relayed, ours), "{lane}");
        drop(client);
        running.stop();
    }
}

#[test]
fn lanes_take_turns_on_one_connection() {
    for lane in [Lane::Fast, Lane::Tls13] {
        let origin = Origin::start();
        let (_routes, gateway) = gateway(origin.address);
        let running = lane.start(gateway);
        let ours = head("GET", HOST, b"/v", &[], b"");
        let large = pattern(1 << 20);
        let asked: Vec<(Vec<u8>, &[u8])> = vec![
            (ours.clone(), b"ours"),
            (head("GET", HOST, b"/r/1", &[], b""), b""),
            (ours.clone(), b"ours"),
            (head("POST", HOST, b"/r/2", &[], b"two"), b"two"),
            (chunked("/r/3", b"three", 2), b"three"),
            (head("POST", HOST, b"/v", &[], b"nobody wants this"), b"ours"),
            (chunked("/r/4", &large, 10_000), &large),
            (ours.clone(), b"ours"),
            (head("POST", HOST, b"/r/5", &[], &large), &large),
            (ours, b"ours"),
        ];
        let mut wire = lane.dial(&running, HOST).open().unwrap();
        let all: Vec<u8> = asked.iter().flat_map(|(raw, _)| raw.clone()).collect();
        let mut buffer = Vec::new();
        // In large pieces and in small ones. What follows an answer is sent before it, where that is in the same piece.
        for size in [200_000, 1000] {
            let mut sent = 0;
            for (number, (_, want)) in asked.iter().enumerate() {
                let end: usize = asked[..=number].iter().map(|(raw, _)| raw.len()).sum();
                while sent < end {
                    let piece = &all[sent..all.len().min(sent + size)];
                    wire.send(piece).unwrap();
                    sent += piece.len();
                }
                let got = answer(&mut wire, &mut buffer);
                assert!(got.status == 200 && got.body == *want, "{lane} {size} {number}: {}", got.status);
            }
        }
        assert_eq!((counted(&running, "fast"), counted(&running, "session")), (10, 10), "{lane}");
        running.stop();
    }
}

#[test]
fn a_trusted_proxy_is_believed_and_others_are_not() {
    let origin = Origin::start();
    for (trusted, want) in
        [("127.0.0.0/8", ["192.0.2.9, 127.0.0.1", "https", HOST]), ("192.0.2.0/24", ["127.0.0.1", "http", "x"])]
    {
        let (_routes, gateway) = gateway(origin.address);
        let running = server::start(Gateway { trusted_proxies: vec![trusted.parse().unwrap()], ..gateway }).unwrap();
        let headers = [("X-Forwarded-For", "192.0.2.9"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", HOST)];
        let host = if want[2] == HOST { "inner.example" } else { HOST };
        let raw = head("GET", host, b"/r/1", &headers, b"");
        assert_eq!(Conn::new(running.http[0]).send(&raw, false).unwrap().status, 200, "{trusted}");
        let seen = origin.next();
        assert_eq!(seen.values("x-forwarded-for").join(", "), want[0]);
        assert_eq!((seen.values("x-forwarded-proto"), seen.values("x-forwarded-host")), (vec![want[1]], vec![HOST]));
        running.stop();
    }
}

#[test]
fn what_http_1_says_of_bodies_passes() {
    for lane in [Lane::Fast, Lane::Session, Lane::Tls13] {
        let origin = Origin::start();
        let (_routes, gateway) = gateway(origin.address);
        let running = lane.start(gateway);
        let mut wire = lane.dial(&running, HOST).open().unwrap();
        let mut buffer = Vec::new();
        // A client that waits to be told.
        let raw = head("POST", HOST, b"/r/1", &[("Expect", "100-continue")], b"body");
        wire.send(&raw[..raw.len() - 4]).unwrap();
        while !buffer.ends_with(b"\r\n\r\n") {
            assert_eq!(wire.hear(&mut buffer, PATIENCE), Heard::Bytes);
        }
        assert!(buffer.starts_with(b"HTTP/1.1 100 "), "{lane}: {}", buffer.escape_ascii());
        buffer.clear();
        wire.send(b"body").unwrap();
        let got = answer(&mut wire, &mut buffer);
        assert!(got.body == b"body" && got.header("connection") != "close", "{lane}: {got:?}");
        let seen = origin.next();
        assert!(seen.body == b"body" && seen.values("expect").is_empty(), "{lane}");
        // Bytes that no URI has, an answer in chunks, and the request after it.
        wire.send(
            &[
                &head("GET", HOST, b"/r/chunked/\xC4\xE3<|^`{\"?\x80`", &[], b"")[..],
                &head("GET", HOST, b"/v", &[], b""),
            ]
            .concat(),
        )
        .unwrap();
        while !buffer.ends_with(b"ours") {
            assert_eq!(wire.hear(&mut buffer, PATIENCE), Heard::Bytes, "{}", buffer.escape_ascii());
        }
        let line = origin.next().head.lines().next().unwrap_or_default().to_owned();
        assert_eq!(line, "GET /r/chunked/%C4%E3%3C%7C%5E%60%7B%22?%80%60 HTTP/1.1", "{lane}");
        let text = String::from_utf8_lossy(&buffer);
        assert!(text.contains("abc") && text.contains("defg") && text.contains("\r\n0\r\n\r\nHTTP/1.1 200 "), "{text}");
        running.stop();
    }
}

#[test]
fn an_upgrade_that_the_platform_declines_ends_the_connection() {
    for lane in [Lane::Fast, Lane::Session, Lane::Tls13] {
        let origin = Origin::start();
        let (_routes, gateway) = gateway(origin.address);
        let running = lane.start(gateway);
        for (connection, ends) in [("Upgrade", true), ("keep-alive", false)] {
            let headers = [("Upgrade", "websocket"), ("Connection", connection)];
            let mut wire = lane.dial(&running, HOST).open().unwrap();
            wire.send(&head("GET", HOST, b"/r/1", &headers, b"")).unwrap();
            let mut buffer = Vec::new();
            let got = answer(&mut wire, &mut buffer);
            assert_eq!((got.status, got.header("connection") == "close"), (200, ends), "{lane} {connection}");
            wire.send(&head("GET", HOST, b"/v", &[], b"")).unwrap();
            let heard = if ends { Heard::Closed } else { Heard::Bytes };
            assert_eq!(wire.hear(&mut buffer, PATIENCE), heard, "{lane} {connection}");
        }
        running.stop();
    }
}

#[test]
fn a_site_has_its_hsts_on_what_platforms_answer_too() {
    for &lane in LANES {
        let origin = Origin::start();
        let (routes, gateway) = gateway(origin.address);
        fs::write(routes.path().join("a.toml"), format!("hsts = {{}}\n{SITE}")).unwrap();
        let running = lane.start(gateway);
        let got = lane.client(&running).get(HOST, "/r/1");
        let want = if lane.is_tls() { "max-age=31536000" } else { "" };
        assert_eq!((got.status, got.header("strict-transport-security")), (200, want), "{lane}");
        running.stop();
    }
}

#[test]
fn a_body_that_is_framed_badly_is_400_and_the_end() {
    for lane in [Lane::Fast, Lane::Session, Lane::Tls13] {
        let origin = Origin::start();
        let (_routes, gateway) = gateway(origin.address);
        let running = lane.start(gateway);
        // Fatal at once, and after a good chunk; and much that is still being sent.
        for bad in ["zz\r\n", "5\r\nhelloX", "3;\x01\r\nabc\r\n", "1\r\nx\r\n0\r\n bad\r\n\r\n"] {
            let mut raw = chunked("/r/1", b"good", 4);
            raw.truncate(raw.len() - 5);
            raw.extend(bad.bytes());
            raw.extend(b"GET /v HTTP/1.1\r\nHost: old.example\r\n\r\n".repeat(5000));
            let mut wire = lane.dial(&running, HOST).open().unwrap();
            wire.send(&raw).unwrap();
            let mut buffer = Vec::new();
            let got = answer(&mut wire, &mut buffer);
            assert_eq!((got.status, got.header("connection")), (400, "close"), "{lane} {bad:?}");
            assert_eq!(wire.hear(&mut buffer, PATIENCE), Heard::Closed, "{lane} {bad:?}");
            assert!(buffer.is_empty(), "{lane} {bad:?}: {}", buffer.escape_ascii());
        }
        running.stop();
    }
}

#[test]
fn a_body_that_comes_too_slowly_is_408() {
    std::thread::scope(|scope| {
        for lane in [Lane::Fast, Lane::Session, Lane::Tls13] {
            scope.spawn(move || {
                let origin = Origin::start();
                let (_routes, gateway) = gateway(origin.address);
                let running = lane.start(gateway);
                let mut wire = lane.dial(&running, HOST).open().unwrap();
                let raw = head("POST", HOST, b"/r/1", &[], &[b'x'; 100]);
                wire.send(&raw[..raw.len() - 50]).unwrap();
                let mut buffer = Vec::new();
                let mut sent = 0;
                // A byte a second.
                let heard = loop {
                    match wire.hear(&mut buffer, Duration::from_secs(1)) {
                        Heard::Silence => drop(wire.send(b"x")),
                        heard => break heard,
                    }
                    sent += 1;
                };
                assert_eq!(heard, Heard::Bytes, "{lane}");
                let got = answer(&mut wire, &mut buffer);
                assert!(got.status == 408 && got.text().contains("took too long"), "{lane}: {}", got.text());
                assert!((9..=15).contains(&sent), "{lane}: {sent} seconds");
                running.stop();
            });
        }
        for (lane, length) in [(Lane::H2, "100"), (Lane::H2c, "100"), (Lane::H2, "")] {
            scope.spawn(move || slow_body_over_http2(lane, length));
        }
    });
}

/// A byte every five seconds, or none if the length is not told.
fn slow_body_over_http2(lane: Lane, length: &str) {
    let origin = Origin::start();
    let (_routes, gateway) = gateway(origin.address);
    let running = lane.start(gateway);
    let mut h2 = Raw::connect(&lane.dial(&running, HOST));
    h2.handshake().unwrap();
    let mut fields =
        vec![(":method", "POST"), (":scheme", if lane.is_tls() { "https" } else { "http" }), (":authority", HOST)];
    fields.push((":path", "/r/1"));
    if !length.is_empty() {
        fields.push(("content-length", length));
    }
    h2.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&fields)));
    let begun = Instant::now();
    let mut page = Vec::new();
    loop {
        match h2.next() {
            Event::Frame(frame) if frame.is(kind::DATA) => {
                page.extend(&frame.payload);
                if frame.has(flag::END_STREAM) {
                    break;
                }
            }
            Event::Frame(_) => {}
            Event::Silence if begun.elapsed() < PATIENCE => {
                if !length.is_empty() {
                    h2.send(&frame(kind::DATA, 0, 1, b"x"));
                }
            }
            event => panic!("{lane}: {event:?}, {:?}", h2.heard),
        }
    }
    let took = begun.elapsed().as_secs();
    let page = String::from_utf8_lossy(&page);
    assert!(page.contains("the body of the request took too long"), "{lane}: {page}");
    assert!((9..=16).contains(&took), "{lane}: {took} seconds");
    assert_eq!(metric(&running, "waypost_limits_total{limit=\"body_rate\"}"), 1.0, "{lane}");
    // The connection is none the worse for it.
    fields.truncate(3);
    let get = [&[(":method", "GET"), (":path", "/v")][..], &fields[1..]].concat();
    h2.send(&frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 3, &block(&get)));
    while !matches!(h2.next(), Event::Frame(frame) if frame.is(kind::DATA) && frame.payload == b"ours") {}
    running.stop();
}

#[test]
fn requests_taken_back_from_platforms_count_as_resets() {
    let origin = Origin::start();
    let (_routes, mut gateway) = gateway(origin.address);
    gateway.limits.resets = 5;
    let running = Lane::H2c.start(gateway);
    let mut h2 = Raw::connect(&Lane::H2c.dial(&running, HOST));
    h2.handshake().unwrap();
    for stream in [1, 3, 5, 7, 9, 11] {
        // One with a body that has not come yet, others that wait for the answer.
        let (method, more) = if stream == 1 { ("POST", 0) } else { ("GET", flag::END_STREAM) };
        let path = format!("/r/never/{stream}");
        let fields = [(":method", method), (":scheme", "http"), (":authority", HOST), (":path", &*path)];
        h2.send(&frame(kind::HEADERS, flag::END_HEADERS | more, stream, &block(&fields)));
        if stream > 1 {
            origin.next();
        }
        h2.send(&frame(kind::RST_STREAM, 0, stream, &code::CANCEL.to_be_bytes()));
    }
    let end = std::iter::repeat_with(|| h2.next())
        .find(|event| !matches!(event, Event::Frame(frame) if !frame.is(kind::GOAWAY)))
        .unwrap();
    let Event::Frame(end) = end else { panic!("{:?}", h2.heard) };
    assert_eq!(end.error(), Some(code::ENHANCE_YOUR_CALM), "{:?}", h2.heard);
    assert_eq!(metric(&running, "waypost_limits_total{limit=\"http2_flood\"}"), 1.0);
    running.stop();
}

#[test]
fn a_platform_that_fails() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for &lane in LANES {
        let (_down, gateway_of_none) = gateway(unused);
        let running = lane.start(gateway_of_none);
        let mut client = lane.client(&running);
        for body in [&b""[..], b"body"] {
            let method = if body.is_empty() { "GET" } else { "POST" };
            let got = client.ask(&Request { method, body, ..Request::get(HOST, b"/r/1") });
            assert_eq!((got.status, got.header("retry-after")), (503, "10"), "{lane} {method}");
            assert!(got.text().contains("does not answer for now"), "{lane} {method}: {}", got.text());
        }
        assert_eq!(client.get(HOST, "/v").text(), "ours", "{lane}");
        drop(client);
        running.stop();

        let origin = Origin::start();
        let (_routes, gateway) = gateway(origin.address);
        let running = lane.start(gateway);
        let mut client = lane.client(&running);
        assert_eq!(client.get(HOST, "/r/nothing").status, 502, "{lane}");
        // An answer that ends too early must not look whole.
        if lane.is_h2() {
            let ask = std::panic::AssertUnwindSafe(|| client.get(HOST, "/r/half"));
            assert!(std::panic::catch_unwind(ask).is_err(), "{lane}");
        } else {
            let mut wire = lane.dial(&running, HOST).open().unwrap();
            wire.send(&head("GET", HOST, b"/r/half", &[], b"")).unwrap();
            let mut buffer = Vec::new();
            while wire.hear(&mut buffer, PATIENCE) == Heard::Bytes {}
            let body = buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|end| &buffer[end + 4..]);
            assert!(body.is_some_and(|body| b"half".starts_with(body)), "{lane}: {}", buffer.escape_ascii());
        }
        // A client that is gone in the middle of its request takes nothing with it.
        if !lane.is_h2() {
            for part in [20, 5] {
                let raw = head("POST", HOST, b"/r/gone", &[], &[b'x'; 20]);
                lane.dial(&running, HOST).open().unwrap().send(&raw[..raw.len() - part]).unwrap();
            }
        }
        let mut client = lane.client(&running);
        assert_eq!(client.get(HOST, "/r/1").status, 200, "{lane}");
        drop(client);
        running.stop();
    }
}
