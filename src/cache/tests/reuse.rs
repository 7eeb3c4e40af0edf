//! When a stored response is used again: RFC 9111, 3, 4.1, 4.2, 5.2, 5.4; RFC 5861; RFC 9213.

use proptest::prelude::*;

use super::*;

/// Whether the second of two equal requests, three seconds apart, is answered without the platform.
async fn is_reused(first: Lines<'_>, given: &Response, second: Lines<'_>) -> bool {
    let mut site = Site::new();
    assert!(!site.get(first, Ok(given)).await.is_cached());
    site.wait(3);
    site.get(second, Ok(given)).await.is_cached()
}

#[tokio::test]
async fn rfc_9111_4_2_only_what_is_fresh_is_reused() {
    for (fields, reused) in [
        (&[][..], false),
        (&[("cache-control", "max-age=3600")], true),
        (&[("cache-control", "max-age=2")], false),
        (&[("cache-control", "max-age=3600"), ("age", "7200")], false),
        (&[("expires", "@60"), ("date", "@0")], true),
        (&[("expires", "@-60"), ("date", "@0")], false),
        (&[("expires", "0"), ("date", "@0")], false),
        (&[("cache-control", "max-age=60, no-cache")], false),
        (&[("cache-control", "max-age=60, No-StOrE")], false),
        (&[("cache-control", "max-age=60, private")], false),
        (&[("cache-control", "max-age=60"), ("set-cookie", "a=b")], false),
        (&[("cache-control", "max-age=60, must-revalidate")], true),
        (&[("cache-control", "max-age=60"), ("pragma", "no-cache")], true),
        (&[("cache-control", "max-age=60"), ("vary", "*")], false),
        (&[("cache-control", "max-age=60"), ("content-disposition", "attachment")], true),
    ] {
        assert_eq!(is_reused(&[], &ok(fields), &[]).await, reused, "{fields:?}");
    }
    for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599] {
        let fresh = response(status, &[("cache-control", "max-age=60")]);
        assert!(is_reused(&[], &fresh, &[]).await, "{status}");
        let stale = response(status, &[("cache-control", "max-age=1")]);
        assert!(!is_reused(&[], &stale, &[]).await, "{status}");
    }
}

#[tokio::test]
async fn rfc_9213_what_is_said_to_caches_like_this_one_counts_alone() {
    const CDN: &str = "cdn-cache-control";
    for (fields, reused) in [
        (&[(CDN, "max-age=60")][..], true),
        (&[(CDN, "max-age=2147483648")], true),
        (&[(CDN, "max-age=99999999999")], true),
        (&[(CDN, "foobar, max-age=60")], true),
        (&[(CDN, "max-age=0")], false),
        (&[(CDN, "max-age=60"), ("age", "120"), ("date", "@0")], false),
        (&[(CDN, "max-age=60"), ("expires", "@-60"), ("date", "@0")], true),
        (&[(CDN, "max-age=60"), ("expires", "0"), ("date", "@0")], true),
        (&[(CDN, "max-age=0"), ("expires", "@60"), ("date", "@0")], false),
        (&[(CDN, "max-age=60"), ("cache-control", "max-age=1")], true),
        (&[(CDN, "max-age=1"), ("cache-control", "max-age=60")], false),
        (&[(CDN, "max-age=60"), ("cache-control", "no-store")], true),
        (&[(CDN, "max-age=60"), ("cache-control", "private")], true),
        (&[(CDN, "no-store"), ("cache-control", "max-age=60"), ("expires", "@60")], false),
        (&[(CDN, "private"), ("cache-control", "max-age=60"), ("expires", "@60")], false),
        (&[(CDN, "no-cache"), ("cache-control", "max-age=60"), ("expires", "@60")], false),
        (&[(CDN, "max-age=60"), ("set-cookie", "a=b")], false),
        // 2.2: one that is malformed is as if it weren't there.
        (&[(CDN, "max-age=60, &&&&&"), ("cache-control", "no-store")], false),
        (&[(CDN, "max-age=\"60\""), ("cache-control", "no-store")], false),
        (&[(CDN, "max-age =60"), ("cache-control", "max-age=1")], false),
        (&[(CDN, "max-age= 60"), ("cache-control", "max-age=1")], false),
        (&[(CDN, "no-store, &"), ("cache-control", "max-age=60")], true),
    ] {
        assert_eq!(is_reused(&[], &ok(fields), &[]).await, reused, "{fields:?}");
    }
    // It is for caches further on too.
    let site = Site::new();
    let given = ok(&[(CDN, "max-age=60")]);
    for is_cached in [false, true] {
        let got = site.get(&[], Ok(&given)).await;
        assert_eq!((got.is_cached(), got.field(CDN)), (is_cached, Some("max-age=60")));
    }
}

#[tokio::test]
async fn rfc_9111_4_1_by_what_varies() {
    let varied = ok(&[("cache-control", "max-age=60"), ("vary", "foo, accept-encoding")]);
    for (first, second, reused) in [
        (&[("foo", "1")][..], &[("foo", "1"), ("other", "2")][..], true),
        (&[("foo", "1")], &[("foo", "2")], false),
        (&[("foo", "1")], &[], false),
        (&[("accept-encoding", "gzip;q=0.5, br")], &[("accept-encoding", "br, gzip")], true),
        (&[("accept-encoding", "gzip")], &[("accept-encoding", "br, gzip")], false),
    ] {
        assert_eq!(is_reused(first, &varied, second).await, reused, "{first:?} {second:?}");
    }
    let site = Site::new();
    for (value, body) in [("1", &b"one"[..]), ("2", b"two")] {
        let given = Response { body, ..varied.clone() };
        assert!(!site.get(&[("foo", value)], Ok(&given)).await.is_cached());
    }
    for (value, body) in [("1", &b"one"[..]), ("2", b"two")] {
        let got = site.get(&[("foo", value)], Ok(&varied)).await;
        assert!(got.is_cached() && got.body == body, "{got:?}");
    }
}

#[tokio::test]
async fn rfc_9111_4_1_variants_are_bounded() {
    let site = Site::new();
    let varied = ok(&[("cache-control", "max-age=60"), ("vary", "foo")]);
    for value in 0..40 {
        site.get(&[("foo", &value.to_string())], Ok(&varied)).await;
    }
    assert!(site.get(&[("foo", "39")], Ok(&varied)).await.is_cached());
    assert!(!site.get(&[("foo", "0")], Ok(&varied)).await.is_cached());
}

#[tokio::test]
async fn rfc_9111_3_5_credentials() {
    let auth = [("authorization", "Basic x")];
    for (line, reused) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
    ] {
        let given = ok(&[("cache-control", line)]);
        assert_eq!(is_reused(&auth, &given, &[]).await, reused, "{line}");
        assert_eq!(is_reused(&[], &given, &auth).await, reused, "to one with credentials: {line}");
    }
}

#[tokio::test]
async fn rfc_9111_5_2_1_clients_have_a_say() {
    for (stored, request, want) in [
        ("max-age=60", ("cache-control", "max-age=0"), false),
        ("max-age=60", ("cache-control", "max-age=1"), false),
        ("max-age=60", ("cache-control", "max-age=10"), true),
        ("max-age=60", ("cache-control", "min-fresh=50"), true),
        ("max-age=60", ("cache-control", "min-fresh=100"), false),
        ("max-age=60", ("cache-control", "no-cache"), false),
        ("max-age=60", ("cache-control", "no-store"), false),
        ("max-age=60", ("cache-control", "only-if-cached"), true),
        ("max-age=60", ("pragma", "no-cache"), false),
        ("max-age=60", ("pragma", "other"), true),
        ("max-age=60", ("cookie", "a=b"), true),
        ("max-age=2", ("cache-control", "max-stale"), true),
        ("max-age=2", ("cache-control", "max-stale=10"), true),
        ("max-age=1", ("cache-control", "max-stale=1"), false),
        ("max-age=2, must-revalidate", ("cache-control", "max-stale"), false),
        ("s-maxage=2", ("cache-control", "max-stale"), false),
    ] {
        assert_eq!(is_reused(&[], &ok(&[("cache-control", stored)]), &[request]).await, want, "{stored} {request:?}");
    }
    for line in ["max-age=2, must-revalidate", "max-age=2, proxy-revalidate", "s-maxage=2", "max-age=60, no-cache"] {
        let given = ok(&[("cache-control", line), ("etag", "\"a\"")]);
        assert!(!is_reused(&[], &given, &[("cache-control", "max-stale")]).await, "{line}: no client may allow that");
    }
    let site = Site::new();
    let got = site.get(&[("cache-control", "only-if-cached")], Err(Failure::Unreachable)).await;
    assert_eq!((got.status, got.is_cached()), (504, true));

    let deaf = Site::with(Rules { client_directives: false, ..Rules::default() });
    let given = ok(&[("cache-control", "max-age=60")]);
    deaf.get(&[], Ok(&given)).await;
    assert!(deaf.get(&[("cache-control", "no-cache")], Ok(&given)).await.is_cached());
}

#[tokio::test]
async fn what_a_site_forbids_passes() {
    let given = ok(&[("cache-control", "max-age=60")]);
    let rules = Rules { private_cookies: vec!["session".into()], ..Rules::default() };
    let site = Site::with(rules);
    site.get(&[], Ok(&given)).await;
    assert!(!site.get(&[("cookie", "a=1; session=2")], Ok(&given)).await.is_cached());
    assert!(site.get(&[("cookie", "a=session; asession=2")], Ok(&given)).await.is_cached());
    assert!(!site.get(&[("content-length", "3")], Ok(&given)).await.is_cached(), "a body may mean something");
    let off = Site::with(Rules { enabled: false, ..Rules::default() });
    off.get(&[], Ok(&given)).await;
    assert_eq!(off.get(&[], Ok(&given)).await.cache_status(), "Waypost; fwd=bypass; detail=off");
}

#[tokio::test]
async fn rfc_5861_3_stale_while_revalidate() {
    let mut site = Site::new();
    let given = ok(&[("cache-control", "max-age=2, stale-while-revalidate=10")]);
    site.get(&[], Ok(&given)).await;
    site.wait(5);
    let newer = Response { body: b"newer", ..given.clone() };
    let stale = site.get(&[], Ok(&newer)).await;
    assert_eq!((&stale.body[..], stale.is_cached()), (&b"0123456789"[..], false), "it is fetched in the background");
    assert_eq!(stale.cache_status(), "Waypost; hit; ttl=-3; detail=stale-while-revalidate");
    let fresh = site.get(&[], Ok(&given)).await;
    assert!(fresh.is_cached() && fresh.body == b"newer");
    site.wait(12);
    assert_eq!(site.get(&[], Ok(&given)).await.cache_status(), "Waypost; fwd=stale; fwd-status=200; ttl=2; stored");
}

#[tokio::test]
async fn rfc_5861_4_and_rfc_9111_4_2_4_stale_if_error() {
    for (line, rules, error, down) in [
        ("max-age=2, stale-if-error=60", Rules { stale_if_down: 0, ..Rules::default() }, true, true),
        ("max-age=2", Rules { stale_if_down: 0, ..Rules::default() }, false, false),
        ("max-age=2", Rules::default(), false, true),
        ("max-age=2", Rules { stale_if_error: 60, stale_if_down: 0, ..Rules::default() }, true, true),
        ("max-age=2, must-revalidate, stale-if-error=60", Rules::default(), false, false),
        ("max-age=2, proxy-revalidate", Rules::default(), false, false),
        ("max-age=2, no-cache", Rules::default(), false, false),
        ("s-maxage=2", Rules::default(), false, false),
        ("s-maxage=2", Rules { down_overrides: true, ..Rules::default() }, false, true),
    ] {
        let mut site = Site::with(rules);
        let given = ok(&[("cache-control", line), ("etag", "\"a\"")]);
        site.get(&[], Ok(&given)).await;
        site.wait(5);
        let answer = site.get(&[], Ok(&response(500, &[]))).await;
        assert_eq!(answer.status, if error { 200 } else { 500 }, "{line}");
        let mut site = Site { cache: Cache::new(Settings::default()), ..site };
        site.get(&[], Ok(&given)).await;
        site.wait(5);
        let answer = site.get(&[], Err(Failure::Unreachable)).await;
        assert_eq!(answer.status, if down { 200 } else { 502 }, "{line}");
        if down {
            assert_eq!(answer.cache_status(), "Waypost; fwd=stale; ttl=-3; detail=stale-if-error");
            site.wait(1);
            let next = site.get(&[], Err(Failure::Unreachable)).await;
            assert!(next.is_cached(), "nobody waits for it again");
            assert_eq!(next.cache_status(), "Waypost; hit; ttl=-4; detail=stale-if-down");
            site.wait(5);
            assert!(!site.get(&[], Ok(&given)).await.is_cached(), "one tries again, in the background");
            assert_eq!(site.get(&[], Ok(&given)).await.cache_status(), "Waypost; hit; ttl=2");
        }
    }
}

#[tokio::test]
async fn every_page_that_was_cached_is_answered_while_the_platform_is_down() {
    let mut site = Site::with(Rules { stale_if_down: 1_000, ..Rules::default() });
    for (path, fields) in [("/a", &[("cache-control", "max-age=1")][..]), ("/b", &[("etag", "\"b\"")]), ("/c", &[])] {
        site.ask("GET", path, &[], Ok(&ok(fields))).await;
    }
    site.wait(900);
    site.down = true;
    for path in ["/a", "/b", "/c"] {
        let got = site.ask("GET", path, &[], Err(Failure::Unreachable)).await;
        assert_eq!((got.status, got.is_cached(), &got.body[..]), (200, true, &b"0123456789"[..]), "{path}");
        assert!(got.cache_status().ends_with("detail=stale-if-down"), "{got:?}");
    }
    site.wait(200);
    assert_eq!(site.ask("GET", "/a", &[], Err(Failure::Unreachable)).await.status, 502, "the setting bounds it");
}

proptest! {
    /// Whatever the fields: nothing panics, and what is not for all is never given to a second client.
    #[test]
    fn no_fields_open_what_is_closed(
        request in lines(), response in lines(), again in lines(), closed in 0usize..3, wait in 0i64..100, twice: bool,
    ) {
        let fields = |lines: &[(HeaderName, HeaderValue)]| lines.iter().cloned().collect::<HeaderMap>();
        let mut map = HeaderMap::new();
        map.extend(response);
        match closed {
            0 => _ = map.append(header::SET_COOKIE, HeaderValue::from_static("a=b")),
            1 => {
                map.remove("cdn-cache-control");
                map.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60, private"));
            }
            _ => {}
        }
        let mut site = Site::with(Rules { heuristic: true, default_ttl: Some(9), ..Rules::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let once = |site: &Site, request: &HeaderMap| {
            let asked = site.asked("/", request);
            let lookup = site.cache.lookup(&asked);
            runtime.block_on(async {
                match lookup {
                    Lookup::Fetch(flight, follower) => {
                        let times = Times { requested: site.now, received: site.now };
                        if let Outcome::Body(mut filling) = flight.head(200, map.clone(), times) {
                            let write = async {
                                let _ = filling.write(Bytes::from_static(b"secret")).await;
                                let _ = filling.end(None);
                            };
                            let client = async {
                                if let Followed::Reply(reply) = follower.reply(&asked).await {
                                    let _ = read(reply.body).await;
                                }
                            };
                            tokio::join!(write, client);
                        }
                        false
                    }
                    Lookup::Hit(hit) | Lookup::Stale(hit, _) => {
                        let reply = hit.respond(&asked);
                        assert!(!reply.fields.contains_key(header::SET_COOKIE));
                        true
                    }
                    _ => false,
                }
            })
        };
        once(&site, &fields(&request));
        if twice {
            once(&site, &fields(&request));
        }
        site.wait(wait);
        let cached = once(&site, &fields(&again));
        prop_assert!(!(cached && closed < 2));
    }
}

/// Fields that mean something, with values that nearly do.
fn lines() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    const NAMES: &[&str] = &[
        "cache-control",
        "cdn-cache-control",
        "age",
        "expires",
        "date",
        "vary",
        "etag",
        "last-modified",
        "pragma",
        "content-length",
        "if-none-match",
        "if-modified-since",
        "if-range",
        "range",
        "authorization",
        "accept-encoding",
        "accept-language",
        "connection",
        "cookie",
        "cache-tag",
        "x",
    ];
    let words = prop::sample::select(vec![
        "max-age=60",
        "no-cache",
        "s-maxage=5",
        "\"a\"",
        "W/\"a\"",
        "*",
        "bytes=0-1",
        "5",
        "x",
        "cookie",
        "gzip;q=0",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "stale-if-error=9",
        "public",
        "0",
        "\"",
    ]);
    let sensible = prop::collection::vec(words, 1..4).prop_map(|words| words.join(", ").into_bytes());
    let value = prop_oneof![3 => sensible, 1 => prop::collection::vec(any::<u8>(), 0..20)]
        .prop_filter_map("a value", |bytes| HeaderValue::from_bytes(&bytes).ok());
    let line = (prop::sample::select(NAMES), value).prop_map(|(name, value)| (HeaderName::from_static(name), value));
    prop::collection::vec(line, 0..6)
}
