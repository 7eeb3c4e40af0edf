//! How stored responses change and go: RFC 9111, 3.2, 4.3 and 4.4, purges, room, snapshots.

use super::*;

#[tokio::test]
async fn rfc_9111_4_3_1_and_4_3_3_validation() {
    for (validator, condition) in [("etag", "if-none-match"), ("last-modified", "if-modified-since")] {
        let value = if validator == "etag" { "\"a\"" } else { "Sun, 06 Nov 1994 08:49:37 GMT" };
        let mut site = Site::new();
        let given = ok(&[("cache-control", "max-age=2"), (validator, value)]);
        site.get(&[], Ok(&given)).await;
        site.wait(3);
        let got = site.get(&[("if-none-match", "\"of the client\""), ("range", "bytes=0-1")], Ok(&given)).await;
        assert_eq!(got.condition(condition), Some(value));
        assert_eq!((got.status, &got.body[..]), (206, &b"01"[..]));
        assert!(got.cache_status().starts_with("Waypost; fwd=stale; fwd-status=304; ttl=2"), "{got:?}");
        assert!(site.get(&[], Ok(&given)).await.is_cached());
    }
}

#[tokio::test]
async fn rfc_9111_3_2_a_304_updates_what_is_stored() {
    let mut site = Site::new();
    let old =
        [("cache-control", "max-age=1"), ("etag", "\"a\""), ("x", "old"), ("kept", "1"), ("content-encoding", "br")];
    site.get(&[], Ok(&ok(&old))).await;
    site.wait(3);
    let new = ok(&[
        ("cache-control", "max-age=3600"),
        ("etag", "\"a\""),
        ("date", "@0"),
        ("x", "new"),
        ("x", "newer"),
        ("content-security-policy", "default-src 'self'"),
        ("content-encoding", "gzip"),
        ("content-length", "3"),
        ("content-digest", "sha-256=:AA==:"),
        ("connection", "h"),
        ("h", "1"),
        ("set-cookie", "a=b"),
    ]);
    for is_stored in [false, true] {
        let got = site.get(&[], Ok(&new)).await;
        assert_eq!(got.is_cached(), is_stored);
        let xs: Vec<_> = got.fields.get_all("x").iter().collect();
        assert_eq!(xs, ["new", "newer"]);
        assert_eq!((got.field("kept"), got.field("content-encoding")), (Some("1"), Some("br")));
        assert_eq!(got.field("content-security-policy"), Some("default-src 'self'"));
        assert_eq!(got.field("content-digest"), None, "the gateway may have changed the body");
        assert_eq!((got.field("content-length"), got.body.len()), (Some("10"), 10));
        assert_eq!((got.field("h"), got.field("set-cookie"), got.field("age")), (None, None, Some("0")));
    }
}

#[tokio::test]
async fn rfc_9111_4_3_4_a_304_for_something_else_updates_nothing() {
    let mut site = Site::new();
    site.get(&[], Ok(&ok(&[("cache-control", "max-age=1"), ("etag", "\"a\"")]))).await;
    site.wait(3);
    let fields = HeaderMap::new();
    let asked = site.asked("/", &fields);
    let Lookup::Fetch(flight, follower) = site.cache.lookup(&asked) else { panic!() };
    let times = Times { requested: site.now, received: site.now };
    let Outcome::Again(flight) = flight.head(304, site.map(&[("etag", "\"b\"")]), times) else { panic!() };
    assert_eq!(flight.fields(), [], "without a condition");
    let given = ok(&[("cache-control", "max-age=60")]);
    let (got, ()) = tokio::join!(follower.reply(&asked), site.fetch(flight, Ok(&given)));
    assert!(matches!(got, Followed::Reply(Reply { status: 200, .. })));
}

#[tokio::test]
async fn a_304_can_end_the_storing() {
    let mut site = Site::new();
    site.get(&[], Ok(&ok(&[("cache-control", "max-age=1"), ("etag", "\"a\"")]))).await;
    site.wait(3);
    let private = ok(&[("cache-control", "private"), ("etag", "\"a\"")]);
    let got = site.get(&[], Ok(&private)).await;
    assert_eq!((got.status, got.body.len()), (200, 10), "who asked is answered");
    assert_eq!(site.get(&[], Ok(&private)).await.condition("if-none-match"), None, "nothing is stored any more");
}

#[tokio::test]
async fn rfc_9111_4_3_5_head_freshens() {
    let stale = ok(&[("cache-control", "max-age=1"), ("etag", "\"a\""), ("x", "1"), ("y", "1")]);
    for (head, cached) in [
        (&[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x", "2")][..], true),
        (&[("cache-control", "max-age=60"), ("etag", "\"b\"")], false),
        (&[("cache-control", "max-age=60"), ("content-length", "3")], false),
        (&[("cache-control", "max-age=60"), ("set-cookie", "a=b"), ("content-length", "10")], true),
    ] {
        let mut site = Site::new();
        site.get(&[], Ok(&stale)).await;
        site.wait(3);
        let got = site.ask("HEAD", "/", &[], Ok(&ok(head))).await;
        assert!(!got.is_cached(), "it goes through");
        let got = site.get(&[], Ok(&ok(&[]))).await;
        assert_eq!(got.is_cached(), cached, "{head:?}");
        assert_eq!(got.field("set-cookie"), None);
        if head.iter().any(|(name, _)| *name == "x") {
            assert_eq!((got.field("x"), got.field("y")), (Some("2"), Some("1")));
        }
    }
}

#[tokio::test]
async fn rfc_9111_4_4_unsafe_methods_invalidate() {
    let fresh = ok(&[("cache-control", "max-age=60")]);
    for method in ["POST", "PUT", "DELETE", "M-SEARCH"] {
        for (status, reference, invalidated) in [
            (200, None, [true, false]),
            (303, None, [true, false]),
            (500, None, [false, false]),
            (404, None, [false, false]),
            (201, Some(("location", "/b")), [true, true]),
            (200, Some(("content-location", "http://h.example/b")), [true, true]),
            (200, Some(("location", "http://other.example/b")), [true, false]),
        ] {
            let site = Site::new();
            for path in ["/a", "/b"] {
                site.ask("GET", path, &[], Ok(&fresh)).await;
            }
            let fields: Vec<_> = reference.into_iter().collect();
            site.ask(method, "/a", &[], Ok(&response(status, &fields))).await;
            for (path, invalidated) in ["/a", "/b"].into_iter().zip(invalidated) {
                let got = site.ask("GET", path, &[], Ok(&fresh)).await;
                assert_eq!(got.is_cached(), !invalidated, "{method} {status} {reference:?}: {path}");
            }
        }
    }
    let site = Site::new();
    site.ask("GET", "/a", &[], Ok(&fresh)).await;
    site.ask("OPTIONS", "/a", &[], Ok(&fresh)).await;
    assert!(site.ask("GET", "/a", &[], Ok(&fresh)).await.is_cached());
}

#[tokio::test]
async fn what_is_gone_is_forgotten() {
    let mut site = Site::with(Rules { stale_if_down: 100, ..Rules::default() });
    site.get(&[], Ok(&ok(&[("cache-control", "max-age=1")]))).await;
    site.wait(3);
    assert_eq!(site.get(&[], Ok(&response(410, &[]))).await.status, 410);
    assert_eq!(site.get(&[], Err(Failure::Unreachable)).await.status, 502);
}

#[tokio::test]
async fn purges() {
    let tagged = ok(&[("cache-control", "max-age=60"), ("cache-tag", "news, home"), ("surrogate-key", "x y")]);
    type Purge = fn(&Cache);
    let purges: [(Purge, bool); 8] = [
        (|cache| cache.purge_all(), true),
        (|cache| cache.purge_host(b"H.example"), true),
        (|cache| cache.purge_host(b"other.example"), false),
        (|cache| cache.purge_tag(b"home"), true),
        (|cache| cache.purge_tag(b"y"), true),
        (|cache| cache.purge_tag(b"h.example"), false),
        (|cache| assert!(cache.purge_url(&KeyParts { secure: false, host: HOST, target: b"/" })), true),
        (|cache| assert!(!cache.purge_url(&KeyParts { secure: true, host: HOST, target: b"/" })), false),
    ];
    for (number, (purge, purged)) in purges.into_iter().enumerate() {
        let site = Site::new();
        site.get(&[], Ok(&tagged)).await;
        assert!(site.get(&[], Ok(&tagged)).await.is_cached());
        purge(&site.cache);
        assert_eq!(site.get(&[], Ok(&tagged)).await.is_cached(), !purged, "{number}");
        assert!(site.get(&[], Ok(&tagged)).await.is_cached(), "{number}: it is stored again");
    }
}

#[tokio::test]
async fn purges_by_host_and_tag_are_bounded_and_none_is_forgotten() {
    let site = Site::new();
    let fresh = ok(&[("cache-control", "max-age=60"), ("cache-tag", "old")]);
    site.get(&[], Ok(&fresh)).await;
    site.cache.purge_tag(b"old");
    for number in 0..25_000 {
        site.cache.purge_tag(format!("{number}").as_bytes());
    }
    assert!(!site.get(&[], Ok(&fresh)).await.is_cached());
    assert!(site.get(&[], Ok(&fresh)).await.is_cached());
}

#[tokio::test]
async fn a_purge_reaches_what_is_on_its_way() {
    type Purge = fn(&Cache);
    let purges: [Purge; 2] =
        [|cache| cache.purge_all(), |cache| _ = cache.purge_url(&KeyParts { secure: false, host: HOST, target: b"/" })];
    for purge in purges {
        let site = Site::new();
        let fields = HeaderMap::new();
        let asked = site.asked("/", &fields);
        let Lookup::Fetch(flight, follower) = site.cache.lookup(&asked) else { panic!() };
        purge(&site.cache);
        let given = ok(&[("cache-control", "max-age=60")]);
        site.fetch(flight, Ok(&given)).await;
        assert!(matches!(follower.reply(&asked).await, Followed::Reply(_)), "who waited is answered");
        assert!(!site.get(&[], Ok(&given)).await.is_cached());
    }
}

#[tokio::test]
async fn room_is_made_by_bytes() {
    static BODY: [u8; 100_000] = [7; 100_000];
    let site = Site::new();
    let given = Response { body: &BODY, ..ok(&[("cache-control", "max-age=60")]) };
    for number in 0..200 {
        site.ask("GET", &format!("/{number}"), &[], Ok(&given)).await;
    }
    site.cache.settle();
    let (bytes, urls) = site.cache.size();
    assert!(bytes <= 4 << 20 && (30..=41).contains(&urls), "{bytes} {urls}");
    assert_eq!(site.cache.stats().evicted.get() + urls, 200);
}

#[tokio::test]
async fn a_snapshot_keeps_what_is_of_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let mut site = Site::new();
    let given = ok(&[("cache-control", "max-age=60"), ("vary", "a, accept-encoding"), ("x", "1"), ("x", "2")]);
    let request = [("a", "1"), ("accept-encoding", "gzip")];
    site.get(&request, Ok(&given)).await;
    site.ask("GET", "/gone", &[], Ok(&ok(&[("cache-control", "max-age=2, must-revalidate")]))).await;
    site.ask("GET", "/purged", &[], Ok(&ok(&[("cache-control", "max-age=60"), ("xkey", "t")]))).await;
    site.cache.purge_tag(b"t");
    site.wait(1);
    let before = site.get(&request, Ok(&given)).await;
    assert_eq!(site.cache.save(&path, site.now, u64::MAX).unwrap(), 2);

    let mut again = Site { cache: Cache::new(Settings::default()), ..site };
    again.wait(2);
    assert_eq!(again.cache.load(&path, again.now).unwrap(), 1);
    let after = again.get(&request, Ok(&given)).await;
    assert!(after.is_cached());
    assert_eq!((before.field("age"), after.field("age")), (Some("1"), Some("3")), "time went on");
    assert_eq!((before.body, before.fields.get_all("x").iter().count()), (after.body, 2));
    assert!(!again.get(&[("a", "2")], Ok(&given)).await.is_cached());
    assert_eq!(again.cache.save(&path, again.now, 10).unwrap(), 0, "the limit is kept");
    assert_eq!(again.cache.load(&path, again.now).unwrap(), 0);
}

#[tokio::test]
async fn a_damaged_snapshot_is_an_error_and_a_cold_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let site = Site::new();
    let given = ok(&[("cache-control", "max-age=60")]);
    for target in ["/a", "/b"] {
        site.ask("GET", target, &[], Ok(&given)).await;
    }
    site.cache.save(&path, site.now, u64::MAX).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(3) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        for damaged in [&whole[..at], &flipped[..]] {
            std::fs::write(&path, damaged).unwrap();
            let cache = Cache::new(Settings::default());
            let error = cache.load(&path, site.now).unwrap_err();
            assert!(matches!(error, SnapshotError::Foreign | SnapshotError::Damaged(_)), "{at}: {error:?}");
            cache.settle();
            assert_eq!(cache.size().1, 0, "{at}");
        }
    }
    let absent = Cache::new(Settings::default()).load(&folder.path().join("none"), site.now);
    assert!(matches!(absent, Err(SnapshotError::Io(_))));
}
