//! What clients get of a stored response: RFC 9110, 13 to 15; RFC 9111, 3.1, 4.3.2, 5.1; RFC 9211.

use super::*;

async fn stored(fields: Lines<'_>) -> Site {
    let mut site = Site::new();
    let mut all = vec![("cache-control", "max-age=3600"), ("date", "@0")];
    all.extend_from_slice(fields);
    site.get(&[], Ok(&ok(&all))).await;
    site.wait(3);
    site
}

async fn hit(site: &Site, request: Lines<'_>) -> Seen {
    let seen = site.get(request, Err(Failure::Unreachable)).await;
    assert!(seen.is_cached(), "{seen:?}");
    seen
}

#[tokio::test]
async fn rfc_9111_5_1_age_and_rfc_9211_cache_status() {
    let site = stored(&[("age", "30"), ("cache-status", "Origin; hit")]).await;
    let got = hit(&site, &[]).await;
    assert_eq!((got.field("age"), &got.body[..]), (Some("33"), &b"0123456789"[..]));
    let lines: Vec<_> = got.fields.get_all("cache-status").iter().collect();
    assert_eq!(lines, ["Origin; hit", "Waypost; hit; ttl=3567"]);
    assert_eq!(got.fields.get("date"), site.map(&[("date", "@-3")]).get("date"), "the date is the platform's");
}

#[tokio::test]
async fn rfc_9211_why_it_was_forwarded() {
    let mut site = Site::new();
    let varied = ok(&[("cache-control", "max-age=5"), ("vary", "a"), ("etag", "\"e\"")]);
    let status = async |site: &Site, request: Lines<'_>, given: &Response| {
        site.get(request, Ok(given)).await.cache_status().to_owned()
    };
    assert_eq!(status(&site, &[], &varied).await, "Waypost; fwd=uri-miss; fwd-status=200; ttl=5; stored");
    assert_eq!(status(&site, &[("a", "1")], &varied).await, "Waypost; fwd=vary-miss; fwd-status=200; ttl=5; stored");
    assert_eq!(
        status(&site, &[("cache-control", "no-cache")], &varied).await,
        "Waypost; fwd=request; fwd-status=304; ttl=5"
    );
    site.wait(6);
    assert_eq!(status(&site, &[], &response(404, &[])).await, "Waypost; fwd=stale; fwd-status=404");
    assert_eq!(status(&site, &[("range", "bytes=0-1")], &varied).await, "Waypost; fwd=partial; detail=range");
}

#[tokio::test]
async fn rfc_9111_3_1_what_is_not_stored_of_the_head() {
    let withheld = "max-age=60, no-cache=\"a, b\", private=\"p\"";
    let mut site = Site::new();
    let fields = [
        ("cache-control", withheld),
        ("connection", "n"),
        ("n", "0"),
        ("a", "1"),
        ("b", "2"),
        ("p", "3"),
        ("c", "4"),
        ("keep-alive", "x"),
        ("proxy-authenticate", "x"),
        ("upgrade", "x"),
        ("x-frame-options", "deny"),
    ];
    let first = site.get(&[], Ok(&ok(&fields))).await;
    assert_eq!((first.field("a"), first.field("p"), first.field("n")), (Some("1"), Some("3"), None));
    site.wait(1);
    let got = hit(&site, &[]).await;
    for gone in ["connection", "n", "a", "b", "p", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(got.field(gone), None, "{gone}");
    }
    for kept in ["c", "cache-control", "x-frame-options", "date"] {
        assert!(got.field(kept).is_some(), "{kept}");
    }
}

#[tokio::test]
async fn rfc_9111_4_3_2_conditions_of_clients() {
    let site = stored(&[("etag", "\"a\""), ("last-modified", "@-60"), ("content-type", "text/plain")]).await;
    for (request, status) in [
        (&[("if-none-match", "\"a\"")][..], 304),
        (&[("if-none-match", "\"x\", W/\"a\"")], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"x\""), ("if-modified-since", "@0")], 200),
        (&[("if-modified-since", "@-10")], 304),
        (&[("if-modified-since", "@-1000")], 200),
    ] {
        let got = hit(&site, request).await;
        assert_eq!(got.status, status, "{request:?}");
        assert_eq!(got.field("etag"), Some("\"a\""));
        assert_eq!(got.body.is_empty(), status == 304);
        assert_eq!(got.field("content-length").is_some() && got.field("content-type").is_some(), status == 200);
    }
    let passed = site.get(&[("if-match", "\"a\"")], Ok(&ok(&[]))).await;
    assert!(!passed.is_cached(), "that is for the platform");
    // RFC 9110, 13.2.1: a condition changes only a success.
    let gone = Site::new();
    gone.get(&[], Ok(&response(404, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]))).await;
    assert_eq!(hit(&gone, &[("if-none-match", "\"a\"")]).await.status, 404);
}

#[tokio::test]
async fn a_condition_is_also_answered_while_the_body_comes() {
    let site = Site::new();
    let given = ok(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    let got = site.get(&[("if-none-match", "\"a\"")], Ok(&given)).await;
    assert_eq!((got.status, got.condition("if-none-match"), got.body.len()), (304, None, 0));
    assert_eq!(hit(&site, &[]).await.body, b"0123456789", "the whole of it is stored");
}

#[tokio::test]
async fn rfc_9110_14_ranges() {
    let site = stored(&[("etag", "\"a\""), ("content-type", "text/plain")]).await;
    for (range, status, body, content_range) in [
        ("bytes=0-1", 206, "01", "bytes 0-1/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-1", 206, "9", "bytes 9-9/10"),
        ("bytes=0-3,2-5", 206, "012345", "bytes 0-5/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=5-4", 200, "0123456789", ""),
    ] {
        let got = hit(&site, &[("range", range)]).await;
        assert_eq!((got.status, str::from_utf8(&got.body).unwrap()), (status, body), "{range}");
        assert_eq!(got.field("content-range").unwrap_or(""), content_range, "{range}");
        assert_eq!(got.field("content-length"), Some(&*body.len().to_string()));
    }
    let several = hit(&site, &[("range", "bytes=0-1,8-9")]).await;
    assert!(several.field("content-type").unwrap().starts_with("multipart/byteranges; boundary="));
    assert_eq!(several.field("content-length"), Some(&*several.body.len().to_string()));
    for (condition, status) in [("\"a\"", 206), ("\"b\"", 200), ("W/\"a\"", 200), ("@-60", 200)] {
        assert_eq!(hit(&site, &[("range", "bytes=0-1"), ("if-range", condition)]).await.status, status, "{condition}");
    }
    let both = hit(&site, &[("range", "bytes=0-1"), ("if-none-match", "\"a\"")]).await;
    assert_eq!(both.status, 304);
}

#[tokio::test]
async fn rfc_9110_9_3_2_head() {
    let site = stored(&[("etag", "\"a\"")]).await;
    let got = site.ask("HEAD", "/", &[("range", "bytes=0-1")], Err(Failure::Unreachable)).await;
    assert_eq!((got.status, got.field("content-length"), got.body.len()), (200, Some("10"), 0));
    let miss = site.ask("HEAD", "/other", &[], Ok(&ok(&[("cache-control", "max-age=60")]))).await;
    assert!(!miss.is_cached());
    assert!(!site.ask("GET", "/other", &[], Ok(&ok(&[]))).await.is_cached(), "a HEAD stores nothing");
}

#[tokio::test]
async fn the_short_way_gives_the_same() {
    let site = stored(&[("etag", "\"a\""), ("vary", "accept-encoding"), ("cache-status", "Origin")]).await;
    let mut key = Vec::new();
    KeyParts { secure: false, host: HOST, target: b"/" }.write(&mut key);
    let none = Encodings::default();
    let fresh = site.cache.fresh(&key, none, site.now).unwrap();
    let mut lines = Vec::new();
    fresh.write_head(&mut lines);
    let long = hit(&site, &[]).await;
    let mut long_lines: Vec<String> =
        long.fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    let short = String::from_utf8(lines).unwrap();
    let mut short_lines: Vec<String> = short
        .strip_suffix("\r\n")
        .unwrap()
        .split("\r\n")
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| format!("{}:{value}", name.to_ascii_lowercase()))
        .collect();
    long_lines.sort();
    short_lines.sort();
    assert_eq!(short_lines, long_lines);
    assert_eq!(fresh.entry().body(), &long.body);
    assert_eq!(fresh.entry().status(), 200);

    let gzip = Encodings::read([&b"gzip"[..]].into_iter());
    assert!(site.cache.fresh(&key, gzip, site.now).is_none(), "another variant");
    assert!(site.cache.fresh(&key, none, site.now + 3600).is_none(), "stale");
    assert!(site.cache.fresh(b"p", none, site.now).is_none());
    site.cache.purge_host(HOST);
    assert!(site.cache.fresh(&key, none, site.now).is_none(), "purged");
}
