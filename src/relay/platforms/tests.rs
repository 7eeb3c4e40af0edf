//! Turns, without any HTTP: who is chosen, who waits, who is left alone.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use pingora::protocols::ALPN;
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType};
use tokio::time::{advance, pause};

use super::*;
use crate::config::Balance;
use crate::telemetry::PlatformError;

const ORIGINS: [&str; 3] = ["http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3"];

struct House {
    platforms: Arc<Platforms>,
    metrics: Arc<Metrics>,
}

fn house(config: config::Platform) -> House {
    let refuse: Lookup = Arc::new(|_, _| Box::pin(async { Err(io::Error::other("nobody looks names up here")) }));
    house_with(config, refuse)
}

fn house_with(config: config::Platform, lookup: Lookup) -> House {
    let metrics = Arc::new(Metrics::new().unwrap());
    let gateway = Gateway { platforms: BTreeMap::from([("p".to_owned(), config)]), ..Gateway::default() };
    House { platforms: Platforms::with_lookup(&gateway, metrics.clone(), lookup), metrics }
}

impl House {
    fn platform(&self) -> Arc<Platform> {
        self.platforms.get("p").unwrap()
    }

    /// The value of a metric, by the text before it.
    fn metric(&self, start: &str) -> Option<f64> {
        let text = String::from_utf8(self.metrics.text().unwrap()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(start)?.trim().parse().ok())
    }
}

fn platform(origins: &[&str]) -> config::Platform {
    config::Platform::of(origins.iter().copied()).unwrap()
}

async fn enter(platform: &Arc<Platform>) -> Turn {
    platform.enter(None, 0).await.unwrap()
}

fn origin(turn: &Turn) -> String {
    turn.origin().unwrap().as_str().to_owned()
}

fn error(etype: ErrorType) -> Box<Error> {
    Error::new(etype)
}

fn refused() -> Box<Error> {
    error(ErrorType::ConnectRefused)
}

const SENT: Stage = Stage::Sent { reused: false, repeatable: true };

#[tokio::test]
async fn origins_take_turns() {
    let house = house(platform(&ORIGINS));
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(origin(&enter(&house.platform()).await));
    }
    assert_eq!(seen[..3], ORIGINS);
    assert_eq!(seen[..3], seen[3..]);
}

#[tokio::test]
async fn the_idlest_origin_is_chosen() {
    let house = house(config::Platform { balance: Balance::LeastConnections, ..platform(&ORIGINS) });
    let platform = house.platform();
    let mut turns = Vec::new();
    for _ in 0..6 {
        turns.push(enter(&platform).await);
    }
    let load = |turns: &[Turn]| ORIGINS.map(|name| turns.iter().filter(|turn| origin(turn) == name).count());
    assert_eq!(load(&turns), [2, 2, 2]);
    turns.retain(|turn| origin(turn) != ORIGINS[1]);
    for _ in 0..2 {
        turns.push(enter(&platform).await);
    }
    assert_eq!(load(&turns), [2, 2, 2]);
    assert_eq!(house.metric(r#"waypost_platform_in_flight{platform="p"}"#), Some(6.0));
    drop(turns);
    assert_eq!(house.metric(r#"waypost_platform_in_flight{platform="p"}"#), Some(0.0));
}

#[tokio::test]
async fn clients_and_urls_keep_their_origin_and_only_a_lost_share_moves() {
    for balance in [Balance::Client, Balance::Url] {
        let house = house(config::Platform { balance, eject_failures: 1, ..platform(&ORIGINS) });
        let platform = house.platform();
        let mut before = Vec::new();
        let ask = async |number: u32| match balance {
            Balance::Client => origin(&platform.enter(Some(Ipv4Addr::from(number).into()), 7).await.unwrap()),
            _ => origin(&platform.enter(Some(Ipv4Addr::LOCALHOST.into()), u64::from(number)).await.unwrap()),
        };
        for number in 0..300 {
            before.push(ask(number).await);
            assert_eq!(ask(number).await, before[number as usize]);
        }
        for name in ORIGINS {
            let share = before.iter().filter(|origin| *origin == name).count();
            assert!((60..140).contains(&share), "{balance:?} {name}: {share} of 300");
        }
        // One goes.
        let mut turn = enter(&platform).await;
        let lost = origin(&turn);
        turn.failed(&refused(), Stage::Connecting);
        drop(turn);
        for number in 0..300 {
            let now = ask(number).await;
            assert_ne!(now, lost);
            assert!(before[number as usize] == lost || before[number as usize] == now, "{balance:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_and_a_long_wait_are_refused() {
    let limits =
        config::Platform { connections: 2, queue: 1, queue_time: Duration::from_secs(3), ..platform(&ORIGINS) };
    let house = house(limits);
    let platform = house.platform();
    let one = enter(&platform).await;
    let two = enter(&platform).await;
    let waiting = tokio::spawn({
        let platform = platform.clone();
        async move { platform.enter(None, 0).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(house.metric(r#"waypost_platform_queued{platform="p"}"#), Some(1.0));
    let busy = platform.enter(None, 0).await.unwrap_err();
    assert_eq!((busy.error, busy.seconds()), (PlatformError::Busy, 1));
    drop(one);
    waiting.await.unwrap().unwrap();
    // Who waits too long goes.
    let _third = enter(&platform).await;
    let began = tokio::time::Instant::now();
    assert_eq!(platform.enter(None, 0).await.unwrap_err().error, PlatformError::Busy);
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    // Who goes away by itself leaves no trace.
    let mut gone = Box::pin(platform.enter(None, 0));
    assert!(futures_poll(gone.as_mut()).await.is_pending());
    drop(gone);
    assert_eq!(house.metric(r#"waypost_platform_queued{platform="p"}"#), Some(0.0));
    drop(two);
    drop(enter(&platform).await);
    assert_eq!(house.metric(r#"waypost_platform_errors_total{error="busy",platform="p"}"#), Some(2.0));
}

async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await
}

#[tokio::test(start_paused = true)]
async fn the_circuit_opens_and_closes_by_itself() {
    let house = house(config::Platform { retries: 0, ..platform(&ORIGINS[..1]) });
    let platform = house.platform();
    // The clock must not be at 0 of the paused time.
    advance(Duration::from_millis(50)).await;
    for _ in 0..5 {
        assert!(!enter(&platform).await.failed(&refused(), Stage::Connecting));
    }
    let up = r#"waypost_platform_origin_up{origin="http://10.0.0.1",platform="p"}"#;
    let ejections = r#"waypost_platform_ejections_total{origin="http://10.0.0.1",platform="p"}"#;
    assert_eq!((house.metric(up), house.metric(ejections)), (Some(0.0), Some(1.0)));
    let busy = platform.enter(None, 0).await.unwrap_err();
    assert_eq!((busy.error, busy.seconds()), (PlatformError::Breaker, 5));
    // Time alone doesn't bring it back, but being reached does.
    advance(Duration::from_secs(60)).await;
    assert_eq!(platform.enter(None, 0).await.unwrap_err().error, PlatformError::Breaker);
    let reached = || platform.endpoints.load()[0].circuit.reached();
    reached();
    // One tries; the others don't wait for it.
    let mut trial = enter(&platform).await;
    assert!(trial.is_trial());
    assert_eq!(platform.enter(None, 0).await.unwrap_err().error, PlatformError::Breaker);
    trial.failed(&refused(), Stage::Connecting);
    drop(trial);
    assert_eq!(house.metric(ejections), Some(2.0));
    assert_eq!(platform.enter(None, 0).await.unwrap_err().error, PlatformError::Breaker);
    reached();
    // A trial whose client goes away says nothing.
    drop(enter(&platform).await);
    let mut trial = enter(&platform).await;
    trial.answered(500);
    assert_eq!(house.metric(up), Some(1.0));
    let (_one, _two) = (enter(&platform).await, enter(&platform).await);
    assert_eq!(house.metric(r#"waypost_platform_errors_total{error="breaker",platform="p"}"#), Some(4.0));
    assert_eq!(house.metric(r#"waypost_platform_requests_total{outcome="failed",platform="p"}"#), Some(10.0));
    assert_eq!(house.metric(r#"waypost_platform_requests_total{outcome="server_error",platform="p"}"#), Some(1.0));
}

#[tokio::test]
async fn pages_that_always_end_badly_do_not_cut_the_last_origin_off() {
    let house = house(platform(&ORIGINS[..2]));
    let platform = house.platform();
    let reset = || error(ErrorType::ConnectionClosed);
    for _ in 0..50 {
        let mut turn = enter(&platform).await;
        while turn.failed(&reset(), SENT) {}
    }
    let ejected =
        |name| house.metric(&format!(r#"waypost_platform_ejections_total{{origin="{name}",platform="p"}}"#)).unwrap();
    assert_eq!(ejected(ORIGINS[0]) + ejected(ORIGINS[1]), 1.0);
    // A platform that is silent is another matter.
    for _ in 0..5 {
        let Ok(mut turn) = platform.enter(None, 0).await else { break };
        assert!(!turn.failed(&error(ErrorType::ReadTimedout), SENT), "nothing is sent again after a time-out");
    }
    assert_eq!(platform.enter(None, 0).await.unwrap_err().error, PlatformError::Breaker);
}

#[tokio::test]
async fn what_may_not_be_sent_twice_is_not() {
    let never = Stage::Sent { reused: true, repeatable: false };
    for (etype, stage, again) in [
        (ErrorType::ConnectRefused, Stage::Connecting, true),
        (ErrorType::ConnectTimedout, Stage::Connecting, true),
        (ErrorType::TLSHandshakeFailure, Stage::Connecting, true),
        // A certificate that isn't pinned: nothing has been sent.
        (ErrorType::InvalidCert, never, true),
        (ErrorType::ConnectionClosed, SENT, true),
        (ErrorType::ConnectionClosed, never, false),
        (ErrorType::WriteError, never, false),
        (ErrorType::ReadTimedout, SENT, false),
        (ErrorType::InvalidHTTPHeader, SENT, false),
        (ErrorType::ConnectionClosed, Stage::Answering, false),
    ] {
        let house = house(platform(&ORIGINS[..2]));
        let mut turn = enter(&house.platform()).await;
        let first = origin(&turn);
        assert_eq!(turn.failed(&error(etype.clone()), stage), again, "{etype:?} {stage:?}");
        assert_eq!(origin(&turn) != first, again, "{etype:?} {stage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tries_end() {
    let house = house(config::Platform { retries: 3, total_time: Duration::from_secs(9), ..platform(&ORIGINS[..2]) });
    let platform = house.platform();
    let mut turn = enter(&platform).await;
    let tries = (1..20).find(|_| !turn.failed(&refused(), Stage::Connecting));
    assert_eq!(tries, Some(4));
    drop(turn);
    // The only origin is given a moment, and not more time than there is.
    let mut turn = enter(&platform).await;
    turn.failed(&refused(), Stage::Connecting);
    turn.failed(&refused(), Stage::Connecting);
    let began = tokio::time::Instant::now();
    turn.peer(Connection::Pooled).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(200));
    advance(Duration::from_secs(8)).await;
    let peer = turn.peer(Connection::Pooled).await.unwrap();
    assert_eq!(peer.options.read_timeout, Some(Duration::from_millis(800)));
    advance(Duration::from_secs(1)).await;
    assert_eq!(*turn.peer(Connection::Pooled).await.unwrap_err().etype(), ErrorType::ReadTimedout);
    assert!(!turn.failed(&refused(), Stage::Connecting));
}

#[tokio::test]
async fn a_dead_connection_of_the_pool_is_nobodys_fault() {
    let house = house(config::Platform { eject_failures: 1, ..platform(&ORIGINS) });
    let mut turn = enter(&house.platform()).await;
    let before = origin(&turn);
    let pooled = turn.peer(Connection::Pooled).await.unwrap();
    assert_eq!(pooled.reuse_hash(), turn.peer(Connection::Pooled).await.unwrap().reuse_hash());
    assert!(turn.failed(&error(ErrorType::ConnectionClosed), Stage::Sent { reused: true, repeatable: true }));
    assert_eq!(origin(&turn), before);
    let new = [turn.peer(Connection::Pooled).await.unwrap(), turn.peer(Connection::Pooled).await.unwrap()];
    assert!(new[0].reuse_hash() != pooled.reuse_hash() && new[0].reuse_hash() != new[1].reuse_hash());
    assert_eq!(new[0].options.idle_timeout, Some(Duration::ZERO));
    // Once: a new connection that ends is the origin's fault.
    assert!(turn.failed(&error(ErrorType::ConnectionClosed), SENT));
    assert_ne!(origin(&turn), before);
}

#[tokio::test]
async fn an_origin_whose_http_2_is_none_is_spoken_to_in_http_1() {
    let house = house(config::Platform { http2: true, ..platform(&["https://10.0.0.1"]) });
    let mut turn = enter(&house.platform()).await;
    assert_eq!(turn.peer(Connection::Pooled).await.unwrap().options.alpn, ALPN::H2H1);
    assert!(turn.failed(&error(ErrorType::H2Downgrade), SENT));
    for connection in [Connection::Pooled, Connection::New] {
        assert_eq!(turn.peer(connection).await.unwrap().options.alpn, ALPN::H1);
    }
}

#[tokio::test]
async fn peers_have_every_time_limit_and_a_name_to_check() {
    let config = config::Platform {
        http2: true,
        ..platform(&["https://10.0.0.1:8443", "https://[::1]", "http://10.0.0.1", "unix:/run/app.sock"])
    };
    let house = house(config);
    let platform = house.platform();
    let mut peers: Vec<HttpPeer> = Vec::new();
    for _ in 0..4 {
        peers.push(*enter(&platform).await.peer(Connection::Pooled).await.unwrap());
    }
    let names: Vec<&str> = peers.iter().map(|peer| peer.sni.as_str()).collect();
    assert_eq!(names, ["10.0.0.1", "::1", "", ""]);
    assert_eq!(peers.iter().map(Peer::tls).collect::<Vec<_>>(), [true, true, false, false]);
    for peer in &peers {
        let options = &peer.options;
        assert!(options.verify_cert && options.verify_hostname && peer.group_key != 0);
        for time in [
            options.connection_timeout,
            options.total_connection_timeout,
            options.read_timeout,
            options.write_timeout,
            options.idle_timeout,
        ] {
            assert!(time.is_some_and(|time| !time.is_zero()));
        }
    }
    let hashes: BTreeSet<u64> = peers.iter().map(Peer::reuse_hash).collect();
    assert_eq!(hashes.len(), 4);
}

#[tokio::test]
async fn addresses_follow_dns_and_keep_what_is_known_of_them() {
    pause();
    let answers: Vec<io::Result<Vec<&str>>> = vec![
        Err(io::Error::other("not yet")),
        Ok(vec!["10.0.0.2:80", "10.0.0.1:80", "10.0.0.1:80"]),
        Err(io::Error::other("gone")),
        Ok(vec!["10.0.0.2:80", "10.0.0.3:80"]),
        Ok(vec![]),
    ];
    let answers: Arc<Vec<_>> = Arc::new(answers.into_iter().map(|answer| answer.map_err(|e| e.to_string())).collect());
    let asked = Arc::new(AtomicUsize::new(0));
    let lookup: Lookup = {
        let asked = asked.clone();
        Arc::new(move |name, port| {
            assert_eq!((name.as_str(), port), ("app.example", 80));
            let answer = answers[asked.fetch_add(1, Relaxed).min(answers.len() - 1)].clone();
            Box::pin(async move {
                let addresses = answer.map_err(io::Error::other)?;
                Ok(addresses.into_iter().map(|text| text.parse::<SocketAddr>().unwrap()).collect())
            })
        })
    };
    let config = config::Platform { eject_failures: 1, retries: 0, ..platform(&["http://app.example"]) };
    let house = house_with(config, lookup.clone());
    let platform = house.platform();
    let addresses = || platform.endpoints.load().iter().map(|end| end.shown.clone()).collect::<Vec<_>>();
    assert!(!platform.resolve(&lookup).await);
    assert_eq!(platform.enter(None, 0).await.unwrap_err().error, PlatformError::Breaker);
    assert!(platform.resolve(&lookup).await);
    assert_eq!(addresses(), ["http://app.example (10.0.0.1)", "http://app.example (10.0.0.2)"]);
    let (mut one, mut two) = (enter(&platform).await, enter(&platform).await);
    two.failed(&refused(), Stage::Connecting);
    // While DNS fails, the last answer holds.
    assert!(platform.resolve(&lookup).await);
    assert_eq!(addresses().len(), 2);
    assert!(platform.resolve(&lookup).await);
    assert_eq!(addresses(), ["http://app.example (10.0.0.2)", "http://app.example (10.0.0.3)"]);
    // The second was left alone, and still is; the first is gone, and its request goes on.
    one.answered(200);
    for _ in 0..4 {
        let peer = enter(&platform).await.peer(Connection::Pooled).await.unwrap();
        assert_eq!(peer._address.to_string(), "10.0.0.3:80");
    }
    assert!(platform.resolve(&lookup).await);
    assert_eq!(addresses().len(), 2);
}

#[tokio::test]
async fn a_site_s_own_origin_is_shared_and_forgotten() {
    let house = house(platform(&ORIGINS));
    let platforms = &house.platforms;
    assert!(platforms.get("q").is_none() && platforms.get("").is_none() && platforms.get("http://").is_none());
    let own = platforms.get("http://10.9.9.9").unwrap();
    let other = platforms.get("http://10.9.9.8").unwrap();
    assert!(Arc::ptr_eq(&own, &platforms.get("http://10.9.9.9").unwrap()));
    drop(enter(&own).await);
    let turn = enter(&other).await;
    let gone = platforms.retain(&BTreeSet::from(["http://10.9.9.9"]));
    assert!(gone.len() == 1 && Arc::ptr_eq(&gone[0], &other));
    assert!(house.metric(r#"waypost_platform_in_flight{platform="http://10.9.9.8"}"#).is_none());
    drop(turn);
    assert!(Arc::ptr_eq(&own, &platforms.get("http://10.9.9.9").unwrap()), "others are not touched");
    assert!(!Arc::ptr_eq(&other, &platforms.get("http://10.9.9.8").unwrap()));
}
