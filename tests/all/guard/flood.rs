//! Floods of source addresses, which the PROXY protocol names.

use std::{fs, net::Ipv4Addr};

use waypost::{
    config::Gateway,
    server::{self, Running},
};

use super::{HOST, gateway, metric, rates::rate, site};
use crate::client::{Conn, head};

const NODE: &str = "[guard]\nrate-entries = 1024\n[listen]\ntrusted-proxies = [\"127.0.0.0/8\"]\n";

fn start(gateway: Gateway) -> Running {
    server::start(Gateway { http: vec!["127.0.0.1:0 proxy".parse().unwrap()], ..gateway }).unwrap()
}

/// How many of so many requests of a client are admitted.
fn admitted(running: &Running, host: &str, client: &str, requests: usize) -> usize {
    let request = head("GET", host, b"/a", &[], b"");
    let (family, here) = if client.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
    let proxy = format!("PROXY {family} {client} {here} 12345 80\r\n");
    let raw = [proxy.into_bytes(), request.repeat(requests)].concat();
    let answers = Conn::new(running.http[0]).pipeline(&raw, &vec![false; requests]).unwrap();
    assert_eq!(answers.len(), requests);
    answers.iter().filter(|answer| answer.status != 429).count()
}

/// Addresses that nobody has seen before.
fn strangers(number: u32) -> impl Iterator<Item = String> {
    (0..number).map(|number| Ipv4Addr::from(0x0A00_0000 + number).to_string())
}

#[test]
fn who_is_being_refused_is_not_forgotten_over_others() {
    let routes = site(&rate("each", 3, ""));
    let running = start(gateway(routes.path(), NODE));
    let of = |client: &str, requests| admitted(&running, HOST, client, requests);
    assert_eq!((of("192.0.2.1", 5), of("192.0.2.2", 5)), (3, 3));
    // An IPv6 customer is one client.
    assert_eq!((of("2001:db8::1", 2), of("2001:db8::2", 5), of("2001:db8:0:1::1", 5)), (2, 1, 3));
    // Three times as many as are remembered.
    for client in strangers(3_000) {
        assert_eq!(of(&client, 1), 1, "{client}");
    }
    assert!(metric(&running, "waypost_guard_rate_entries") <= 1024);
    assert_eq!((of("192.0.2.1", 5), of("192.0.2.2", 5), of("2001:db8:0:1::9", 5)), (0, 0, 0));
    running.stop();
}

#[test]
fn a_flood_of_one_site_takes_nothing_of_another() {
    let routes = site("");
    fs::write(routes.path().join("defaults.toml"), rate("all", 50, "per = \"site\"")).unwrap();
    let other = "name = \"Other\"\nhosts = [\"other.example\"]\nhome = \"https://www.new.example/\"\n";
    fs::write(routes.path().join("other.toml"), other).unwrap();
    let running = start(gateway(routes.path(), NODE));
    let of = |host: &str, client: &str, requests| admitted(&running, host, client, requests);
    let flood: usize = strangers(2_000).map(|client| of(HOST, &client, 1)).sum();
    assert_eq!((flood, of(HOST, "192.0.2.1", 1)), (50, 0));
    assert_eq!(of("other.example", "192.0.2.1", 40), 40);
    assert_eq!(metric(&running, r#"waypost_site_guard_refused_total{reason="rate",site="old"}"#), 1_951);
    assert_eq!(metric(&running, r#"waypost_site_guard_refused_total{reason="rate",site="./other"}"#), 0);
    running.stop();
}
