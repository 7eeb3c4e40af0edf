//! That nothing is counted otherwise because it was known.

use std::{fs, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::config::Gateway;
use crate::replay::format::{Format, Pattern};
use crate::replay::judge::Judge;
use crate::replay::report::report;
use crate::routing::Loader;

/// What the files of a site may say, besides its host.
const SETTINGS: &[&str] = &[
    "",
    "https = \"redirect\"",
    "https = \"require\"",
    "[fallback]\naction = \"gone\"",
    "[guard]\ndeny = [\"192.0.2.0/24\"]",
    "[guard]\nallow = [\"192.0.2.1\", \"2001:db8::/32\"]",
    "[guard]\nmethods = [\"GET\", \"POST\"]",
    "[[guard.rule]]\nuser-agent = { contains = [\"sqlmap\"] }\ndeny = 403",
    "[[guard.rule]]\nclient = [\"192.0.2.1\"]\nredirect = \"https://www.new.example/b\"",
    "[[guard.rule]]\npath = [\"/b.htm\"]\ndeny = 403",
    "[guard]\ndeny = [\"192.0.2.1\"]\n[[guard.rule]]\nheader = { name = \"referer\" }\ndeny = 410",
];

const GATEWAY: &[&str] = &["", "[guard]\ndeny = [\"2001:db8::1\"]", "[guard]\nmethods = [\"GET\"]"];

const HOSTS: &[&str] =
    &["s0.example", "s1.example:80", "S0.Example", "www.s1.example:443", "s0.example.", "none.example", "a b", "-"];

const TARGETS: &[&str] = &[
    "/",
    "/a.htm",
    "/A.HTM",
    "//a.htm",
    "/b.htm",
    "/b.htm?id=1",
    "/c.htm",
    "/old/x",
    "/robots.txt",
    "/../etc/passwd",
    "/a%00b",
    "/.git/config",
    "/none",
    "/none?id=1",
    "/none#x",
    "/%B9%AB",
    "*",
    "http://s1.example/a.htm",
    "nonsense",
    "/long/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// Judges by two sites with such settings, where `/a.htm` leads to a page of that name.
fn judge(gateway: usize, settings: [usize; 2], page: &str) -> Judge {
    let folder = tempfile::tempdir().unwrap();
    for (number, setting) in settings.into_iter().enumerate() {
        let (tables, keys) =
            if SETTINGS[setting].starts_with('[') { (SETTINGS[setting], "") } else { ("", SETTINGS[setting]) };
        let text = format!(
            "name = \"S\"\nhosts = [\"s{number}.example\", \"www.s{number}.example\"]\nhome = \"https://www.new.example/\"\n{keys}\n\
             [[rule]]\nfrom = \"/old/{{*rest}}\"\ngone = true\n{tables}\n"
        );
        fs::write(folder.path().join(format!("s{number}.toml")), text).unwrap();
        let table = format!("old,new\n/a.htm,https://www.new.example/{page}\n/b.htm,https://www.new.example/b\n");
        fs::write(folder.path().join(format!("s{number}.csv")), table).unwrap();
    }
    let text = format!("routes = {:?}\n{}\n", folder.path(), GATEWAY[gateway]);
    let (gateway, faults) = Gateway::parse("gateway.toml", text, folder.path());
    assert!(faults.is_empty(), "{faults:?}");
    let (snapshot, report) = Loader::new(&gateway).load(NOW, |_, _| {}).unwrap();
    assert_eq!(report.errors(), 0, "{:?}", report.diagnostics);
    Judge::new(snapshot, NOW)
}

/// What two workers count of lines, where what came of `known` requests is remembered, and lists have some room.
fn count(job: &Job, lines: &[String], known: usize, room: usize) -> String {
    let hosts = [None];
    let (urls, changed) = (Distinct::new(room), Distinct::new(room));
    let shared = Shared { room, urls, changed, ..Shared::with(job, &hosts, known) };
    let mut workers = [Worker::new(&shared), Worker::new(&shared)];
    let mut desk = Desk::default();
    let format = Arc::new(Format::Text(Pattern::vhost()));
    for (number, lines) in lines.chunks(50).enumerate() {
        let bytes = lines.concat().into_bytes();
        let block = Block { bytes, input: 0, first_line: number as u64 * 50 + 1, format: format.clone() };
        workers[number % 2].count_block(&block, &mut desk);
    }
    let [mut worker, other] = workers;
    worker.merge(other);
    serde_json::to_string_pretty(&report(&shared, worker, Vec::new(), Duration::ZERO)).unwrap()
}

fn line() -> impl Strategy<Value = String> {
    let one_of = |of: &'static [&'static str]| prop::sample::select(of);
    (
        one_of(HOSTS),
        one_of(&["192.0.2.1", "192.0.2.9", "2001:db8::1", "-", "somebody"]),
        one_of(&["GET", "GET", "GET", "HEAD", "POST", "OPTIONS"]),
        one_of(TARGETS),
        one_of(&["200", "404", "301", "-"]),
        one_of(&["-", "https://search.example/"]),
        one_of(&["Mozilla/5.0", "sqlmap/1"]),
    )
        .prop_map(|(host, client, method, target, status, referer, agent)| {
            format!(
                "{host} {client} - - [10/Oct/2020:13:55:36 +0800] \"{method} {target} HTTP/1.1\" {status} 1 \"{referer}\" \"{agent}\"\n"
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_known_is_counted_as_what_is_judged(
        gateway in 0..GATEWAY.len(),
        settings in [0..SETTINGS.len(), 0..SETTINGS.len()],
        against in prop::option::of([0..SETTINGS.len(), 0..SETTINGS.len()]),
        lines in prop::collection::vec(line(), 1..1_000),
        known in prop::sample::select(&[1_usize, 32, 4096][..]),
        room in prop::sample::select(&[4_usize, 1 << 16][..]),
        only in prop::option::weighted(0.2, 0..2),
    ) {
        let job = Job {
            inputs: Vec::new(),
            format: None,
            must_be: None,
            host: None,
            secure: false,
            judge: judge(gateway, settings, "a"),
            against: against.map(|settings| judge(gateway, settings, "other")),
            site: only.map(|number| format!("s{number}")),
            since: None,
            until: None,
            top: 0,
            threads: 1,
        };
        prop_assert_eq!(count(&job, &lines, known, room), count(&job, &lines, 0, room));
    }
}

const NOW: i64 = 1_800_000_000;
