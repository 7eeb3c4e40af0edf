//! Many who want the same, and responses that break off.

use std::task::Poll;

use super::*;

fn times(site: &Site) -> Times {
    Times { requested: site.now, received: site.now }
}

const FRESH: Lines<'static> = &[("cache-control", "max-age=60")];

/// The fetch that a first request begins.
fn begin(site: &Site, fields: &HeaderMap) -> (Flight, Follower) {
    match site.cache.lookup(&site.asked("/", fields)) {
        Lookup::Fetch(flight, follower) => (flight, follower),
        other => panic!("{other:?}"),
    }
}

async fn reader(site: &Site, follower: Follower, fields: &HeaderMap) -> Reader {
    match follower.reply(&site.asked("/", fields)).await {
        Followed::Reply(Reply { body: Body::Stream(reader), .. }) => reader,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_misses_are_one_fetch() {
    let site = Arc::new(Site::new());
    let fetches = Arc::new(AtomicU64::new(0));
    let gate = Arc::new(tokio::sync::Barrier::new(1_000));
    let clients: Vec<_> = (0..1_000)
        .map(|_| {
            let (site, fetches, gate) = (site.clone(), fetches.clone(), gate.clone());
            tokio::spawn(async move {
                gate.wait().await;
                let fields = HeaderMap::new();
                let asked = site.asked("/", &fields);
                let follower = match site.cache.lookup(&asked) {
                    Lookup::Fetch(flight, follower) => {
                        fetches.fetch_add(1, Ordering::Relaxed);
                        let site = site.clone();
                        tokio::spawn(async move {
                            let Outcome::Body(mut filling) = flight.head(200, site.map(FRESH), times(&site)) else {
                                panic!()
                            };
                            for piece in 0..100u8 {
                                filling.write(vec![piece; 1_000].into()).await.unwrap();
                                tokio::task::yield_now().await;
                            }
                            filling.end(None).unwrap();
                        });
                        follower
                    }
                    Lookup::Join(follower) => follower,
                    Lookup::Hit(hit) => return read(hit.respond(&asked).body).await.unwrap(),
                    other => panic!("{other:?}"),
                };
                match follower.reply(&asked).await {
                    Followed::Reply(reply) => read(reply.body).await.unwrap(),
                    // It was complete by the time this one looked.
                    Followed::Again => match site.cache.lookup(&asked) {
                        Lookup::Hit(hit) => read(hit.respond(&asked).body).await.unwrap(),
                        other => panic!("{other:?}"),
                    },
                    failed => panic!("{failed:?}"),
                }
            })
        })
        .collect();
    let want: Vec<u8> = (0..100u8).flat_map(|piece| [piece; 1_000]).collect();
    for client in clients {
        assert!(client.await.unwrap() == want);
    }
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
    assert_eq!(site.cache.stats().stored.get(), 1);
    assert!(lock(&site.cache.0.flights).is_empty());
    assert_eq!(site.cache.0.reserved.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_was_stored_after_the_look_up_is_not_fetched_again() {
    let site = Site::new();
    let fields = HeaderMap::new();
    let asked = site.asked("/", &fields);
    let key: Key = asked.key.key();
    site.get(&[], Ok(&ok(FRESH))).await;
    assert!(site.cache.fetch(&asked, &key, None, None, Forward::UriMiss).is_none());
    let resource = site.cache.store().resource(&key);
    assert!(site.cache.fetch(&asked, &key, resource.as_ref(), None, Forward::VaryMiss).is_some());
}

#[tokio::test]
async fn a_flight_that_is_dropped_is_passed_on() {
    let site = Site::new();
    let fields = HeaderMap::new();
    let (flight, leader) = begin(&site, &fields);
    let Lookup::Join(follower) = site.cache.lookup(&site.asked("/", &fields)) else { panic!() };
    drop(flight);
    let asked = site.asked("/", &fields);
    assert!(matches!(leader.reply(&asked).await, Followed::Failed(Failure::Dropped)));
    assert!(matches!(follower.reply(&asked).await, Followed::Again));
    let (flight, _follower) = begin(&site, &fields);
    let Lookup::Join(follower) = site.cache.lookup(&asked) else { panic!() };
    flight.fail(Failure::Unreachable, site.now);
    assert!(matches!(follower.reply(&asked).await, Followed::Failed(Failure::Unreachable)), "all at once");
}

#[tokio::test]
async fn rfc_9110_15_2_interim_responses_are_for_who_asked_first() {
    let site = Site::new();
    let fields = HeaderMap::new();
    let (flight, mut leader) = begin(&site, &fields);
    let Lookup::Join(follower) = site.cache.lookup(&site.asked("/", &fields)) else { panic!() };
    for status in [100, 101, 102, 103, 103] {
        flight.interim(status, site.map(&[("link", "</a.css>"), ("connection", "x"), ("x", "1")]));
    }
    for _ in 0..100 {
        flight.interim(103, HeaderMap::new());
    }
    let Outcome::Body(filling) = flight.head(200, site.map(FRESH), times(&site)) else { panic!() };
    filling.end(None).unwrap();
    let mut seen = Vec::new();
    let reply = loop {
        match leader.reply(&site.asked("/", &fields)).await {
            Followed::Interim(interim, again) => {
                seen.push((interim.status, interim.fields));
                leader = again;
            }
            Followed::Reply(reply) => break reply,
            other => panic!("{other:?}"),
        }
    };
    let statuses: Vec<u16> = seen.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [102, 103, 103, 103, 103, 103, 103, 103], "no more than are worth it");
    assert_eq!(seen[0].1, site.map(&[("link", "</a.css>")]));
    assert!(!reply.fields.contains_key("link"), "they are none of its fields");
    assert!(matches!(follower.reply(&site.asked("/", &fields)).await, Followed::Again));
    let Lookup::Hit(hit) = site.cache.lookup(&site.asked("/", &fields)) else { panic!() };
    assert!(!hit.entry().fields().contains_key("link"));
}

#[tokio::test]
async fn what_breaks_off_is_told_and_not_stored() {
    for (length, pieces, ends) in [(None, 1, false), (Some("3"), 2, true), (Some("1"), 1, false), (Some("9"), 1, true)]
    {
        let site = Site::new();
        let fields = HeaderMap::new();
        let (flight, leader) = begin(&site, &fields);
        let Lookup::Join(follower) = site.cache.lookup(&site.asked("/", &fields)) else { panic!() };
        let mut head = site.map(FRESH);
        if let Some(length) = length {
            head.insert(header::CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        let Outcome::Body(mut filling) = flight.head(200, head, times(&site)) else { panic!() };
        let mut readers = [reader(&site, leader, &fields).await, reader(&site, follower, &fields).await];
        let mut stopped = Ok(());
        for _ in 0..pieces {
            stopped = stopped.and(filling.write(Bytes::from_static(b"ab")).await);
        }
        match ends && stopped.is_ok() {
            true => assert_eq!(filling.end(None), Err(Stopped::WrongLength)),
            false => drop(filling),
        }
        for reader in &mut readers {
            assert_eq!(reader.next().await, Some(Err(Aborted)), "{length:?}");
        }
        assert_eq!((site.cache.stats().aborted.get(), site.cache.stats().stored.get()), (1, 0), "{length:?}");
        assert!(!site.get(&[], Ok(&ok(FRESH))).await.is_cached());
        assert_eq!(site.cache.0.reserved.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn what_is_not_for_all_is_for_who_asked() {
    for given in [
        ok(&[("cache-control", "private")]),
        ok(&[("cache-control", "max-age=60"), ("set-cookie", "id=1")]),
        ok(&[("cache-control", "max-age=60"), ("vary", "*")]),
        ok(&[("cache-control", "no-cache"), ("etag", "\"a\"")]),
        ok(&[("cache-control", "max-age=0"), ("etag", "\"a\"")]),
        ok(&[("etag", "\"a\"")]),
    ] {
        let site = Site::new();
        let fields = HeaderMap::new();
        let asked = site.asked("/", &fields);
        let (flight, leader) = begin(&site, &fields);
        let Lookup::Join(follower) = site.cache.lookup(&asked) else { panic!() };
        let Outcome::Body(_filling) = flight.head(200, site.map(&given.fields), times(&site)) else { panic!() };
        assert!(matches!(follower.reply(&asked).await, Followed::Again), "{given:?}");
        assert!(matches!(leader.reply(&asked).await, Followed::Reply(_)));
        // From now on each fetches for itself, and waits for nobody.
        let flights = [begin(&site, &fields), begin(&site, &fields)];
        drop(flights);
    }
}

#[tokio::test]
async fn what_becomes_cacheable_is_stored_though_each_fetches_for_itself() {
    let site = Site::new();
    site.get(&[], Ok(&ok(&[("cache-control", "private")]))).await;
    assert!(!site.get(&[], Ok(&ok(FRESH))).await.is_cached());
    assert!(site.get(&[], Ok(&ok(FRESH))).await.is_cached());
}

#[tokio::test]
async fn who_gets_another_variant_does_not_wait_for_this_one() {
    let site = Site::new();
    let varied = site.map(&[("cache-control", "max-age=60"), ("vary", "a")]);
    let [one, two] = ["1", "2"].map(|value| site.map(&[("a", value)]));
    let (flight, _leader) = begin(&site, &one);
    let Lookup::Join(other) = site.cache.lookup(&site.asked("/", &two)) else { panic!() };
    let Outcome::Body(_first) = flight.head(200, varied.clone(), times(&site)) else { panic!() };
    assert!(matches!(other.reply(&site.asked("/", &two)).await, Followed::Again));
    let (flight, _follower) = begin(&site, &two);
    for (fields, joins) in [(&one, true), (&two, true), (&HeaderMap::new(), false)] {
        assert_eq!(matches!(site.cache.lookup(&site.asked("/", fields)), Lookup::Join(_)), joins);
    }
    drop(flight);
}

#[tokio::test]
async fn a_leader_that_leaves_stops_nothing() {
    let site = Site::new();
    let fields = HeaderMap::new();
    let (flight, leader) = begin(&site, &fields);
    drop(leader);
    site.fetch(flight, Ok(&ok(FRESH))).await;
    assert!(site.get(&[], Ok(&ok(FRESH))).await.is_cached());
}

#[tokio::test]
async fn what_nobody_reads_and_nobody_stores_is_not_fetched_on() {
    let site = Site::new();
    let fields = HeaderMap::new();
    let (flight, leader) = begin(&site, &fields);
    let Outcome::Body(mut filling) = flight.head(200, site.map(&[("cache-control", "no-store")]), times(&site)) else {
        panic!()
    };
    assert!(!filling.is_storing());
    drop(reader(&site, leader, &fields).await);
    assert_eq!(filling.write(Bytes::from_static(b"a")).await, Err(Stopped::Abandoned));
}

/// A body of unknown length that is longer than may be stored, and a client that doesn't read.
#[tokio::test]
async fn a_slow_reader_holds_back_what_is_not_stored_and_no_memory() {
    let site = Site::new();
    let fields = HeaderMap::new();
    let (flight, leader) = begin(&site, &fields);
    let Outcome::Body(mut filling) = flight.head(200, site.map(FRESH), times(&site)) else { panic!() };
    let mut slow = reader(&site, leader, &fields).await;
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut written = 0usize;
    // As long as it may be stored, it is taken.
    while filling.is_storing() {
        let write = std::pin::pin!(filling.write(piece.clone()));
        written += piece.len();
        if futures_poll(write).await.is_pending() {
            break;
        }
    }
    assert!(!filling.is_storing() && written == (1 << 20) + piece.len(), "{written}");
    let Lookup::Fetch(..) = site.cache.lookup(&site.asked("/", &fields)) else { panic!("nobody joins any more") };
    // Then it waits: what is written now is in memory until it is read.
    let mut waiting = Box::pin(filling.write(piece.clone()));
    assert!(futures_poll(waiting.as_mut()).await.is_pending());
    let mut got = 0;
    while got < (1 << 20) - (256 << 10) {
        got += slow.next().await.unwrap().unwrap().len();
    }
    assert!(futures_poll(waiting.as_mut()).await.is_pending(), "{got} read, and the window is full");
    while got < written {
        got += slow.next().await.unwrap().unwrap().len();
    }
    waiting.await.unwrap();
    filling.end(None).unwrap();
    assert_eq!(slow.next().await.unwrap().unwrap().len(), piece.len());
    assert_eq!(slow.next().await, None);
    assert_eq!(site.cache.stats().stored.get(), 0);
    assert_eq!(site.cache.0.reserved.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_says_that_it_is_large_is_for_one_client() {
    let site = Site::new();
    let fields = HeaderMap::new();
    let (flight, _leader) = begin(&site, &fields);
    let Lookup::Join(follower) = site.cache.lookup(&site.asked("/", &fields)) else { panic!() };
    let head = site.map(&[("cache-control", "max-age=60"), ("content-length", "1048577")]);
    let Outcome::Body(filling) = flight.head(200, head, times(&site)) else { panic!() };
    assert!(!filling.is_storing());
    assert!(matches!(follower.reply(&site.asked("/", &fields)).await, Followed::Again));
}

#[tokio::test]
async fn bodies_on_their_way_share_a_bound() {
    let site = Site::new();
    let fields = HeaderMap::new();
    let mut fillings = Vec::new();
    for number in 0..4 {
        let target = format!("/{number}");
        let Lookup::Fetch(flight, follower) = site.cache.lookup(&site.asked(&target, &fields)) else { panic!() };
        let Outcome::Body(mut filling) = flight.head(200, site.map(FRESH), times(&site)) else { panic!() };
        {
            let write = std::pin::pin!(filling.write(vec![0; 900_000].into()));
            // The third is not stored, and waits for its reader.
            assert_eq!(futures_poll(write).await.is_pending(), number >= 2);
        }
        fillings.push((filling, follower));
    }
    drop(fillings);
    assert_eq!(site.cache.0.reserved.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn trailers_reach_readers() {
    let site = Site::new();
    let fields = HeaderMap::new();
    let (flight, leader) = begin(&site, &fields);
    let Outcome::Body(filling) = flight.head(200, site.map(FRESH), times(&site)) else { panic!() };
    let mut reader = reader(&site, leader, &fields).await;
    filling.end(Some(site.map(&[("digest", "x")]))).unwrap();
    assert_eq!(reader.next().await, None);
    assert_eq!(reader.trailers(), Some(site.map(&[("digest", "x")])));
}

/// Polls once.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}
