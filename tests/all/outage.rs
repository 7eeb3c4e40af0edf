//! What citizens see while a platform is down, and over restarts: pages.

use std::{
    fs,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use waypost::server::{self, Running};

use crate::cached::{Scripted, message};
use crate::client::{Conn, Response, head};
use crate::lanes::Lane;
use crate::platform::Origin;
use crate::platforms;
use crate::relay::{self, HOST};
use crate::serve::until;

const PAGES: usize = 100;

const CLIENTS: usize = 4;

/// What is far more than a page of the cache takes, and far less than any time-out.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Clients that ask for pages one after the other until they are told to stop, and what they get.
#[derive(Default)]
struct Visitors {
    stop: AtomicBool,
    answered: AtomicUsize,
    failed: Mutex<Vec<String>>,
    longest: Mutex<Duration>,
}

impl Visitors {
    /// `ask` gets the number of the visit, and says what is wrong with the answer.
    fn visit(&self, running: &Running, ask: impl Fn(&mut Conn, usize) -> Result<(), String>) {
        let mut conn = Conn::new(running.http[0]);
        for visit in 0.. {
            if self.stop.load(SeqCst) {
                return;
            }
            let began = Instant::now();
            if let Err(why) = ask(&mut conn, visit) {
                self.failed.lock().unwrap().push(why);
            }
            let mut longest = self.longest.lock().unwrap();
            *longest = (*longest).max(began.elapsed());
            self.answered.fetch_add(1, SeqCst);
        }
    }

    /// Waits for so many more answers.
    fn more(&self, count: usize) {
        let before = self.answered.load(SeqCst);
        until("answers come", || self.answered.load(SeqCst) >= before + count);
    }

    fn assert_none_failed(&self) {
        let failed = self.failed.lock().unwrap();
        assert!(failed.is_empty(), "{} failed, such as {}", failed.len(), failed[0]);
    }
}

/// Stops the visitors when a test fails, or the scope would wait for them for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn is_page(got: &Response) -> Result<(), String> {
    if got.status == 200 && got.body == b"platform" { Ok(()) } else { Err(format!("{} {:?}", got.status, got.headers)) }
}

#[test]
fn every_page_that_was_seen_outlives_the_platform() {
    let origin = Origin::named("platform");
    let address = origin.address;
    let settings = format!("origins = [\"{}\"]\neject = {{ failures = 3, time = 300 }}", origin.url());
    let (folder, gateway) = platforms::gateway(&settings);
    let site = folder.path().join("routes/a.toml");
    let cached = fs::read_to_string(&site).unwrap().replace("[cache]\nenabled = false\n", "");
    fs::write(&site, cached).unwrap();
    let running = server::start(gateway).unwrap();
    let page = |visit: usize| format!("/name/{}", visit % PAGES);
    let mut client = Conn::new(running.http[0]);
    for number in 0..PAGES {
        is_page(&client.get(HOST, &page(number))).unwrap();
    }
    let visitors = Visitors::default();
    thread::scope(|scope| {
        for first in 0..CLIENTS {
            let ask = move |conn: &mut Conn, visit: usize| is_page(&conn.get(HOST, &page(first * 17 + visit)));
            let (visitors, running) = (&visitors, &running);
            scope.spawn(move || visitors.visit(running, ask));
        }
        let stop = Stop(&visitors.stop);
        visitors.more(500);
        origin.stop();
        visitors.more(2_000);
        let got = client.get(HOST, &page(1));
        assert!(got.header("cache-status").contains("stale-if-down"), "{got:?}");
        // What was never seen can't be shown; that is said at once.
        let began = Instant::now();
        let got = client.get(HOST, "/name/new");
        assert!(got.status == 503 && !got.header("retry-after").is_empty(), "{got:?}");
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        // It comes back by itself.
        let origin = Origin::again("platform", address);
        until("the platform is asked again", || !origin.all().is_empty());
        until("pages are fresh again", || client.get(HOST, &page(2)).header("cache-status").contains("fwd-status=200"));
        visitors.more(500);
        drop(stop);
    });
    visitors.assert_none_failed();
    let longest = *visitors.longest.lock().unwrap();
    assert!(longest < AT_ONCE, "{longest:?}");
    running.stop();
}

#[test]
fn a_platform_that_has_become_slow_keeps_nobody_waiting_for_what_is_stored() {
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let open = gate.clone();
    let origin = Scripted::start(move |_, _| {
        drop(open.1.wait_while(open.0.lock().unwrap(), |open| !*open).unwrap());
        message("Cache-Control: max-age=0\r\n", b"page")
    });
    let set_open = |is_open| {
        *gate.0.lock().unwrap() = is_open;
        gate.1.notify_all();
    };
    let (routes, gateway) = relay::gateway(origin.address);
    let site = routes.path().join("a.toml");
    let patient = fs::read_to_string(&site).unwrap() + "[cache]\npatience = 50\n";
    fs::write(&site, patient).unwrap();
    for lane in [Lane::Fast, Lane::H2] {
        let running = lane.start(gateway.clone());
        let mut client = lane.client(&running);
        assert_eq!(client.get(HOST, "/r/1").text(), "page", "{lane}");
        set_open(false);
        let got = client.get(HOST, "/r/1");
        assert_eq!((got.status, got.text().as_str()), (200, "page"), "{lane}");
        assert!(got.header("cache-status").contains("stale-if-down"), "{lane}: {}", got.header("cache-status"));
        set_open(true);
        until("it is fresh again", || client.get(HOST, "/r/1").header("cache-status").contains("fwd=stale"));
        drop(client);
        running.stop();
    }
}

/// A restart ends all connections, those with a request too, and for a moment nobody listens.
#[test]
fn no_client_sees_that_an_origin_starts_anew() {
    let mut origin = Origin::named("platform");
    let address = origin.address;
    let (_folder, gateway) = platforms::gateway(&format!("origins = [\"{}\"]", origin.url()));
    let running = server::start(gateway).unwrap();
    let visitors = Visitors::default();
    // It outlives the last visit.
    let _origin = thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| visitors.visit(&running, |conn, _| is_page(&conn.get(HOST, "/name"))));
        }
        let stop = Stop(&visitors.stop);
        let mut client = Conn::new(running.http[0]);
        for _ in 0..10 {
            visitors.more(50);
            origin.stop();
            origin = Origin::again("platform", address);
            // One that may not be sent twice never meets a connection that is dead.
            let got = client.send(&head("POST", HOST, b"/form", &[], b"form"), false).unwrap();
            assert_eq!((got.status, got.body.as_slice()), (200, &b"form"[..]));
        }
        drop(stop);
        origin
    });
    visitors.assert_none_failed();
    running.stop();
}

#[test]
fn what_is_stored_outlives_a_restart() {
    let origin = Scripted::start(|_, _| message("Cache-Control: max-age=600\r\n", b"page"));
    let (routes, mut gateway) = relay::gateway(origin.address);
    let file = routes.path().join("cache.snapshot");
    gateway.cache.snapshot = Some(file.clone());
    let asked_after = |what: &str| {
        let running = Lane::Fast.start(gateway.clone());
        assert!(!file.exists(), "{what}: a crash would bring back what was purged since");
        let got = Lane::Fast.client(&running).get(HOST, "/r/1");
        assert_eq!((got.status, got.text().as_str()), (200, "page"), "{what}");
        running.stop();
        assert!(file.exists(), "{what}");
        origin.asked()
    };
    assert_eq!(asked_after("the first start"), 1);
    assert_eq!(asked_after("a restart"), 1);
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(asked_after("damage"), 2, "an empty cache is better than none");
    fs::write(&file, "nonsense").unwrap();
    assert_eq!(asked_after("nonsense"), 3);
    assert_eq!(asked_after("all that"), 3);
}
