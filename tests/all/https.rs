//! Per-site HTTPS: what plain HTTP is answered in every phase, and what goes over HTTPS only.

use std::{fs, path::Path};

use http::header::STRICT_TRANSPORT_SECURITY;
use proptest::prelude::*;
use waypost::{
    answer::{Answer, answer},
    config::{Gateway, Severity},
    model::{Host, Method, Phase, Target, Verdict},
    routing::{Loader, Request, Scratch, Snapshot, Step},
};

/// The moment for which the tests' requests are decided, in Unix seconds.
pub const NOW: i64 = 1_700_000_000;

/// A snapshot of route files, by name; panics if one has errors.
pub fn load(gateway: &str, files: &[(&str, &str)]) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let (mut gateway, faults) = Gateway::parse("gateway.toml", gateway.to_owned(), Path::new(""));
    assert!(faults.is_empty(), "{faults:?}");
    gateway.routes = folder.path().to_owned();
    let (snapshot, report) = Loader::new(&gateway).load(NOW, |_, _| {}).unwrap();
    assert!(!report.diagnostics.iter().any(|fault| fault.severity == Severity::Error), "{:?}", report.diagnostics);
    snapshot
}

/// The headers of an answer, as lines.
pub fn headers(answer: &Answer<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    answer.headers(|name, value| headers.push((name.to_string(), value.to_owned())));
    headers
}

fn get<'a>(url: &'a str, secure: bool) -> Request<'a> {
    let (host, target) = url.split_at(url.find('/').unwrap());
    Request { method: Method::Get, host: Some(host.as_bytes()), target: target.as_bytes(), secure, user_agent: b"" }
}

const SITE: &str = r#"
name  = "old"
hosts = ["old.example", "*.old.example", "[2001:db8::1]"]
home  = "https://new.example/"

[[rule]]
from  = "/verify.txt"
text  = "abc"
first = true

[[rule]]
from = "/gone"
gone = true
"#;

#[test]
fn plain_http_is_redirected_in_every_phase_and_https_is_not() {
    for phase in Phase::ALL {
        let site = format!("https = \"redirect\"\n{SITE}\n[lifecycle]\n{phase} = 2001-01-01\n");
        let snapshot = load("", &[("old.toml", &site)]);
        for (method, status) in [(Method::Get, 301), (Method::Head, 301), (Method::Other, 308)] {
            for url in ["old.example/", "old.example/gone?x", "old.example/verify.txt", "www.old.example/robots.txt"] {
                let mut scratch = Scratch::default();
                let mut steps: Vec<Step> = Vec::new();
                let request = Request { method, ..get(url, false) };
                let decision = snapshot.decide_traced(&request, NOW, &mut scratch, &mut steps);
                let location = format!("https://{url}");
                assert_eq!(decision.verdict, Verdict::Redirect { status, location: &location }, "{phase}");
                assert_eq!(decision.phase, Some(phase));
                assert_eq!(decision.source.unwrap().to_string(), "old.toml:1");
                assert_eq!(steps.last().map(|step| step.step), Some("https"), "{steps:?}");
                let mut scratch = Scratch::default();
                let decision = snapshot.decide(&Request { secure: true, ..request }, NOW, &mut scratch);
                assert_ne!(decision.verdict.location(), Some(location.as_str()), "{phase}");
            }
        }
    }
}

#[test]
fn the_location_is_the_url_that_was_asked_for() {
    let site = format!("https = \"redirect\"\n{SITE}");
    for (gateway, port) in [("", ""), ("[listen]\nhttps-port = 8443\n", ":8443")] {
        let snapshot = load(gateway, &[("old.toml", &site)]);
        for (host, target, want) in [
            ("OLD.example.:8080", "/A%2fb//../c;d?e=f&&g=%20", "old.example/A%2fb//../c;d?e=f&&g=%20"),
            ("aka-old.example", "/", "aka-old.example/"),
            ("a.b.old.example", "/x?", "a.b.old.example/x?"),
            ("[2001:DB8:0::1]:80", "/", "[2001:db8::1]/"),
            ("old.example", "http://evil.example/a?b", "old.example/a?b"),
            ("old.example", "//evil.example/", "old.example//evil.example/"),
            ("old.example", "@evil.example/", "old.example/@evil.example/"),
            ("old.example", ".evil.example", "old.example/.evil.example"),
            ("old.example", ":80@evil.example", "old.example/:80@evil.example"),
            ("old.example", "/\\evil\t\r\n\0 \"<>é", "old.example/%5Cevil%09%0D%0A%00%20%22%3C%3E%C3%A9"),
            ("old.example", "", "old.example/"),
        ] {
            let request = Request {
                method: Method::Get,
                host: Some(host.as_bytes()),
                target: target.as_bytes(),
                secure: false,
                user_agent: b"",
            };
            let mut scratch = Scratch::default();
            let verdict = snapshot.decide(&request, NOW, &mut scratch).verdict;
            let (host, rest) = want.split_at(want.find("/").unwrap());
            assert_eq!(verdict.location(), Some(format!("https://{host}{port}{rest}").as_str()));
        }
    }
}

#[test]
fn a_url_that_would_be_too_long_is_refused() {
    let snapshot = load("", &[("old.toml", &format!("https = \"require\"\n{SITE}"))]);
    for target in [vec![b'a'; 9_000], vec![0xFF; 8_000]] {
        let request = Request { target: &target, ..get("old.example/", false) };
        let mut scratch = Scratch::default();
        let verdict = snapshot.decide(&request, NOW, &mut scratch).verdict;
        assert!(matches!(verdict, Verdict::BadRequest(_)), "{verdict:?}");
    }
}

#[test]
fn a_site_that_requires_https_says_so_and_links_there() {
    let snapshot = load("", &[("old.toml", &format!("https = \"require\"\n{SITE}"))]);
    let request = get("old.example/a?b=\"><script>", false);
    let mut scratch = Scratch::default();
    let decision = snapshot.decide(&request, NOW, &mut scratch);
    assert_eq!(decision.verdict, Verdict::HttpsRequired { location: "https://old.example/a?b=%22%3E%3Cscript%3E" });
    let answer = answer(&decision, &request, Some("en"), "public");
    assert_eq!((answer.status, answer.location, answer.cache_control), (403, None, "no-store"));
    let page = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(page.contains("href=\"https://old.example/a?b=%22%3E%3Cscript%3E\""), "{page}");
}

#[test]
fn hsts_goes_with_every_answer_over_https_and_with_no_other() {
    let keys = "https = \"redirect\"\nhsts = { max-age = 63072000, include-subdomains = true, preload = true }\n";
    let late = format!("{keys}{SITE}[lifecycle]\narchive = 2001-01-01\n").replace("old.example", "late.example");
    let late = late.replace("\"[2001:db8::1]\"", "\"later.example\"");
    let snapshot = load("", &[("old.toml", &format!("{keys}{SITE}")), ("late.toml", &late)]);
    let mut statuses = Vec::new();
    for url in [
        "old.example/",
        "old.example/gone",
        "old.example/unknown",
        "old.example/verify.txt",
        "old.example/robots.txt",
        "old.example/sitemap.xml",
        "late.example/x",
        "unknown.example/",
        "old.example/healthcheck/live",
    ] {
        for secure in [false, true] {
            let request = get(url, secure);
            let mut scratch = Scratch::default();
            let decision = snapshot.decide(&request, NOW, &mut scratch);
            let answer = answer(&decision, &request, None, "public");
            let sent = headers(&answer).into_iter().find(|(name, _)| name == STRICT_TRANSPORT_SECURITY.as_str());
            let wanted = secure && decision.site.is_some();
            let value = sent.map(|(_, value)| value);
            assert_eq!(value.as_deref(), wanted.then_some("max-age=63072000; includeSubDomains; preload"), "{url}");
            statuses.extend(wanted.then_some(answer.status));
        }
    }
    assert_eq!(statuses, [301, 410, 404, 200, 200, 200, 410]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever bytes are sent, the location is printable, begins with the host that was asked for, and is read so.
    #[test]
    fn no_target_changes_the_host(
        target in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "[/\\\\@:.?#%a\t\r\n ]{0,12}(http://|//|\\\\)?evil\\.example[/@:?#]{0,3}".prop_map(String::into_bytes),
        ],
        host in prop_oneof![Just("old.example"), Just("aka-old.example"), Just("x_y.old.example")],
    ) {
        static SNAPSHOT: std::sync::LazyLock<Snapshot> =
            std::sync::LazyLock::new(|| load("", &[("old.toml", &format!("https = \"redirect\"\n{SITE}"))]));
        let request = Request { method: Method::Get, host: Some(host.as_bytes()), target: &target, secure: false, user_agent: b"" };
        let mut scratch = Scratch::default();
        let verdict = SNAPSHOT.decide(&request, NOW, &mut scratch).verdict;
        let location = verdict.location().unwrap();
        prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location}");
        let start = format!("https://{host}/");
        prop_assert!(location.starts_with(&start), "{location}");
        let read = Target::parse(location).unwrap();
        prop_assert_eq!(read.host(), &Host::parse(host.as_bytes()).unwrap());
    }
}
