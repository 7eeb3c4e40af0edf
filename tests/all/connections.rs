//! Where connections come from, and how they end.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName, version::TLS13};
use waypost::{
    config::{Gateway, Limits},
    server,
};

use crate::{
    client::{self, PATIENCE, head},
    http2::raw::{PREFACE, block, frame},
    platform::Origin,
    relay::{self, HOST},
    serve,
};

/// What comes until the server closes in good order: a reset is an error.
fn read_all(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_client_that_still_sends_gets_the_last_answer_and_no_reset() {
    let routes = serve::routes();
    let gateway = serve::gateway(routes.path());
    let gateway = Gateway { limits: Limits { requests: 2, ..gateway.limits }, ..gateway };
    let running = server::start(gateway).unwrap();
    // More than the gateway reads at once.
    let request = "GET /a.htm HTTP/1.1\r\nHost: jyj.old.example\r\n\r\n".repeat(5000);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(running.http[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answers = read_all(&stream);
        assert_eq!((answers.matches("HTTP/1.1 301").count(), answers.matches("Connection: close").count()), (2, 1));
    }
    running.stop();
}

/// A PROXY header of version 2.
fn version_2(command: u8, addresses: &[u8]) -> Vec<u8> {
    let family = if addresses.is_empty() { 0 } else { 0x11 };
    let length = (addresses.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, family][..], &length, addresses].concat()
}

#[test]
fn a_proxy_header_names_the_client() {
    let origin = Origin::start();
    let (routes, gateway) = relay::gateway(origin.address);
    let path = routes.path().join("http.sock");
    let listen = |address: &str| format!("{address} proxy").parse().unwrap();
    let running = server::start(Gateway {
        http: vec![listen("127.0.0.1:0"), listen(&format!("unix:{}", path.display()))],
        https: vec![listen("127.0.0.1:0")],
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..gateway
    })
    .unwrap();
    // A client's word about itself is not believed because it came through a proxy that can't know it.
    let spoofed = [("Connection", "close"), ("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-Host", "evil.example")];
    let request = head("GET", HOST, b"/r/chunked", &spoofed, b"");
    let v2 = version_2(1, &[192, 0, 2, 2, 127, 0, 0, 1, 0x30, 0x39, 0, 80]);
    for (header, want) in [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 12345 80\r\n".to_vec(), "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 12345 80\r\n".to_vec(), "2001:db8::1"),
        (v2, "192.0.2.2"),
        (version_2(0, &[]), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ] {
        let all = [&header[..], &request].concat();
        let tcp = || {
            let stream = TcpStream::connect(running.http[0]).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        let mut stream = tcp();
        stream.write_all(&all).unwrap();
        assert!(read_all(stream).starts_with("HTTP/1.1 200 "), "{want}");
        assert_eq!(origin.next().values("x-forwarded-for"), [want]);
        let mut stream = tcp();
        all.chunks(1).for_each(|byte| stream.write_all(byte).unwrap());
        assert!(read_all(stream).starts_with("HTTP/1.1 200 "), "{want}");
        assert_eq!(origin.next().values("x-forwarded-for"), [want]);

        // TLS begins behind it.
        let mut stream = TcpStream::connect(running.https[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&header).unwrap();
        let config = client::tls(&TLS13, &["http/1.1"]);
        let tls = ClientConnection::new(config, ServerName::try_from(HOST).unwrap()).unwrap();
        let mut stream = StreamOwned::new(tls, stream);
        stream.write_all(&request).unwrap();
        assert!(read_all(stream).starts_with("HTTP/1.1 200 "), "{want}");
        let seen = origin.next();
        assert_eq!((seen.values("x-forwarded-for"), seen.values("x-forwarded-proto")), (vec![want], vec!["https"]));

        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(&all).unwrap();
        assert!(read_all(stream).starts_with("HTTP/1.1 200 "), "{want}");
        let known = want != "127.0.0.1";
        assert_eq!(origin.next().values("x-forwarded-for"), if known { vec![want] } else { vec![] });
    }
    running.stop();
}

#[test]
fn a_proxy_header_of_anybody_else_is_refused() {
    let origin = Origin::start();
    let (_routes, gateway) = relay::gateway(origin.address);
    let http = vec!["127.0.0.1:0 proxy".parse().unwrap()];
    let running = server::start(Gateway { http, trusted_proxies: Vec::new(), ..gateway }).unwrap();
    let mut stream = TcpStream::connect(running.http[0]).unwrap();
    let mut answer = Vec::new();
    // It may be closed before anything is read.
    let _ =
        stream.write_all(b"PROXY TCP4 192.0.2.1 127.0.0.1 12345 80\r\nGET /v HTTP/1.1\r\nHost: old.example\r\n\r\n");
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", answer.escape_ascii());
    running.stop();
}

#[test]
fn a_unix_socket_is_a_listener_like_any_other() {
    let origin = Origin::start();
    let (routes, gateway) = relay::gateway(origin.address);
    let path = routes.path().join("http.sock");
    let listen = format!("unix:{}", path.display()).parse().unwrap();
    let running = server::start(Gateway { http: vec![listen], ..gateway }).unwrap();
    // Whoever may open it is believed.
    let headers = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")];
    let last = [&headers[..], &[("Connection", "close")]].concat();
    let requests = [
        head("GET", HOST, b"/v", &[], b""),
        head("POST", HOST, b"/r/1", &headers, b"1"),
        head("GET", HOST, b"/v", &last, b""),
    ];
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&requests.concat()).unwrap();
    let text = read_all(stream);
    assert_eq!((text.matches("HTTP/1.1 200 ").count(), text.matches("ours").count()), (3, 2), "{text}");
    let seen = origin.next();
    assert_eq!((seen.values("x-forwarded-for"), seen.values("x-forwarded-proto")), (vec!["192.0.2.1"], vec!["https"]));
    running.stop();
}

/// HTTP/2 that begins unannounced: the bytes that the door has read to find out are not lost.
#[test]
fn http_2_by_prior_knowledge_begins_anywhere_in_a_read() {
    let origin = Origin::start();
    let (_routes, gateway) = relay::gateway(origin.address);
    let running = server::start(Gateway { h2c: true, ..gateway }).unwrap();
    let fields = |path| [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", path)];
    let begun = [PREFACE, &frame(4, 0, 0, b"")].concat();
    let streams = [frame(1, 5, 1, &block(&fields("/v"))), frame(1, 5, 3, &block(&fields("/r/chunked")))].concat();
    let goodbye = frame(7, 0, 0, &[0; 8]);
    let all = [begun, streams, goodbye].concat();
    for size in [all.len(), 1, 3, PREFACE.len(), PREFACE.len() + 9, 40] {
        let mut stream = TcpStream::connect(running.http[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        all.chunks(size).for_each(|piece| stream.write_all(piece).unwrap());
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        let has = |part: &[u8]| answers.windows(part.len()).any(|window| window == part);
        assert!(has(b"ours") && has(b"abc") && has(b"defg"), "{size}: {}", answers.escape_ascii());
    }
    // What only looks like it is HTTP/1, and wrong.
    let mut stream = TcpStream::connect(running.http[0]).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").unwrap();
    assert!(read_all(stream).starts_with("HTTP/1.1 505 "));
    running.stop();
}
