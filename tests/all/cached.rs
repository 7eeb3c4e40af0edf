//! Answers of platforms through the cache, and links in them.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
};

use waypost::{config::Origin, model::Host, server::Running};

use crate::client::{Conn, Heard, PATIENCE, Response, head};
use crate::http2::raw::{Event, Raw, block, flag, frame, kind};
use crate::lanes::{Lane, Request};
use crate::relay::{HOST, gateway};
use crate::serve::{metric, until};

/// A platform that answers every request with `answer(path)`, a whole message, and counts them.
pub struct Scripted {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    pub fn start(answer: impl Fn(&str, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let count = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answer, count) = (stream.unwrap(), answer.clone(), count.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    loop {
                        let mut head = String::new();
                        while !head.ends_with("\r\n\r\n") {
                            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        let length = head
                            .lines()
                            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                        let mut body = vec![0; length.unwrap_or(0)];
                        reader.read_exact(&mut body).unwrap();
                        count.fetch_add(1, SeqCst);
                        let path = head.split(' ').nth(1).unwrap().to_owned();
                        let answer = answer(&path, &head);
                        if stream.write_all(&answer).is_err() || path.ends_with("/closes") {
                            let _ = stream.shutdown(Shutdown::Both);
                            return;
                        }
                    }
                });
            }
        });
        Scripted { address, asked }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

pub fn message(fields: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn hits(running: &Running) -> f64 {
    metric(running, "waypost_cache_requests_total{result=\"hit\"}")
}

const LANES: &[Lane] = &[Lane::Fast, Lane::Session, Lane::Tls13, Lane::H2, Lane::H2c];

#[test]
fn what_may_be_stored_is_asked_for_once() {
    for &lane in LANES {
        let origin = Scripted::start(|path, _| match path {
            "/r/kept" => message("Cache-Control: max-age=60\r\nETag: \"1\"\r\n", b"page"),
            "/r/private" => message("Cache-Control: private, max-age=60\r\n", b"page"),
            _ => message("Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n", b"page"),
        });
        let (_routes, gateway) = gateway(origin.address);
        let running = lane.start(gateway);
        let mut client = lane.client(&running);
        for path in ["/r/kept", "/r/private", "/r/cookie"] {
            let before = origin.asked();
            for _ in 0..3 {
                let got = client.get(HOST, path);
                assert_eq!((got.status, got.text().as_str()), (200, "page"), "{lane} {path}");
            }
            let want = if path == "/r/kept" { 1 } else { 3 };
            assert_eq!(origin.asked() - before, want, "{lane} {path}");
        }
        let got = client.get(HOST, "/r/kept");
        assert!(got.header("cache-status").starts_with("Waypost; hit"), "{lane}: {}", got.header("cache-status"));
        let part = client.ask(&Request { headers: &[("Range", "bytes=1-2")], ..Request::get(HOST, b"/r/kept") });
        assert_eq!(
            (part.status, part.text().as_str(), part.header("content-range")),
            (206, "ag", "bytes 1-2/4"),
            "{lane}"
        );
        let same = client.ask(&Request { headers: &[("If-None-Match", "\"1\"")], ..Request::get(HOST, b"/r/kept") });
        assert_eq!((same.status, same.body.len()), (304, 0), "{lane}");
        let only_head = client.ask(&Request { method: "HEAD", ..Request::get(HOST, b"/r/kept") });
        assert_eq!(
            (only_head.status, only_head.header("content-length"), only_head.body.len()),
            (200, "4", 0),
            "{lane}"
        );
        assert_eq!(hits(&running), 6.0, "{lane}");
        // An unsafe request makes it obsolete (RFC 9111, 4.4).
        let before = origin.asked();
        client.ask(&Request { method: "POST", body: b"x", ..Request::get(HOST, b"/r/kept") });
        client.get(HOST, "/r/kept");
        assert_eq!(origin.asked() - before, 2, "{lane}");
        drop(client);
        running.stop();
    }
}

#[test]
fn a_page_is_the_same_by_the_short_way_and_the_long_one() {
    const STORED: &str = "waypost_cache_responses_total{result=\"stored\"}";
    const MADE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nCache-Control: max-age=2000000000\r\n";
    let origin = Scripted::start(|path, _| {
        let more = "ETag: \"1\"\r\nContent-Type: text/plain\r\nX-Twice: 1\r\nX-Twice: 2\r\nVary: Accept-Encoding\r\nAge: 7\r\n";
        let status = path.rsplit('/').next().unwrap();
        let body = if status.starts_with("204") { "\r\n" } else { "Content-Length: 4\r\n\r\npage" };
        format!("HTTP/1.1 {}\r\n{MADE}{more}{body}", status.replace('_', " ")).into_bytes()
    });
    let (_routes, gateway) = gateway(origin.address);
    for lane in [Lane::Fast, Lane::Tls13] {
        let running = lane.start(gateway.clone());
        let mut wire = lane.dial(&running, HOST).open().unwrap();
        let mut ask = |method, path: &str, fields: &[(&str, &str)]| {
            wire.send(&head(method, HOST, path.as_bytes(), fields, b"")).unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(if path.ends_with("204_No_Content") { b"\r\n\r\n" } else { b"page" }) {
                assert_eq!(wire.hear(&mut heard, PATIENCE), Heard::Bytes, "{}", heard.escape_ascii());
            }
            let text = String::from_utf8(heard).unwrap();
            assert!(text.contains("\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "{lane}: {text}");
            text
        };
        let fast = || metric(&running, "waypost_requests_total{lane=\"fast\"}");
        let statuses = ["200_OK", "204_No_Content", "301_Moved_Permanently", "404_Not_Found", "410_Gone"];
        for (number, status) in (1..).zip(statuses) {
            let path = format!("/r/{status}");
            ask("GET", &path, &[]);
            until("it is stored", || metric(&running, STORED) >= f64::from(number));
            let before = fast();
            let short = lines(&ask("GET", &path, &[]));
            assert_eq!(fast(), before + 1.0, "{lane} {status}: by the short way");
            let long = lines(&ask("GET", &path, &[("Cache-Control", "x")]));
            assert_eq!(fast(), before + 1.0, "{lane} {status}: by the long way");
            assert_eq!(short, long, "{lane} {status}");
        }
        // What passes by the cache has its date too.
        ask("POST", "/r/200_OK", &[]);
        running.stop();
    }
    assert_eq!(origin.asked(), 12);
}

/// An answer of the cache line by line, in order of names, without what tells of the connection; age and remaining time
/// as their sum.
fn lines(answer: &str) -> Vec<String> {
    let number = |line: &str| line.rsplit(['=', ' ']).next().unwrap().parse::<u64>().unwrap();
    let (mut lines, mut sum) = (Vec::new(), 0);
    for line in answer.split("\r\n") {
        match line.split_once(": ") {
            Some(("Connection", _)) => {}
            Some(("Age", value)) => sum += number(value),
            Some(("Cache-Status", value)) => {
                assert!(value.starts_with("Waypost; hit; ttl="), "{value}");
                sum += number(value);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.push(sum.to_string());
    lines.sort();
    lines
}

#[test]
fn a_thousand_who_want_the_same_are_one_request() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let origin = Scripted::start(move |_, _| {
        held.lock().unwrap().recv().unwrap();
        message("Cache-Control: max-age=60\r\n", &[b'x'; 100])
    });
    let (_routes, gateway) = gateway(origin.address);
    let running = Lane::H2c.start(gateway);
    let ask = |stream: u32| {
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/r/same")];
        frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 2 * stream + 1, &block(&fields))
    };
    let mut clients: Vec<Raw> = (0..10)
        .map(|_| {
            let mut client = Raw::connect(&Lane::H2c.dial(&running, HOST));
            client.handshake().unwrap();
            client.send(&(0..100).flat_map(ask).collect::<Vec<u8>>());
            client
        })
        .collect();
    // All but the first wait for it.
    until("all wait", || metric(&running, "waypost_cache_requests_total{result=\"collapsed\"}") >= 999.0);
    release.send(()).unwrap();
    for client in &mut clients {
        let mut bytes = 0;
        while bytes < 100 * 100 {
            match client.next() {
                Event::Frame(frame) if frame.is(kind::DATA) => bytes += frame.payload.len(),
                Event::Frame(_) => {}
                event => panic!("{event:?} after {bytes}"),
            }
        }
    }
    assert_eq!(origin.asked(), 1);
    running.stop();
}

#[test]
fn hints_before_an_answer_are_passed_on_and_not_stored() {
    let origin = Scripted::start(|_, _| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nServer: IIS\r\n\r\n".repeat(2);
        [hints.as_bytes(), &message("Cache-Control: max-age=60\r\n", b"page")].concat()
    });
    let (_routes, gateway) = gateway(origin.address);
    for lane in [Lane::Fast, Lane::Tls13] {
        let running = lane.start(gateway.clone());
        let mut wire = lane.dial(&running, HOST).open().unwrap();
        for hints in [2, 0] {
            wire.send(&head("GET", HOST, b"/r/1", &[], b"")).unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"page") {
                assert_eq!(wire.hear(&mut heard, PATIENCE), Heard::Bytes, "{}", heard.escape_ascii());
            }
            let text = String::from_utf8(heard).unwrap().to_ascii_lowercase();
            let heads: Vec<&str> = text.split("\r\n\r\n").collect();
            assert_eq!(heads.len(), hints + 2, "{lane}: {text}");
            for hint in &heads[..hints] {
                assert_eq!(*hint, "http/1.1 103 early hints\r\nlink: </a.css>; rel=preload", "{lane}");
            }
            assert!(heads[hints].starts_with("http/1.1 200 ok") && !heads[hints].contains("link"), "{lane}: {text}");
        }
        // The last century has no hints.
        let old = format!("GET /r/2 HTTP/1.0\r\nHost: {HOST}\r\n\r\n");
        let mut wire = lane.dial(&running, HOST).open().unwrap();
        wire.send(old.as_bytes()).unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"page") {
            assert_eq!(wire.hear(&mut heard, PATIENCE), Heard::Bytes, "{}", heard.escape_ascii());
        }
        assert!(heard.starts_with(b"HTTP/1.1 200 OK"), "{lane}: {}", heard.escape_ascii());
        running.stop();
    }
    assert_eq!(origin.asked(), 4);
}

/// Those of HTTP/2 are in `platforms`.
#[test]
fn trailers_of_http_1_are_told_over_http_2() {
    let origin = Scripted::start(|_, _| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
        format!("{head}4\r\npage\r\n0\r\nX-Sum: 1\r\nContent-Length: 7\r\n\r\n").into_bytes()
    });
    let (_routes, gateway) = gateway(origin.address);
    let running = Lane::H2c.start(gateway);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(running.http[0]).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        for _ in 0..2 {
            let request = http::Request::get(format!("http://{HOST}/r/1")).body(()).unwrap();
            let mut body = client.send_request(request, true).unwrap().0.await.unwrap().into_body();
            let mut page = Vec::new();
            while let Some(piece) = body.data().await {
                page.extend_from_slice(&piece.unwrap());
            }
            let trailers = body.trailers().await.unwrap().unwrap();
            assert_eq!((&*page, trailers.len(), &trailers["x-sum"]), (&b"page"[..], 1, &"1".parse().unwrap()));
        }
        connection.abort();
    });
    running.stop();
}

#[test]
fn links_lead_to_the_old_host() {
    for &lane in LANES {
        let origin = Scripted::start(|path, head| {
            let host = head.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default().to_owned();
            match path {
                "/new/moved" => {
                    format!("HTTP/1.1 302 Found\r\nLocation: https://{host}/new/there\r\nContent-Length: 0\r\n\r\n")
                        .into_bytes()
                }
                _ => {
                    let cookie = format!("Set-Cookie: s=1; Domain={host}; Path=/new/\r\n");
                    let page = format!(
                        "<a href=\"https://{host}/new/x?a=1&amp;b=2\">x</a><img src=/new/i.png><a href=https://other.example/new/>o</a>"
                    );
                    message(
                        &format!("Content-Type: text/html; charset=gbk\r\nServer: IIS\r\nETag: \"1\"\r\n{cookie}"),
                        page.as_bytes(),
                    )
                }
            }
        });
        let (routes, mut gateway) = gateway(origin.address);
        let site = format!(
            "name = \"A\"\nhosts = [\"{HOST}\"]\nhome = \"https://new.example/\"\n[headers]\nset = [\"X-Frame-Options: DENY\"]\n\
            [[rule]]\nfrom = \"/r/{{*rest}}\"\nserve = \"new\"\npath = \"/new/{{rest}}\"\nrewrite = true\n"
        );
        fs::write(routes.path().join("a.toml"), site).unwrap();
        gateway.platforms.get_mut("new").unwrap().host = Some(Host::parse(b"www.platform.example").unwrap());
        let running = lane.start(gateway);
        let mut client = lane.client(&running);
        let scheme = if lane.is_tls() { "https" } else { "http" };
        let got = client.get(HOST, "/r/page");
        let want = format!(
            "<a href=\"{scheme}://{HOST}/r/x?a=1&amp;b=2\">x</a><img src=/r/i.png><a href=https://other.example/new/>o</a>"
        );
        assert_eq!(got.text(), want, "{lane}");
        assert_eq!(
            (got.header("server"), got.header("x-frame-options"), got.header("etag")),
            ("", "DENY", "W/\"1\""),
            "{lane}"
        );
        assert_eq!(got.header("set-cookie"), "s=1; Path=/r/", "{lane}");
        let got = client.get(HOST, "/r/moved");
        assert_eq!((got.status, got.header("location")), (302, &*format!("{scheme}://{HOST}/r/there")), "{lane}");
        // What is not cached is rewritten as well.
        let got = client.ask(&Request { method: "POST", body: b"q", ..Request::get(HOST, b"/r/search") });
        assert_eq!(got.text(), want, "{lane}");
        drop(client);
        running.stop();
    }
}

#[test]
fn a_platform_that_is_down_leaves_its_pages_behind() {
    let origin = Scripted::start(|_, head| {
        if head.contains("X-Down") {
            b"garbage".to_vec()
        } else {
            message("Cache-Control: max-age=0\r\nConnection: close\r\n", b"page")
        }
    });
    let (routes, mut gateway) = gateway(origin.address);
    let running = Lane::Fast.start(gateway.clone());
    let mut client = Lane::Fast.client(&running);
    assert_eq!(client.get(HOST, "/r/1").text(), "page");
    drop(client);
    running.stop();
    // Nobody listens where the platform should be.
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    gateway.platforms.get_mut("new").unwrap().origins = vec![Origin::parse(&format!("http://{unused}")).unwrap()];
    let running = Lane::Fast.start(gateway);
    let mut client = Lane::Fast.client(&running);
    let mut standing_in = || {
        let got = client.get(HOST, "/r/1");
        assert_eq!((got.status, got.header("retry-after"), got.header("cache-control")), (503, "10", "no-store"));
        got.text()
    };
    assert!(standing_in().contains("does not answer for now"));
    // The site's own page.
    let site = fs::read_to_string(routes.path().join("a.toml")).unwrap();
    fs::write(routes.path().join("a.toml"), format!("stand-by = \"<h1>\\u6b63在维护</h1>\"\n{site}")).unwrap();
    running.reloader.reload_now().unwrap();
    assert_eq!(standing_in(), "<h1>正在维护</h1>");
    drop(client);
    running.stop();
}

#[test]
fn a_page_is_stale_rather_than_missing() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = is_down.clone();
    let origin = Scripted::start(move |_, _| match down.load(SeqCst) {
        true => b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec(),
        false => message("Cache-Control: max-age=0\r\nETag: \"1\"\r\n", b"page"),
    });
    let (_routes, gateway) = gateway(origin.address);
    let running = Lane::Fast.start(gateway);
    let mut client = Lane::Fast.client(&running);
    assert_eq!(client.get(HOST, "/r/1").text(), "page");
    is_down.store(true, SeqCst);
    for _ in 0..3 {
        let got = client.get(HOST, "/r/1");
        assert_eq!((got.status, got.text().as_str()), (200, "page"));
        assert!(got.header("cache-status").contains("stale"), "{}", got.header("cache-status"));
    }
    // What was never seen can't be shown.
    assert_eq!(client.get(HOST, "/r/2").status, 503);
    is_down.store(false, SeqCst);
    until("it is fresh again", || !client.get(HOST, "/r/1").header("cache-status").contains("stale-if-error"));
    running.stop();
}

#[test]
fn head_says_what_get_does_and_spoils_nothing() {
    for &lane in LANES {
        let is_down = Arc::new(AtomicBool::new(false));
        let down = is_down.clone();
        let page = format!("<a href=http://www.platform.example/x>{}", "page ".repeat(100));
        let origin = Scripted::start(move |_, head| {
            if down.load(SeqCst) {
                return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec();
            }
            let fields = "Content-Type: text/html; charset=gbk\r\nCache-Control: max-age=0\r\nETag: \"1\"\r\n";
            let mut answer = message(fields, page.as_bytes());
            if head.starts_with("HEAD ") {
                answer.truncate(answer.len() - page.len());
            }
            answer
        });
        let (routes, mut gateway) = gateway(origin.address);
        let site = fs::read_to_string(routes.path().join("a.toml")).unwrap();
        fs::write(routes.path().join("a.toml"), format!("rewrite = true\n{site}")).unwrap();
        gateway.platforms.get_mut("new").unwrap().host = Some(Host::parse(b"www.platform.example").unwrap());
        let running = lane.start(gateway);
        let mut client = lane.client(&running);
        let mut ask = |method| {
            client.ask(&Request { method, headers: &[("Accept-Encoding", "gzip")], ..Request::get(HOST, b"/r/1") })
        };
        let (got, only_head) = (ask("GET"), ask("HEAD"));
        assert_eq!(
            (got.status, got.header("content-encoding"), got.header("etag")),
            (200, "gzip", "W/\"1\""),
            "{lane}"
        );
        for name in ["content-encoding", "content-type", "etag", "vary"] {
            assert_eq!(only_head.header(name), got.header(name), "{lane} {name}");
        }
        assert_eq!((only_head.status, only_head.header("content-length")), (200, ""), "{lane}");
        is_down.store(true, SeqCst);
        let stale = ask("GET");
        assert_eq!((stale.status, &stale.body), (200, &got.body), "{lane}");
        drop(client);
        running.stop();
    }
}

#[test]
fn origins_that_misbehave_poison_nothing() {
    const GZIPPED: &str = "Content-Type: text/html\r\nContent-Encoding: gzip\r\nCache-Control: max-age=60\r\n";
    let is_good = Arc::new(AtomicBool::new(false));
    let good = is_good.clone();
    let origin = Scripted::start(move |path, _| {
        if good.load(SeqCst) {
            return message("Cache-Control: max-age=60\r\n", b"good");
        }
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n";
        match path.split('/').nth(2).unwrap_or_default() {
            "short" => format!("{head}Content-Length: 100\r\n\r\nshort").into_bytes(),
            "long" => format!("{head}Content-Length: 2\r\n\r\nlonger").into_bytes(),
            "chunks" => format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\nbad\r\n").into_bytes(),
            "cut" => format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").into_bytes(),
            "gzip" => message(GZIPPED, b"this is no gzip, however long it is said to be"),
            "garbage" => b"\x00\x01\x02\r\n\r\n".to_vec(),
            "nothing" => Vec::new(),
            _ => format!("{head}{}\r\n", "x: y\r\n".repeat(1000)).into_bytes(),
        }
    });
    let (routes, gateway) = gateway(origin.address);
    let site = format!(
        "name = \"A\"\nhosts = [\"{HOST}\"]\nhome = \"https://new.example/\"\nrewrite = true\n[[rule]]\nfrom = \"/r/{{*rest}}\"\nserve = \"new\"\n"
    );
    fs::write(routes.path().join("a.toml"), site).unwrap();
    let running = Lane::Fast.start(gateway);
    let kinds = ["short", "long", "chunks", "cut", "gzip", "garbage", "nothing", "fields"];
    for bad in kinds {
        let mut wire = Lane::Fast.dial(&running, HOST).open().unwrap();
        wire.send(&head("GET", HOST, format!("/r/{bad}/closes").as_bytes(), &[], b"")).unwrap();
        let mut buffer = Vec::new();
        // A whole answer that says what is wrong, or a beginning that can't be taken for one.
        let whole = loop {
            match Response::take(&mut buffer, false) {
                Ok(Some(got)) => break Some(got),
                Ok(None) => {}
                Err(_) => break None,
            }
            match wire.hear(&mut buffer, PATIENCE) {
                Heard::Bytes => {}
                Heard::Closed => break None,
                Heard::Silence => panic!("{bad}: neither an answer nor an end"),
            }
        };
        match whole {
            // More than it said: what it said is an answer.
            Some(got) if bad == "long" => assert_eq!((got.status, got.text().as_str()), (200, "lo")),
            Some(got) => assert!(matches!(got.status, 502..=504), "{bad}: {} {}", got.status, got.text()),
            None => assert!(!matches!(bad, "garbage" | "nothing" | "fields"), "{bad}: no answer"),
        }
    }
    is_good.store(true, SeqCst);
    let mut client = Lane::Fast.client(&running);
    for bad in kinds.iter().filter(|bad| **bad != "long") {
        // The origin may be left alone for a while.
        until("a good answer", || client.get(HOST, &format!("/r/{bad}/closes")).text() == "good");
    }
    running.stop();
}

#[test]
fn answers_are_purged_through_the_admin_address() {
    let origin = Scripted::start(|_, _| message("Cache-Control: max-age=60\r\nCache-Tag: news\r\n", b"page"));
    let (_routes, gateway) = gateway(origin.address);
    let running = Lane::Fast.start(gateway);
    let mut client = Lane::Fast.client(&running);
    for (number, query) in
        [format!("url=http://{HOST}/r/1"), format!("host={HOST}"), "tag=news".to_owned(), "all".to_owned()]
            .iter()
            .enumerate()
    {
        client.get(HOST, "/r/1");
        client.get(HOST, "/r/1");
        assert_eq!(origin.asked(), number + 1, "{query}");
        let raw = head("POST", "localhost", format!("/purge?{query}").as_bytes(), &[], b"");
        let got = Conn::new(running.admin).send(&raw, false).unwrap();
        assert_eq!((got.status, got.text().as_str()), (200, "purged\n"), "{query}");
    }
    let raw = head("POST", "localhost", b"/purge?nothing", &[], b"");
    assert_eq!(Conn::new(running.admin).send(&raw, false).unwrap().status, 400);
    running.stop();
}
