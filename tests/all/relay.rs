//! Requests that a platform answers, with a real server as the platform.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
};

use tempfile::TempDir;
use waypost::{
    config::{Gateway, Platform},
    server::{self, Running},
};

use crate::client::{Conn, Heard, PATIENCE, Response, Wire, head};
use crate::lanes::{Lane, Request};
use crate::serve;

const HOST: &str = "old.example";

const SITE: &str = "name = \"A\"\nhosts = [\"old.example\"]\nhome = \"https://new.example/\"\n\
    [[rule]]\nfrom = \"/r/{*rest}\"\nserve = \"new\"\n\
    [[rule]]\nfrom = \"/v\"\ntext = \"ours\"\n";

/// The lanes that relay differently.
const LANES: &[Lane] = &[Lane::Fast, Lane::Session, Lane::Tls13, Lane::H2, Lane::H2c];

/// A request as the platform saw it.
#[derive(Debug)]
struct Seen {
    head: String,
    body: Vec<u8>,
    /// Which connection it came over.
    connection: usize,
}

impl Seen {
    /// The values of a header.
    fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// A platform that answers each request with its body, or as the path says.
struct Origin {
    address: SocketAddr,
    seen: mpsc::Receiver<Seen>,
}

impl Origin {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::channel();
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let sender = sender.clone();
                // It ends when the gateway does.
                std::thread::spawn(move || serve_platform(&stream.unwrap(), connection, &sender));
            }
        });
        Origin { address, seen }
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("a request at the platform")
    }
}

/// None when the connection ends, or a request ends too early.
fn serve_platform(mut stream: &TcpStream, connection: usize, sender: &mpsc::Sender<Seen>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let seen = Seen { head, body: Vec::new(), connection };
        let mut body = Vec::new();
        if let [length] = seen.values("content-length")[..] {
            body.resize(length.parse().unwrap(), 0);
            reader.read_exact(&mut body).ok()?;
        } else if seen.values("transfer-encoding") == ["chunked"] {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok()?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk).ok()?;
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        }
        let head = "HTTP/1.1 200 OK\r\nServer: platform\r\n";
        let answer = match seen.head.split(' ').nth(1).unwrap_or_default() {
            path if path.contains("/half") => format!("{head}Content-Length: 100\r\n\r\nhalf"),
            path if path.contains("/chunked") => {
                format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
            }
            path if path.contains("/nothing") => String::new(),
            _ if seen.head.starts_with("HEAD") => format!("{head}Content-Length: 42\r\n\r\n"),
            _ => format!("{head}Content-Length: {}\r\n\r\n", body.len()),
        };
        let ends = answer.is_empty() || answer.ends_with("half");
        let echoes = !ends && !seen.head.starts_with("HEAD") && !answer.contains("chunked");
        sender.send(Seen { body: body.clone(), ..seen }).ok()?;
        stream.write_all(answer.as_bytes()).ok()?;
        if echoes {
            stream.write_all(&body).ok()?;
        }
        if ends {
            let _ = stream.shutdown(Shutdown::Both);
            return None;
        }
    }
}

/// A gateway in front of a platform.
fn gateway(origin: SocketAddr) -> (TempDir, Gateway) {
    let routes = tempfile::tempdir().unwrap();
    fs::write(routes.path().join("a.toml"), SITE).unwrap();
    let mut gateway = serve::gateway(routes.path());
    gateway.platforms.insert("new".to_owned(), Platform { origins: vec![format!("http://{origin}")], host: None });
    (routes, gateway)
}

/// How many requests went this way.
fn counted(running: &Running, lane: &str) -> u32 {
    let text = Conn::new(running.admin).get("admin", "/metrics").text();
    let start = format!("waypost_lane_requests_total{{lane=\"{lane}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap_or_default()
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
        for (method, body) in [("GET", &b""[..]), ("POST", &small), ("POST", &large), ("PUT", b""), ("DELETE", &small)]
        {
            let headers = [("X-Forwarded-For", "192.0.2.9"), ("Forwarded", "for=192.0.2.9"), ("Cookie", "a=b")];
            let spoofed = [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "gopher")];
            let headers = [&headers[..], &spoofed].concat();
            let target = b"/r/a%20b//c?q=%E4%BD%A0&x";
            let got = client.ask(&Request { method, host: HOST, target, headers: &headers, body });
            let seen = origin.next();
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
            assert!(seen.values("forwarded").is_empty(), "{lane}: {}", seen.head);
            assert_eq!(client.get(HOST, "/v").text(), "ours", "{lane}");
        }
        let got = client.ask(&Request { method: "HEAD", ..Request::get(HOST, b"/r/h") });
        assert_eq!((got.status, got.header("content-length"), got.body.len()), (200, "42", 0), "{lane}");
        assert_eq!(origin.next().connection, 0, "{lane}: connections to the platform are kept");
        assert_eq!(client.get(HOST, "/v").text(), "ours", "{lane}");
        assert_eq!(client.opened(), 1, "{lane}");
        let (relayed, ours) = match lane {
            Lane::H2 | Lane::H2c => (0, 0),
            Lane::Session => (12, 0),
            _ => (6, 6),
        };
        assert_eq!((counted(&running, "session"), counted(&running, "fast")), (relayed, ours), "{lane}");
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
