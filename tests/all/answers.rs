//! One table of requests and what must come back, run over every lane: they are ways to the same answers.

use std::fs;

use waypost::server::Running;

use crate::{
    client::{Dial, Heard, PATIENCE, Response},
    lanes::{Client, Lane, Request},
    payloads,
    serve::{gateway, routes},
};

/// A request and what its answer must be.
struct Case<'a> {
    request: Request<'a>,
    status: u16,
    location: &'a str,
    /// Headers with their values.
    headers: &'a [(&'a str, &'a str)],
    /// What the body must contain.
    parts: &'a [&'a str],
}

const HOST: &str = "jyj.old.example";
const BASIC: Case<'_> = Case {
    request: Request { method: "GET", host: HOST, target: b"/", headers: &[], body: b"" },
    status: 200,
    location: "",
    headers: &[],
    parts: &[],
};

const fn to<'a>(host: &'a str, target: &'a [u8], status: u16, location: &'a str) -> Case<'a> {
    Case {
        request: Request { method: "GET", host, target, headers: &[], body: b"" },
        status,
        location,
        headers: &[("cache-control", "public, max-age=3600"), ("content-length", "0")],
        ..BASIC
    }
}

const PAGE: &[(&str, &str)] = &[
    ("content-type", "text/html; charset=utf-8"),
    ("content-language", "en"),
    ("vary", "Accept-Language"),
    ("x-content-type-options", "nosniff"),
];

const fn page<'a>(host: &'a str, target: &'a [u8], status: u16, parts: &'a [&'a str]) -> Case<'a> {
    Case {
        request: Request { method: "GET", host, target, headers: &[("accept-language", "en-GB")], body: b"" },
        status,
        headers: PAGE,
        parts,
        ..BASIC
    }
}

const fn noticed<'a>(headers: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case {
        request: Request { method: "GET", host: "leaving.old.example", target: b"/a.htm", headers, body: b"" },
        headers: &[("content-language", "en"), ("vary", "Accept-Language, User-Agent")],
        parts: &["http-equiv=\"refresh\"", "https://www.new.example/a"],
        ..BASIC
    }
}

const GONE: &[&str] = &[
    "青山县教育局",
    "https://www.new.example/jyj/",
    "https://www.new.example/instead",
    "https://archive.example/20190101/http://jyj.old.example/gone.htm",
    "site_code=4300000012",
];

const CASES: &[Case<'_>] = &[
    to("JYJ.old.example:8080", b"/a.htm", 301, "https://www.new.example/a"),
    to("jyj.old.example.", b"/a.htm", 301, "https://www.new.example/a"),
    to(HOST, b"//X/../A.HTM?utm_source=wechat", 301, "https://www.new.example/a"),
    to(HOST, b"/b.htm?x=1&ID=7", 302, "https://www.new.example/b7"),
    to(HOST, b"/%BF%C6%C6%D5", 301, "https://www.new.example/kp"),
    // Raw bytes in the site's charset, as old browsers sent them, and what else no URI may hold.
    to("a.jyj.old.example", b"/\xBF\xC6\xC6\xD5/", 301, "https://www.new.example/kp"),
    to(HOST, b"/a.htm?x=<y>|{z}\\^`\"", 301, "https://www.new.example/a"),
    to(HOST, b"/news.asp?classname=%BF%C6%C6%D5", 301, "https://www.new.example/search?q=%E7%A7%91%E6%99%AE"),
    to(HOST, b"/", 301, "https://www.new.example/jyj/"),
    to(HOST, b"/a.htm#top", 301, "https://www.new.example/a"),
    to(HOST, b"http://jyj.old.example/a.htm", 301, "https://www.new.example/a"),
    to("aka-jyj.old.example", b"/a.htm", 301, "https://www.new.example/a"),
    // A form's method must survive, and its body must not stand in the way of the next request.
    Case {
        request: Request { method: "POST", host: HOST, target: b"/a.htm", headers: &[], body: b"name=x" },
        ..to(HOST, b"", 308, "https://www.new.example/a")
    },
    Case {
        request: Request { method: "PUT", host: HOST, target: b"/b.htm?id=7", headers: &[], body: &[b'x'; 20_000] },
        ..to(HOST, b"", 302, "https://www.new.example/b7")
    },
    Case {
        request: Request { method: "HEAD", host: HOST, target: b"/a.htm", headers: &[], body: b"" },
        ..to(HOST, b"", 301, "https://www.new.example/a")
    },
    Case {
        request: Request { method: "PROPFIND", host: HOST, target: b"/a.htm", headers: &[], body: b"" },
        ..to(HOST, b"", 308, "https://www.new.example/a")
    },
    page(HOST, b"/gone.htm?a=<b>", 410, GONE),
    Case {
        request: Request {
            method: "GET",
            host: HOST,
            target: b"/gone.htm",
            headers: &[("Accept-Language", "zh-CN,zh;q=0.9")],
            body: b"",
        },
        headers: &[("content-type", "text/html; charset=utf-8"), ("content-language", "zh-CN")],
        ..page(HOST, b"", 410, GONE)
    },
    Case {
        request: Request {
            method: "HEAD",
            host: HOST,
            target: b"/gone.htm",
            headers: &[("Accept-Language", "en-GB")],
            body: b"",
        },
        ..page(HOST, b"", 410, &[])
    },
    page(HOST, b"/no/such/page", 404, &["https://www.new.example/jyj/"]),
    Case {
        headers: &[("content-type", "text/html; charset=utf-8"), ("cache-control", "no-store")],
        ..page("unknown.example", b"/a.htm", 404, &[])
    },
    Case { headers: &[("cache-control", "no-store")], ..page("127.0.0.1", b"/a.htm", 404, &[]) },
    Case {
        request: Request::get(HOST, b"/verify.txt"),
        headers: &[("content-length", "8")],
        parts: &["b1946ac9"],
        ..BASIC
    },
    Case {
        request: Request::get(HOST, b"/robots.txt"),
        headers: &[("content-type", "text/plain; charset=utf-8")],
        parts: &["Sitemap: http://jyj.old.example/sitemap.xml"],
        ..BASIC
    },
    Case {
        request: Request::get(HOST, b"/sitemap.xml"),
        headers: &[("content-type", "application/xml; charset=utf-8")],
        // In the site's own charset, so that the gateway takes it back.
        parts: &["<loc>http://jyj.old.example/%BF%C6%C6%D5</loc>", "<loc>http://jyj.old.example/b.htm?id=7</loc>"],
        ..BASIC
    },
    Case { request: Request::get("big.old.example", b"/sitemap-2.xml"), parts: &["/p/"], ..BASIC },
    page("big.old.example", b"/sitemap-3.xml", 404, &[]),
    // In phase `notice` people see a page first, and crawlers learn at once that the page has moved.
    noticed(&[("accept-language", "en")]),
    noticed(&[("accept-language", "en"), ("user-agent", "Mozilla/5.0 (Windows NT 10.0) Chrome/126.0 Safari/537.36")]),
    noticed(&[("accept-language", "en"), ("user-agent", "curl/8.5.0")]),
    Case {
        request: Request {
            headers: &[("user-agent", "Mozilla/5.0 (compatible; Baiduspider/2.0)")],
            ..Request::get("leaving.old.example", b"/a.htm")
        },
        headers: &[("vary", "User-Agent"), ("content-length", "0")],
        ..to("", b"", 301, "https://www.new.example/a")
    },
    Case {
        request: Request {
            headers: &[("accept-language", "en"), ("user-agent", "Googlebot/2.1")],
            ..Request::get("leaving.old.example", b"/none.htm")
        },
        ..page("", b"", 404, &[])
    },
    // The gateway's own health, on any host.
    Case { request: Request::get("10.0.0.1", b"/healthcheck/live"), parts: &["ok"], ..BASIC },
    // No origin answers there; it comes last because it may end the connection.
    page(HOST, b"/mailbox/1", 503, &[]),
];

#[test]
fn every_lane_gives_the_same_answers() {
    let routes = routes();
    let mut table = String::from("old,new\n");
    for n in 0..50_003 {
        table.push_str(&format!("/p/{n}.htm?x=a&amp;b,https://www.new.example/{n}\n"));
    }
    fs::write(routes.path().join("big.csv"), table).unwrap();
    fs::write(
        routes.path().join("big.toml"),
        "name = \"Big\"\nhosts = [\"big.old.example\"]\nhome = \"https://www.new.example/\"\n",
    )
    .unwrap();
    fs::write(
        routes.path().join("leaving.toml"),
        "name = \"Leaving\"\nhosts = [\"leaving.old.example\"]\nhome = \"https://www.new.example/\"\n\
         origin = \"http://127.0.0.1:1\"\nlifecycle = { notice = 2001-01-01 }\n\
         [[rule]]\nfrom = \"/a.htm\"\nto = \"https://www.new.example/a\"\n",
    )
    .unwrap();
    let mut first: Vec<Option<Response>> = vec![None; CASES.len()];
    let mut faults = Vec::new();
    for &lane in Lane::ALL {
        let running = lane.start(gateway(routes.path()));
        let mut client = lane.client(&running);
        for (case, first) in CASES.iter().zip(&mut first) {
            let opened = client.opened();
            let Some(answer) = ask(lane, &mut client, case, &mut faults) else { continue };
            // What Pingora's session answers may end with the connection.
            if lane == Lane::Fast && opened != 0 && client.opened() != opened {
                faults.push(format!("{lane}: the connection had ended before {}", told(case)));
            }
            match first {
                None => *first = Some(answer),
                Some(first) => {
                    faults.extend(difference(first, &answer).map(|what| format!("{lane}: {}: {what}", told(case))))
                }
            }
        }
        // A connection that nobody reads would have to be waited for.
        drop(client);
        running.stop();
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Asks and compares with what the table says. The answer without what belongs to a lane or a moment; `None` if the lane
/// has no words for the request.
fn ask(lane: Lane, client: &mut Client, case: &Case<'_>, faults: &mut Vec<String>) -> Option<Response> {
    lane.target(case.request.host, case.request.target)?;
    let mut answer = client.ask(&case.request);
    let mut fault = |what: String| faults.push(format!("{lane}: {}: {what}", told(case)));
    if (answer.status, answer.header("location")) != (case.status, case.location) {
        fault(format!("{} {:?}, not {} {:?}", answer.status, answer.header("location"), case.status, case.location));
    }
    let is_head = case.request.method == "HEAD";
    let length: usize = answer.header("content-length").parse().unwrap_or(usize::MAX);
    if (is_head && !answer.body.is_empty()) || (!is_head && answer.body.len() != length) {
        fault(format!("a body of {} bytes, Content-Length {length}", answer.body.len()));
    }
    if is_head && case.status == 410 && length < 500 {
        fault(format!("Content-Length {length} is not the page's"));
    }
    if answer.header("date").is_empty() {
        fault("no Date".to_owned());
    }
    if lane.is_tls() {
        // The scheme that was asked for stands in pages and lists.
        let host = case.request.host;
        let plain = answer.text().replace(&format!("https://{host}"), &format!("http://{host}"));
        answer.body = plain.replace(&format!("https%3A%2F%2F{host}"), &format!("http%3A%2F%2F{host}")).into_bytes();
    }
    for &(name, value) in case.headers {
        if answer.header(name) != value {
            fault(format!("{name}: {:?}, not {value:?}", answer.header(name)));
        }
    }
    let text = answer.text();
    for part in case.parts {
        if !text.contains(part) {
            fault(format!("{part:?} is not in {text}"));
        }
    }
    if text.contains("a=<b>") {
        fault("what was sent comes back unescaped".to_owned());
    }
    for name in ["connection", "keep-alive", "date", "content-length"] {
        answer.headers.remove(name);
    }
    Some(answer)
}

/// How an answer differs from what the first lane answered.
fn difference(first: &Response, answer: &Response) -> Option<String> {
    if (first.status, &first.headers) != (answer.status, &answer.headers) {
        return Some(format!("{} {:?}, not {} {:?}", answer.status, answer.headers, first.status, first.headers));
    }
    let (one, other) = (first.text(), answer.text());
    let (one, other) = one.lines().zip(other.lines()).find(|(one, other)| one != other)?;
    Some(format!("{other:?}, not {one:?}"))
}

fn told(case: &Case<'_>) -> String {
    let Request { method, host, target, .. } = &case.request;
    format!("{method} {host} {}", target.escape_ascii())
}

#[test]
fn a_large_index_of_sitemaps_over_every_lane() {
    let routes = routes();
    let mut table = String::from("old,new\n");
    for n in 0..50_003 {
        table.push_str(&format!("/p/{n}.htm,https://www.new.example/{n}\n"));
    }
    fs::write(routes.path().join("jyj.csv"), table).unwrap();
    for &lane in Lane::ALL {
        let running: Running = lane.start(gateway(routes.path()));
        let mut client = lane.client(&running);
        let index = client.get(HOST, "/sitemap.xml").text();
        let second = format!("{}://jyj.old.example/sitemap-2.xml", if lane.is_tls() { "https" } else { "http" });
        assert_eq!((index.matches("<sitemap>").count(), index.contains(&second)), (2, true), "{lane}: {index}");
        let parts: Vec<usize> =
            (1..=2).map(|n| client.get(HOST, &format!("/sitemap-{n}.xml")).text().matches("<loc>").count()).collect();
        assert_eq!(parts, [50_000, 3], "{lane}");
        // A connection that nobody reads would have to be waited for.
        drop(client);
        running.stop();
    }
}

/// Every header that an answer may have.
pub const KNOWN_HEADERS: &[&str] = &[
    "cache-control",
    "connection",
    "content-language",
    "content-length",
    "content-security-policy",
    "content-type",
    "date",
    "location",
    "permissions-policy",
    "referrer-policy",
    "vary",
    "x-content-type-options",
    "x-frame-options",
];

#[test]
fn payloads_lead_nowhere_else_over_every_lane() {
    let routes = tempfile::tempdir().unwrap();
    let site = "name = \"Old\"\nhosts = [\"old.example\", \"*.old.example\"]\nhome = \"https://www.new.example/\"\n\
        [[rule]]\nfrom = \"/{*rest}\"\nto = \"https://www.new.example/{rest}\"\nquery = \"keep\"\nfirst = true\n";
    fs::write(routes.path().join("old.toml"), site).unwrap();
    let host = payloads::OLD.as_bytes();
    let targets =
        payloads::targets().into_iter().map(|payload| (host.to_vec(), payloads::attack(&payload, "old.example")));
    let hosts =
        payloads::hosts().into_iter().map(|payload| (payloads::attack(&payload, "old.example"), b"/a".to_vec()));
    let attacks: Vec<(Vec<u8>, Vec<u8>)> = targets.chain(hosts).collect();
    assert!(attacks.len() >= 966);
    let mut faults = Vec::new();
    for &lane in Lane::ALL {
        let running = lane.start(gateway(routes.path()));
        let (mut client, dial) = (lane.client(&running), lane.dial(&running, "old.example"));
        let (mut sent, mut led) = (0, 0);
        for (host, target) in &attacks {
            let told = || format!("{lane}: {} {}", host.escape_ascii(), target.escape_ascii());
            let answers = if lane.is_h2() {
                let Ok(host) = std::str::from_utf8(host) else { continue };
                if lane.target(host, target).is_none() {
                    continue;
                }
                Ok(vec![client.ask(&Request::get(host, target))])
            } else {
                let close = b"\r\nConnection: close\r\n\r\n";
                all_answers(&dial, &[b"GET ", &target[..], b" HTTP/1.1\r\nHost: ", host, close].concat())
            };
            sent += 1;
            match answers {
                Err(fault) => faults.push(format!("{}: {fault}", told())),
                // A payload with line breaks may be several requests, for whatever hosts.
                Ok(answers) => {
                    for answer in &answers {
                        let location = answer.header("location");
                        led += usize::from(!location.is_empty());
                        let to = payloads::browser_host(location, "www.new.example");
                        let strange: Vec<_> =
                            answer.headers.keys().filter(|name| !KNOWN_HEADERS.contains(&name.as_str())).collect();
                        if to != "www.new.example" || !strange.is_empty() {
                            faults.push(format!(
                                "{}: {} leads to {to:?} with {strange:?}: {location:?}",
                                told(),
                                answer.status
                            ));
                        }
                    }
                }
            }
        }
        println!("{lane}: {sent} payloads sent, {led} redirected");
        assert!(led > sent / 2, "{lane}: {led} of {sent} were redirected, which shows nothing");
        // A connection that nobody reads would have to be waited for.
        drop(client);
        running.stop();
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Everything that comes back on a connection of its own, until it closes.
fn all_answers(dial: &Dial, raw: &[u8]) -> Result<Vec<Response>, String> {
    let mut wire = dial.open().unwrap();
    let mut buffer = Vec::new();
    // An error means that the server has closed already.
    let _ = wire.send(raw);
    loop {
        match wire.hear(&mut buffer, PATIENCE) {
            Heard::Bytes => {}
            Heard::Closed => break,
            Heard::Silence => return Err("the connection stays open".to_owned()),
        }
    }
    let mut answers = Vec::new();
    while let Some(answer) = Response::take(&mut buffer, false)? {
        answers.push(answer);
    }
    if answers.is_empty() || !buffer.is_empty() {
        return Err(format!("{} answers, then {:?}", answers.len(), String::from_utf8_lossy(&buffer)));
    }
    Ok(answers)
}
