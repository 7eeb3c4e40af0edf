//! Of a real gateway.

use waypost::{
    config::{Gateway, HitsSettings},
    hits::{By, Query},
    server,
};

use super::{all, reader, sqlite};
use crate::{
    client::Conn,
    serve::{gateway, metric, routes},
};

#[test]
fn what_was_asked_for_is_what_is_told() {
    let routes = routes();
    let folder = tempfile::tempdir().unwrap();
    let hits = HitsSettings { flush: std::time::Duration::from_secs(3600), ..sqlite(folder.path()) };
    for fast_lane in [true, false] {
        let running = server::start(Gateway { fast_lane, hits: hits.clone(), ..gateway(routes.path()) }).unwrap();
        let mut conn = Conn::new(running.http[0]);
        let mut ask = |times: usize, host: &str, target: &str| {
            for _ in 0..times {
                conn.get(host, target);
            }
        };
        let site = "jyj.old.example";
        ask(5, site, "/a.htm");
        ask(1, site, "/A.HTM?utm_source=secret");
        ask(2, "www.jyj.old.example:80", "//a.htm");
        ask(4, site, "/b.htm?x=secret&id=7");
        ask(3, site, "/no.htm?id=7&secret=1");
        ask(1, site, "/%BF%C6%C6%D5/");
        ask(2, site, "/");
        ask(2, "gone.example", "/secret");
        // No hits.
        ask(3, "10.0.0.1", "/healthcheck/live");
        ask(2, site, "/.git/config");
        ask(1, "a b", "/");
        assert_eq!(metric(&running, "waypost_hits_lost_total"), 0.0);
        assert_eq!(metric(&running, "waypost_hits_flushes_total{result=\"failed\"}"), 0.0);
        // At the end, everything is written.
        running.stop();
    }
    let mut reader = reader(&hits);
    let sum = reader.sum(&all()).unwrap();
    // On both lanes.
    assert_eq!((sum.hits, sum.unmapped), (2 * 20, 2 * 3));
    assert_eq!(reader.named(&all()).unwrap(), sum.hits);
    let urls = reader.urls(&Query { site: Some("jyj"), ..all() }).unwrap();
    let told: Vec<_> = urls.iter().map(|url| (url.url.as_str(), url.status, url.hits, url.unmapped)).collect();
    let expected = [
        ("/a.htm", 301, 16, false),
        ("/b.htm?id=7", 302, 8, false),
        ("/no.htm?id=7", 404, 6, true),
        ("/", 301, 4, false),
        ("/科普", 301, 2, false),
    ];
    assert_eq!(told, expected);
    assert_eq!(reader.groups(&Query { site: Some(""), ..all() }, By::Site).unwrap()[0].sum.hits, 4);
}

#[test]
fn a_database_that_is_away_stops_nothing() {
    let routes = routes();
    let folder = tempfile::tempdir().unwrap();
    let hits = sqlite(&folder.path().join("no/such/folder"));
    let running = server::start(Gateway { hits, ..gateway(routes.path()) }).unwrap();
    let mut conn = Conn::new(running.http[0]);
    assert_eq!(conn.get("jyj.old.example", "/a.htm").status, 301);
    crate::program::until("a failure", || metric(&running, "waypost_hits_flushes_total{result=\"failed\"}") >= 1.0);
    assert_eq!(conn.get("jyj.old.example", "/a.htm").status, 301);
    running.stop();
}
