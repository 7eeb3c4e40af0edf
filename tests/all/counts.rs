//! What the gateway says of its traffic is what its traffic was.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use waypost::{config::Platform, server::Running};

use crate::cached::{Scripted, message};
use crate::client::Conn;
use crate::lanes::{Lane, Request};
use crate::serve::{gateway, metric};

const SITES: usize = 3_206;

/// Site, outcome, class of status, version of HTTP, lane.
type Kind = (String, &'static str, &'static str, &'static str, &'static str);

fn write_site(routes: &Path, number: usize, rows: usize) {
    let folder = routes.join(format!("county{}", number % 13));
    fs::create_dir_all(&folder).unwrap();
    let site = format!(
        "name = \"Site {number}\"\nhosts = [\"s{number}.old.example\"]\nhome = \"https://www.new.example/\"\n\
         owner = \"owner{}\"\nwave = {}\n[[rule]]\nfrom = \"/app/{{*rest}}\"\nserve = \"new\"\n",
        number % 7,
        number % 3 + 1
    );
    let table: String = (0..rows).map(|row| format!("/p{row}.htm,https://www.new.example/{number}/{row}\n")).collect();
    fs::write(folder.join(format!("s{number}.toml")), site).unwrap();
    fs::write(folder.join(format!("s{number}.csv")), format!("old,new\n{table}/gone.htm,\n")).unwrap();
}

fn id(number: usize) -> String {
    format!("county{}/s{number}", number % 13)
}

/// Asks so many times, and says what for.
fn ask(lane: Lane, running: &Running, count: usize, seed: usize) -> BTreeMap<Kind, u64> {
    let (protocol, own) = if lane.is_h2() { ("http/2", "http2") } else { ("http/1.1", "fast") };
    let mut asked = BTreeMap::new();
    let mut client = lane.client(running);
    let mut done = 0;
    while done < count {
        // Distinct sites, all kinds of requests, the same each time.
        let kinds = (done..count.min(done + 64)).map(|turn| {
            let number = (turn * 7_919 + seed) % SITES;
            let host = format!("s{number}.old.example");
            let (host, method, target, outcome, class) = match turn % 20 {
                0 => ("nobody.example".to_owned(), "GET", "/", "unknown_host", "4xx"),
                1 => (host, "GET", "/nothing.htm", "not_found", "4xx"),
                2 => (host, "HEAD", "/gone.htm", "gone", "4xx"),
                3 => (host, "GET", "/robots.txt", "robots", "2xx"),
                4 => (host, "POST", "/p1.htm", "redirect", "3xx"),
                5 => (host, "GET", "/.git/config", "denied", "4xx"),
                6 => (host, "GET", "/app/page", "serve", "2xx"),
                _ => (host, "GET", "/p0.htm", "redirect", "3xx"),
            };
            let site = if outcome == "unknown_host" { "other".to_owned() } else { id(number) };
            let lane = if outcome == "serve" && !lane.is_h2() { "session" } else { own };
            (host, method, target, (site, outcome, class, protocol, lane))
        });
        let kinds: Vec<_> = kinds.collect();
        let requests: Vec<Request<'_>> = kinds
            .iter()
            .map(|(host, method, target, _)| Request { method, ..Request::get(host, target.as_bytes()) })
            .collect();
        let answers = client.ask_all(&requests);
        for (answer, (host, _, target, kind)) in answers.iter().zip(&kinds) {
            assert_eq!(answer.status / 100, kind.2.as_bytes()[0] as u16 - u16::from(b'0'), "{host}{target} {answer:?}");
        }
        for (.., kind) in kinds {
            *asked.entry(kind).or_default() += 1;
        }
        done += answers.len();
    }
    asked
}

/// What the gateway has counted.
fn counted(running: &Running) -> BTreeMap<Kind, u64> {
    let text = Conn::new(running.admin).get("localhost", "/metrics/sites").text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("waypost_site_requests_total{"));
    let value = |labels: &str, name: &str| {
        labels
            .split(',')
            .find_map(|label| label.strip_prefix(name)?.strip_prefix('='))
            .unwrap()
            .trim_matches('"')
            .to_owned()
    };
    let kinds = lines.map(|line| {
        let (labels, count) = line.rsplit_once("} ").unwrap();
        let word = |name| -> &'static str { value(labels, name).leak() };
        let kind = (value(labels, "site"), word("outcome"), word("status"), word("protocol"), word("lane"));
        (kind, count.parse().unwrap())
    });
    kinds.collect()
}

#[test]
fn a_hundred_thousand_requests_are_counted_one_by_one() {
    let routes = tempfile::tempdir().unwrap();
    (0..SITES).for_each(|number| write_site(routes.path(), number, 3));
    let platform = Scripted::start(|_, _| message("Cache-Control: no-store\r\n", b"page"));
    let mut gateway = gateway(routes.path());
    let origin = Platform::of([&*format!("http://{}", platform.address)]).unwrap();
    gateway.platforms.insert("new".to_owned(), origin);
    let running = Lane::H2c.start(gateway);
    let done = AtomicBool::new(false);
    let mut sent: BTreeMap<Kind, u64> = BTreeMap::new();
    let mut reloads = 0;
    thread::scope(|scope| {
        let (running, done) = (&running, &done);
        let plans = [(Lane::Fast, 40_000), (Lane::Fast, 30_000), (Lane::H2c, 15_000), (Lane::H2c, 15_000)];
        let clients = plans
            .into_iter()
            .enumerate()
            .map(|(seed, (lane, count))| scope.spawn(move || ask(lane, running, count, seed * 101)));
        let clients: Vec<_> = clients.collect();
        let reloading = scope.spawn(|| {
            let mut reloads = 0;
            while !done.load(SeqCst) {
                reloads += 1;
                // Tables change, and a site comes and goes.
                (0..20).for_each(|number| write_site(routes.path(), reloads * 20 + number, 3 + reloads));
                let extra = routes.path().join("extra.toml");
                if reloads % 2 == 0 {
                    fs::remove_file(extra).unwrap();
                } else {
                    fs::write(
                        extra,
                        "name = \"E\"\nhosts = [\"e.old.example\"]\nhome = \"https://www.new.example/\"\n",
                    )
                    .unwrap();
                }
                running.reloader.reload_now().unwrap();
                let _ = Conn::new(running.http[0]).get("e.old.example", "/");
            }
            reloads
        });
        for client in clients {
            for (kind, count) in client.join().unwrap() {
                *sent.entry(kind).or_default() += count;
            }
        }
        done.store(true, SeqCst);
        reloads = reloading.join().unwrap();
    });
    println!("{reloads} reloads");
    assert!(reloads >= 2);
    let mut counted = counted(&running);
    // The extra site, which may be there now or not.
    counted.retain(|kind, _| kind.0 != "extra");
    for (kind, count) in &mut counted {
        if kind.0 == "other" && kind.4 == "fast" {
            *count -= (reloads / 2) as u64;
        }
    }
    assert_eq!(sent.values().sum::<u64>(), 100_000);
    for (kind, count) in &sent {
        assert_eq!(counted.get(kind), Some(count), "{kind:?}");
    }
    assert_eq!(counted.len(), sent.len());
    // The node's own numbers are the sums, with what was asked of the extra site.
    assert_eq!(metric(&running, "waypost_requests_total"), (100_000 + reloads) as f64);
    assert_eq!(metric(&running, "waypost_request_duration_seconds_count"), (100_000 + reloads) as f64);
    assert_eq!(metric(&running, "waypost_unmapped_total"), 100_000.0 / 20.0);
    assert_eq!(metric(&running, "waypost_site_unmapped_total"), 100_000.0 / 20.0);
    assert_eq!(metric(&running, "waypost_sites{phase=\"redirect\"}"), (SITES + reloads % 2) as f64);
}
