use std::sync::LazyLock;

use super::*;
use crate::model::Method;
use crate::routing::By;

const REQUEST: Request<'_> =
    Request { method: Method::Get, host: Some(b"old.example"), target: b"/a", secure: false, user_agent: b"" };

fn decision(verdict: Verdict<'_>) -> Decision<'_> {
    static NOTHING: LazyLock<HostSet> = LazyLock::new(HostSet::default);
    Decision {
        verdict,
        site: None,
        host: "old.example",
        phase: None,
        source: None,
        by: By::Gateway,
        key: b"",
        frozen: &NOTHING,
    }
}

fn headers(answer: &Answer<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    answer.headers(|name, value| headers.push((name.to_string(), value.to_owned())));
    headers
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_redirect_is_a_location_and_nothing_to_read() {
    let decision = decision(Verdict::Redirect { status: 308, location: "https://new.example/a" });
    let answer = answer(&decision, &REQUEST, Some("en"), "public, max-age=3600");
    assert_eq!((answer.status, answer.body.len()), (308, 0));
    let headers = headers(&answer);
    assert_eq!(
        headers,
        [
            ("location".to_owned(), "https://new.example/a".to_owned()),
            ("cache-control".to_owned(), "public, max-age=3600".to_owned()),
        ]
    );
}

#[test]
fn pages_come_in_the_readers_language_and_are_locked_down() {
    let decision = decision(Verdict::Gone(Gone { archive: Some("https://archive.example/a"), suggest: None }));
    for (languages, tag) in [(Some("en"), "en"), (Some("zh-CN,en;q=0.5"), "zh-CN"), (None, "zh-CN")] {
        let answer = answer(&decision, &REQUEST, languages, "max-age=60");
        let page = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(
            page.contains(&format!("<html lang=\"{tag}\"")) && page.contains("https://archive.example/a"),
            "{page}"
        );
        assert!(page.contains("http://old.example/a"), "{page}");
        let headers = headers(&answer);
        let all = [
            ("cache-control", "max-age=60"),
            ("content-type", "text/html; charset=utf-8"),
            ("content-language", tag),
            ("vary", "Accept-Language"),
            ("x-content-type-options", "nosniff"),
        ];
        assert!(all.iter().all(|&(name, value)| header(&headers, name) == Some(value)), "{headers:?}");
        assert!(
            header(&headers, "content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
        );
    }
}

#[test]
fn what_says_nothing_about_a_page_is_not_stored() {
    for verdict in [
        Verdict::UnknownHost,
        Verdict::BadRequest("no"),
        Verdict::Refused { target: "https://evil.example/" },
        Verdict::Serve { platform: "p", path: "/", rewriting: None },
        Verdict::Health,
    ] {
        let decision = decision(verdict);
        let answer = answer(&decision, &REQUEST, None, "public");
        assert_eq!((answer.status, answer.cache_control), (verdict.status(), "no-store"), "{verdict:?}");
        assert!(!String::from_utf8(answer.body.to_vec()).unwrap().contains("evil.example"));
    }
}

#[test]
fn the_asked_url_is_ascii_whatever_was_sent() {
    let url = |host: &'static [u8], target: &'static [u8]| {
        asked_url(&Request { method: Method::Get, host: Some(host), target, secure: true, user_agent: b"" })
    };
    assert_eq!(url(b"old.example:8080", b"/a%20b?c=1&d"), "https://old.example:8080/a%20b?c=1&d");
    assert_eq!(url(b"old\r\n.example", b"/\xd0\xc2<script>'\""), "https://old%0D%0A.example/%D0%C2%3Cscript%3E%27%22");
    assert!(url(b"old.example", &[b'<'; 10_000]).len() <= MAX_URL + 3);
    assert_eq!(asked_url(&Request { host: None, ..REQUEST }), "");
}
