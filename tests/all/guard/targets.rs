//! Where people are sent: never elsewhere than files say, and not even there if it is frozen.

use std::{env, fs, time::Instant};

use waypost::{
    answer::{Answer, Facts, Parts, answer, wire},
    config::{Gateway, Platform},
    rewrite,
    routing::{REFUSED_PATH, Scratch},
};

use super::{HOST, gateway, metric, site};
use crate::{
    answers::KNOWN_HEADERS,
    cached::Scripted,
    https::NOW,
    lanes::{Lane, Request},
    payloads::{VICTIMS, assert_harmless, browser_host, victims},
    program::waypost,
    serve::until,
};

#[test]
fn a_page_says_that_a_link_leaves() {
    let routes = site("");
    let rule = "[[rule]]\nfrom = \"/out/{*rest}\"\nto = \"https://www.new.example/out/{rest}\"\nleaving = true\nfirst = true\n";
    let file = routes.path().join("old.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + rule).unwrap();
    for &lane in Lane::ALL {
        let running = lane.start(gateway(routes.path(), ""));
        let mut client = lane.client(&running);
        let request =
            Request { headers: &[("accept-language", "en")], ..Request::get(HOST, b"/out/a%22?url=//evil.example") };
        let answer = client.ask(&request);
        let page = answer.text();
        assert_eq!((answer.status, answer.header("location"), answer.header("refresh")), (200, "", ""), "{lane}");
        for part in
            ["You are leaving this website", "<b>www.new.example</b>", "href=\"https://www.new.example/out/a%22\""]
        {
            assert!(page.contains(part), "{lane}: {part} is not in {page}");
        }
        assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("href=\"//evil"), "{lane}: {page}");
        drop(client);
        running.stop();
    }
}

#[test]
fn what_is_frozen_is_neither_sent_nor_linked() {
    let routes = site("");
    let rules = "[[rule]]\nfrom = \"/out\"\nto = \"https://www.new.example/out\"\nleaving = true\nfirst = true\n\
        [[rule]]\nfrom = \"/gone\"\ngone = true\nsuggest = \"https://www.new.example/instead\"\n\
        archive = \"https://archive.example/1\"\nfirst = true\n\
        [[rule]]\nfrom = \"/other\"\nto = \"https://other.example/\"\nfirst = true\n";
    let file = routes.path().join("old.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + rules).unwrap();
    let text = "[guard]\nallowed-targets = [\"*.new.example\", \"other.example\"]\nfrozen = [\"*.new.example\"]\n";
    for &lane in Lane::ALL {
        let running = lane.start(gateway(routes.path(), text));
        let mut client = lane.client(&running);
        for (target, status) in
            [("/a", 503), ("/", 503), ("/out", 503), ("/gone", 410), ("/other", 301), (REFUSED_PATH, 501)]
        {
            let answer = client.get(HOST, target);
            let page = answer.text();
            assert_eq!(answer.status, status, "{lane}: {target}");
            assert!(
                !page.contains("www.new.example") && !answer.header("location").contains("new.example"),
                "{lane}: {page}"
            );
            if status == 503 {
                let fields = (answer.header("cache-control"), answer.header("retry-after"));
                assert_eq!(fields, ("no-store", "3600"), "{lane}: {target}");
            }
            assert!(target != "/gone" || page.contains("https://archive.example/1"), "{lane}: {page}");
        }
        drop(client);
        running.stop();
    }
    fs::write(routes.path().join("gateway.toml"), text).unwrap();
    let config = routes.path().join("gateway.toml");
    let (config, folder) = (config.to_str().unwrap(), routes.path().to_str().unwrap());
    let args = ["explain", "http://old.example/a", "--config", config, "--routes", folder];
    let told = String::from_utf8(waypost(routes.path(), &args).output().unwrap().stdout).unwrap();
    assert!(told.contains("503 frozen") && told.contains("the target's host is frozen"), "{told}");
}

#[test]
fn a_monitor_freezes_a_target_while_traffic_flows() {
    let routes = site("");
    let list = tempfile::tempdir().unwrap();
    let file = list.path().join("frozen.txt");
    let with_list =
        Gateway { frozen_file: Some(file.clone()), watch: true, debounce: 10, ..gateway(routes.path(), "") };
    let running = Lane::Fast.start(with_list);
    let mut client = Lane::Fast.client(&running);
    assert_eq!(client.get(HOST, "/a").status, 301);
    fs::write(&file, "# taken over\nwww.new.example\n").unwrap();
    until("freezing", || client.get(HOST, "/a").status == 503);
    fs::remove_file(&file).unwrap();
    until("thawing", || client.get(HOST, "/a").status == 301);
    drop(client);
    running.stop();
}

#[test]
fn a_platform_sends_nobody_to_strangers() {
    let platform = Scripted::start(|path, _| {
        let to = path.trim_start_matches("/app/").trim_start_matches("post/").replace("%3A", ":");
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nRefresh: 5; url={to}\r\nLink: <{to}>; rel=next\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    });
    let to = ["/login", "https://sso.new.example/a", "http://old.example/b", "http://www.new.example:8080/"];
    let strangers =
        ["//evil.example/", "https://evil.example/?to=www.new.example", "https%3A//new.example.evil.example/"];
    let routes = site("");
    for (setting, allowed) in [("", false), ("[guard]\nplatform-redirects = \"any\"\n", true)] {
        let mut gateway = gateway(routes.path(), setting);
        let mut new = Platform::of([&*format!("http://{}", platform.address)]).unwrap();
        new.host = gateway.platforms["new"].host.clone();
        gateway.platforms.insert("new".to_owned(), new);
        for &lane in Lane::ALL {
            let running = lane.start(gateway.clone());
            let mut client = lane.client(&running);
            // Once by the way of the cache, once past it.
            for (method, prefix) in [("GET", "/app/"), ("POST", "/app/post/")] {
                for to in to.iter().chain(&strangers) {
                    let target = format!("{prefix}{to}");
                    let request = Request { method, host: HOST, target: target.as_bytes(), headers: &[], body: b"" };
                    let answer = client.ask(&request);
                    let told = format!("{lane}: {method} {target}");
                    let location = to.replace("%3A", ":");
                    if allowed || !strangers.contains(to) {
                        assert_eq!((answer.status, answer.header("location")), (302, &*location), "{told}");
                        assert_eq!(answer.header("link"), format!("<{location}>; rel=next"), "{told}");
                    } else {
                        assert_eq!((answer.status, answer.header("location")), (302, REFUSED_PATH), "{told}");
                        assert_eq!(answer.header("refresh"), format!("0; url={REFUSED_PATH}"), "{told}");
                        assert_eq!(answer.header("link"), "", "{told}");
                    }
                }
            }
            let page = client
                .ask(&Request { headers: &[("accept-language", "en")], ..Request::get(HOST, REFUSED_PATH.as_bytes()) });
            assert!(page.status == 501 && page.text().contains("not an allowed one"), "{lane}: {}", page.text());
            drop(client);
            let refused = metric(&running, r#"waypost_site_guard_refused_total{reason="target",site="old"}"#);
            assert_eq!(refused, if allowed { 0 } else { 6 }, "{lane}");
            running.stop();
        }
    }
}

/// A generator of numbers that are the same for the same seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % most
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What attacks on redirects are made of.
const PIECES: &[&[u8]] = &[
    b"/",
    b"//",
    b"\\",
    b"/\\",
    b"..",
    b"../",
    b"..;/",
    b".",
    b"@",
    b":",
    b"://",
    b"?",
    b"#",
    b"&",
    b"=",
    b";",
    b"{rest}",
    b"http://",
    b"https://",
    b"HTTP:",
    b"javascript:",
    b"evil.example",
    b"evil.example:80",
    b"target.example",
    b".evil.example",
    b"@evil.example",
    b"user:pass@evil.example/",
    b"//evil.example/",
    b"old.example",
    b"a",
    b"b.htm",
    b"id=",
    b"url=",
    b"go",
    b"go?url=",
    b"?id=",
    b"index",
    b"%",
    b"%2",
    b"%25",
    b"%2f",
    b"%2F%2fevil.example",
    b"%5c",
    b"%5C",
    b"%2e%2e",
    b"%252e",
    b"%0d%0a",
    b"%0D%0ASet-Cookie:a=b",
    b"%250d%250aX:y",
    b"%0a",
    b"%0d",
    b"%00",
    b"%09",
    b"%20",
    b"%22",
    b"%3c",
    b"%3E",
    b"%40",
    b"%3a%2f%2f",
    b"%23",
    b"%3f",
    b"%c0%af",
    b"%c0%ae",
    b"%e5%98%8a%e5%98%8d",
    b"%E5%98%8D",
    b"%u000d%u000a",
    b"\xE5\x98\x8A",
    b"\xC4\x8D\xC4\x8A",
    b"\x85",
    b"\xA0",
    b"%BF%C6",
    b"\xBF\xC6",
    b"%C8A",
    b"%81%5C",
    b"\x81\\",
    b"%81%30%81%30",
    b"%A3%AF",
    b"%EF%BC%8F",
    b"\xEF\xBC\x8F",
    b"%E3%80%82",
    b"\"",
    b"<",
    b">",
    b"<script>",
    b"'",
    b"`",
    b"|",
    b"^",
    b"{",
    b"}",
    b"+",
    b"~",
    b"*",
    b"[",
    b"]",
    b",",
    b"$",
    b"!",
    b"(",
    b")",
    b";jsessionid=1",
    b"robots.txt",
    b"sitemap.xml",
    b".well-known/waypost/refused",
];

/// A target, a host, a value: pieces, and sometimes any bytes that a head may hold.
fn throw(dice: &mut Dice, out: &mut Vec<u8>, most: usize) {
    for _ in 0..dice.below(most) {
        match dice.below(12) {
            0 => out.push(*dice.pick(&ANY)),
            1 => out.extend(format!("%{:02x}", dice.below(256)).bytes()),
            _ => out.extend_from_slice(dice.pick::<&[u8]>(PIECES)),
        }
    }
}

/// The bytes that a head lets through in a target: see `door::head`.
static ANY: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| (0x21..=0xFF).filter(|&b| b != 0x7F).collect());

/// Cases of a run; `WAYPOST_CASES=5000000` of an optimised one are a matter of a minute.
fn cases() -> usize {
    env::var("WAYPOST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100_000)
}

fn seed() -> u64 {
    env::var("WAYPOST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5EED_3206)
}

/// Every head of an answer as it goes out: lines of printable text that have names that an answer of ours may have.
fn assert_head(answer: &Answer<'_>, told: &dyn Fn() -> String) {
    let mut out = Vec::new();
    wire::write(&mut out, answer, true, wire::Persistence::Kept, b"Sun, 22 Nov 2026 08:00:00 GMT");
    let text = str::from_utf8(&out).unwrap_or_else(|_| panic!("no text: {}", told()));
    let head = text.strip_suffix("\r\n\r\n").unwrap_or_else(|| panic!("no end: {}", told()));
    for (number, line) in head.split("\r\n").enumerate() {
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}: {}", told());
        let name = line.split(':').next().unwrap().to_ascii_lowercase();
        let is_known = KNOWN_HEADERS.contains(&&*name) || name == "strict-transport-security" || name == "retry-after";
        assert!(number == 0 && line.starts_with("HTTP/1.1 ") || is_known, "{line:?}: {}", told());
    }
}

#[test]
fn nothing_that_is_generated_leads_astray() {
    let snapshot = victims();
    let mut scratch = Scratch::default();
    let (mut dice, mut ways, mut redirects) = (Dice(seed()), 0, 0);
    let (mut target, mut host, mut forwarded, mut language) = (vec![], vec![], vec![], vec![]);
    for number in 0..cases() {
        target.clear();
        target.extend_from_slice(if dice.below(20) == 0 { b"" } else { b"/" });
        throw(&mut dice, &mut target, 12);
        host.clear();
        let victim = dice.pick(&VICTIMS);
        match dice.below(8) {
            0 => throw(&mut dice, &mut host, 3),
            1 => {
                host.extend_from_slice(dice.pick::<&[u8]>(&[&b"www."[..], b"aka-", b"aka.", b"evil.example@", b"%00."]))
            }
            _ => {}
        }
        host.extend_from_slice(victim.host().as_bytes());
        if dice.below(8) == 0 {
            throw(&mut dice, &mut host, 2);
        }
        forwarded.clear();
        throw(&mut dice, &mut forwarded, 3);
        language.clear();
        throw(&mut dice, &mut language, 3);
        let parts = Parts {
            method: dice.pick::<&str>(&["GET", "HEAD", "POST"]),
            target: &target,
            host: Some(&host),
            secure: dice.below(2) == 0,
            trusted: dice.below(8) == 0,
            forwarded_host: (dice.below(8) == 0).then_some(&forwarded),
            forwarded_proto: (dice.below(8) == 0).then_some(&forwarded),
            accept_language: Some(&language),
            ..Parts::default()
        };
        let facts = Facts::read(&parts, Instant::now());
        let request = facts.request();
        let decision = snapshot.decide(&request, NOW, &mut scratch);
        let answer = answer(&decision, &request, facts.accept_language.as_deref(), "public");
        let told = || format!("case {number}: {} {}", host.escape_ascii(), target.escape_ascii());
        assert_head(&answer, &told);
        ways += assert_harmless(&request, &decision, &answer);
        redirects += usize::from(answer.location.is_some());
    }
    println!("{} cases, {redirects} redirects, {ways} ways on, none astray", cases());
    assert!(redirects > cases() / 10 && ways > cases() / 2, "{redirects} redirects of {} show nothing", cases());
}

#[test]
fn no_generated_field_of_a_platform_leads_astray() {
    use http::header::{HeaderMap, HeaderValue, LINK, LOCATION, REFRESH};
    let allowed = ["old.example", "target.example", "www.new.example"];
    let instead = HeaderValue::from_static(REFUSED_PATH);
    let (mut dice, mut refused, mut value) = (Dice(seed()), 0, vec![]);
    let (mut kept, mut sent) = (0, 0);
    for number in 0..cases() {
        let name = dice.pick(&[LOCATION, REFRESH, LINK]).clone();
        value.clear();
        let starts: &[&[u8]] = &[b"", b"http://target.example", b"//", b"https:", b" ", b"\t", b"/"];
        let start = *dice.pick(starts);
        value.extend_from_slice(match name {
            LOCATION => b"",
            REFRESH => b"5; url=",
            _ => b"<",
        });
        let from = value.len();
        value.extend_from_slice(start);
        throw(&mut dice, &mut value, 6);
        if dice.below(6) == 0 {
            value.insert(from + dice.below(value.len() - from + 1), *dice.pick(b"\t \\"));
        }
        let to = value.len();
        if name == LINK {
            value.extend_from_slice(b">; rel=next");
        }
        let Ok(field) = HeaderValue::from_bytes(&value) else { continue };
        sent += 1;
        let mut fields = HeaderMap::new();
        fields.append(&name, field);
        refused += usize::from(rewrite::confine(&mut fields, &instead, |host| allowed.contains(&host)).is_some());
        let Some(left) = fields.get(&name).map(HeaderValue::as_bytes) else { continue };
        assert!(!left.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        if left != value {
            continue;
        }
        kept += 1;
        // What a browser makes of what is left, as another reader of URLs sees it.
        let url = match name {
            LOCATION => value[from..to].to_vec(),
            REFRESH => match value[from..to].first() {
                Some(quote @ (b'"' | b'\'')) => {
                    value[from + 1..to].split(|byte| byte == quote).next().unwrap().to_vec()
                }
                _ => value[from..to].to_vec(),
            },
            _ => value[from..to].split(|&byte| byte == b'>').next().unwrap().to_vec(),
        };
        let host = browser_host(&String::from_utf8_lossy(&url), "old.example");
        // The root's dot is no part of a name.
        assert!(
            allowed.contains(&host.trim_end_matches('.')),
            "case {number}: {name}: {} leads to {host}",
            value.escape_ascii()
        );
    }
    println!("{sent} fields, {kept} kept, {refused} refused, none astray");
    assert!(kept > sent / 10 && refused > sent / 20, "{kept} kept and {refused} refused of {sent} show nothing");
}
